/**
 * What commands, listings and memory cost as a function of the number of inodes, and of the length of the history. Databases are made without FUSE.
 * Commands are measured by their processor time, which depends less on the load of the machine.
 */
import { join } from 'node:path'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { ROOT_INO, name as toName } from '../../../core/file-system/operations.ts'
import { openDatabase } from '../../../store/open-store.ts'
import { memoryMib } from '../measure.ts'
import { commandCost, cpuSecondsOf } from '../metadata/command-cost.ts'
import { addFiles, changeFiles, directoryOf, firstTransaction } from '../metadata/make-files.ts'
import { mountZblkfs } from '../places/zblkfs.ts'
import { interrupted, run } from '../programs.ts'
import type { Axis, Curve, Plot } from '../svg-plot.ts'
import type { Growth } from './curve.ts'

const INODES_FROM = 10_000
const TRANSACTIONS_FROM = 1000
const STEP = 10
const MICROSECONDS = 1e6
const O_RDWR = 2
const CALLER = { uid: 0, gid: 0, pid: 1 }
const PAGE_BYTES = 4096
const FILE_PAGES = 256

/** One measured value of all points. */
type Series = Record<string, number>

/** Measures databases of 10,000 to `inodes` small files. */
export async function inodeGrowth(root: string, inodes: number): Promise<readonly Growth[]> {
  const database = join(root, 'inodes.db')
  const points: [number, Series][] = []
  for (let done = 0, wanted = INODES_FROM; wanted <= inodes; done = wanted, wanted *= STEP) {
    await addFiles(database, done, wanted)
    await changeFiles(database, 1)
    const measured = {
      ...(await commands(database, `${directoryOf(0).join('/')}/file-0`)),
      ...(await listing(database, join(root, `inodes-${wanted}`), wanted)),
    }
    points.push([wanted, measured])
    console.log({ inodes: wanted, ...measured })
  }
  const x: Axis = { label: 'inodes', scale: 'log' }
  return [
    growth(
      'inode-commands',
      'Commands by the number of inodes',
      x,
      's of CPU',
      points,
      ['df', 'log', 'diff', 'pack'],
      COMMANDS,
    ),
    growth(
      'inode-fsck',
      'fsck by the number of inodes',
      x,
      's of CPU',
      points,
      ['fsck'],
      'It reads every record twice: its cost is linear.',
    ),
    growth(
      'inode-find',
      'find by the number of inodes',
      x,
      'us an entry',
      points,
      ['find', 'daemon'],
      'The second find after the mount: wall time, and the processor time of the daemon.',
    ),
    growth(
      'inode-memory',
      'Memory by the number of inodes',
      x,
      'MiB',
      points,
      ['fsck memory', 'pack memory', 'resident'],
      'The peak of the commands, and the resident memory of the daemon after find: the kernel remembers every inode.',
    ),
  ]
}

/** Measures histories of 1,000 to `transactions` transactions, each of which changes 4 KiB. */
export async function transactionGrowth(root: string, transactions: number): Promise<readonly Growth[]> {
  const database = join(root, 'transactions.db')
  const points: [number, Series][] = []
  for (let done = 0, wanted = TRANSACTIONS_FROM; wanted <= transactions; done = wanted, wanted *= STEP) {
    await addTransactions(database, wanted - done)
    const measured = await commands(database, 'file')
    points.push([wanted, measured])
    console.log({ transactions: wanted, ...measured })
  }
  const x: Axis = { label: 'transactions', scale: 'log' }
  return [
    growth(
      'history-commands',
      'Commands by the length of the history',
      x,
      's of CPU',
      points,
      ['df', 'log', 'diff', 'pack'],
      COMMANDS,
    ),
    growth(
      'history-fsck',
      'fsck by the length of the history',
      x,
      's of CPU',
      points,
      ['fsck'],
      'It checks every revision that is kept.',
    ),
    growth(
      'history-memory',
      'Memory by the length of the history',
      x,
      'MiB',
      points,
      ['fsck memory', 'pack memory'],
      'The peak of the commands.',
    ),
  ]
}

const COMMANDS =
  'df and log -n 3 read kept sums and summaries, diff compares one file from the first transaction on, pack has nothing to drop. Most of each is the start of Node.'

function growth(
  name: string,
  title: string,
  x: Axis,
  unit: string,
  points: readonly (readonly [number, Series])[],
  keys: readonly string[],
  description: string,
): Growth {
  const curves = keys.map((key): Curve => ({
    name: key,
    points: points.map(([at, series]) => [at, series[key] ?? Number.NaN]),
  }))
  const plot: Plot = { title, x, y: { label: unit, scale: 'log' }, curves }
  return { name, plot, description }
}

async function commands(database: string, path: string): Promise<Series> {
  const tid = await firstTransaction(database)
  const df = await commandCost('df', database)
  const log = await commandCost('log', '-n', '3', database)
  const diff = await commandCost('diff', '--db', database, tid, 'now', path)
  const fsck = await commandCost('fsck', database)
  await commandCost('pack', '--keep', '1h', database)
  const pack = await commandCost('pack', '--keep', '1h', database)
  return {
    df: df.cpuSeconds,
    log: log.cpuSeconds,
    diff: diff.cpuSeconds,
    fsck: fsck.cpuSeconds,
    'fsck memory': fsck.peakMib,
    pack: pack.cpuSeconds,
    'pack memory': pack.peakMib,
  }
}

async function listing(database: string, directory: string, entries: number): Promise<Series> {
  const zblkfs = await mountZblkfs(database, directory)
  try {
    const [startMs, startCpu] = [performance.now(), cpuSecondsOf(zblkfs.pid())]
    await run('sh', '-c', 'exec find "$1" -type f > /dev/null', 'sh', directory)
    return {
      find: ((performance.now() - startMs) / 1000 / entries) * MICROSECONDS,
      daemon: ((cpuSecondsOf(zblkfs.pid()) - startCpu) / entries) * MICROSECONDS,
      resident: memoryMib(zblkfs.pid(), 'VmRSS'),
    }
  } finally {
    await zblkfs.unmount()
  }
}

async function addTransactions(database: string, count: number): Promise<void> {
  const fs = await FileSystem.open(await openDatabase(database, { create: true }), {
    commitIntervalMs: 2 ** 31 - 1,
  })
  try {
    const name = toName('file')
    const found = await Promise.resolve()
      .then(() => fs.lookup(ROOT_INO, name))
      .catch(async () => (await fs.create(ROOT_INO, name, 0o100644, O_RDWR, CALLER)).entry)
    const { ino } = found.attributes
    const { fh } = await fs.open(ino, O_RDWR)
    for (let index = 0; index < count; index++) {
      interrupted.throwIfAborted()
      const page = BigInt((index % FILE_PAGES) * PAGE_BYTES)
      await fs.write(ino, fh, page, Buffer.alloc(PAGE_BYTES, `${index} ${count} `))
      await fs.sync()
    }
    await fs.release(ino, fh)
  } finally {
    await fs.close()
  }
}
