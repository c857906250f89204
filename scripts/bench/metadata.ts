/**
 * `npm run bench:metadata [-- --files N] [--database DB] [--only PART]...`: the cost of commands, listings and memory with many small
 * files, compared with the targets. Files are made without FUSE (metadata/make-files.ts) unless DB has them already; a given DB
 * is kept for the next run. Parts: change, df, log, diff, fsck, pack, start, list, create, pgbench (which needs PostgreSQL). Beside
 * wall times the processor time is printed: on a busy machine only that can be compared. Needs root.
 */
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { databaseBytes, memoryMib } from './measure.ts'
import { commandCost, cpuSecondsOf, type CommandCost } from './metadata/command-cost.ts'
import { addFiles, changeFiles, directoryOf, firstTransaction } from './metadata/make-files.ts'
import { mountZblkfs } from './places/zblkfs.ts'
import { endOnSignals, run } from './programs.ts'
import { canPgbench, pgbench } from './real-programs/pgbench.ts'

const MICROSECONDS = 1e6
const CHANGED_BEFORE_DIFF = 60_000
const CHANGED_BEFORE_PACK = 100
const PGBENCH_SECONDS = 60

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '50000' },
    database: { type: 'string' },
    only: { type: 'string', multiple: true },
    json: { type: 'boolean', default: false },
  },
})
const files = Number(values.files)
if (!(files >= 1000)) throw new Error(`--files ${values.files}: at least 1000`)

interface Row {
  readonly what: string
  readonly value: number
  readonly unit: 's' | 'MiB' | 'us' | 'KiB' | 'B/B'
  readonly atMost: number
  /** The processor time, in the same unit: of the command, or of the daemon. */
  readonly cpu?: number
}

const rows: Row[] = []

/** Whether a part is selected: all are, unless some were named. */
const isWanted = (part: string): boolean => values.only === undefined || values.only.includes(part)

function add(what: string, value: number, unit: Row['unit'], atMost: number, cpu?: number): void {
  rows.push({ what, value, unit, atMost, ...(cpu !== undefined && { cpu }) })
  if (values.json) return
  const ofCpu = cpu === undefined ? ''.padEnd(14) : ` (${show(cpu)} of CPU)`
  const verdict = value <= atMost ? '' : `  x ${(value / atMost).toFixed(1)}`
  console.log(`${what.padEnd(44)}${show(value)} ${unit.padEnd(4)}${ofCpu} at most ${atMost}${verdict}`)
}

const show = (value: number): string => value.toFixed(value < 10 ? 2 : 0).padStart(6)

/** Adds the time of a command; resolves to its cost. */
async function addCommand(
  what: string,
  atMost: number,
  ...parameters: readonly string[]
): Promise<CommandCost> {
  const cost = await commandCost(...parameters)
  add(what, cost.seconds, 's', atMost, cost.cpuSeconds)
  return cost
}

async function commands(database: string): Promise<void> {
  if (isWanted('df')) await addCommand('df', 0.2, 'df', database)
  if (isWanted('log')) await addCommand('log -n 3', 0.2, 'log', '-n', '3', database)
  if (isWanted('diff')) await addDiff(database)
  if (isWanted('fsck')) {
    const { peakMib } = await addCommand('fsck', (18 * files) / 300_000, 'fsck', database)
    add('fsck, memory', peakMib, 'MiB', 300)
  }
  if (isWanted('pack')) {
    // The first pack marks all objects.
    await commandCost('pack', '--keep', '0', database)
    const { peakMib } = await addCommand('pack with nothing to drop', 1, 'pack', '--keep', '0', database)
    add('pack, memory', peakMib, 'MiB', 300)
    await changeFiles(database, CHANGED_BEFORE_PACK)
    await addCommand(`pack after ${CHANGED_BEFORE_PACK} changes`, 1.5, 'pack', '--keep', '0', database)
  }
}

/** One file, after many others were changed. */
async function addDiff(database: string): Promise<void> {
  const first = await firstTransaction(database)
  await changeFiles(database, Math.min(files, CHANGED_BEFORE_DIFF))
  const path = `${directoryOf(0).join('/')}/file-0`
  const what = `diff A B PATH, ${Math.min(files, CHANGED_BEFORE_DIFF)} changed`
  await addCommand(what, 0.5, 'diff', '--db', database, first, 'now', path)
}

/** Commands that do next to nothing. */
async function starts(database: string, directory: string): Promise<void> {
  const zblkfs = await mountZblkfs(database, directory)
  try {
    // The compile cache is filled.
    for (const parameters of [['--version'], ['sync', directory], ['status']])
      await commandCost(...parameters)
    await addCommand('--version', 0.12, '--version')
    await addCommand('sync', 0.12, 'sync', directory)
    await addCommand('status', 0.12, 'status')
  } finally {
    await zblkfs.unmount()
  }
}

/** The index beside the log, after a program that writes single pages. */
async function indexAfterPgbench(database: string, directory: string): Promise<void> {
  // The server has a user of its own.
  const zblkfs = await mountZblkfs(database, directory, ['allow_other'])
  try {
    await pgbench(directory, PGBENCH_SECONDS)
  } finally {
    await zblkfs.unmount()
  }
  const index = statSync(database).blocks
  const log = databaseBytes(database) / 512 - index
  add(`index by the log, ${PGBENCH_SECONDS} s of pgbench`, index / log, 'B/B', 0.1)
}

async function listings(database: string, directory: string): Promise<void> {
  const entries = files + files / 1000
  const zblkfs = await mountZblkfs(database, directory)
  try {
    const list = async (what: string, atMost: number, ...program: readonly string[]): Promise<void> => {
      const [startMs, startCpu] = [performance.now(), cpuSecondsOf(zblkfs.pid())]
      await run('sh', '-c', `exec "$@" > /dev/null`, 'sh', ...program)
      const seconds = (performance.now() - startMs) / 1000
      const cpu = ((cpuSecondsOf(zblkfs.pid()) - startCpu) * MICROSECONDS) / entries
      add(`${what}, an entry`, (seconds * MICROSECONDS) / entries, 'us', atMost, cpu)
      add(`resident after ${what}`, memoryMib(zblkfs.pid(), 'VmRSS'), 'MiB', 250)
    }
    await list('find -type f', 10, 'find', directory, '-type', 'f')
    await list('ls -lR', 20, 'ls', '-lR', directory)
  } finally {
    await zblkfs.unmount()
  }
}

/** Creates through a mount, as a user does. */
async function creates(database: string, directory: string): Promise<void> {
  const zblkfs = await mountZblkfs(database, directory)
  try {
    const count = Math.min(files, 300_000)
    const script = fileURLToPath(new URL('metadata/create-files.ts', import.meta.url))
    const [startMs, startCpu] = [performance.now(), cpuSecondsOf(zblkfs.pid())]
    await run(process.execPath, script, directory, String(count))
    const wall = ((performance.now() - startMs) * 1000) / count
    const cpu = ((cpuSecondsOf(zblkfs.pid()) - startCpu) * MICROSECONDS) / count
    add('create through a mount, a file', wall, 'us', 300, cpu)
    await zblkfs.sync()
    add('resident after the creates', memoryMib(zblkfs.pid(), 'VmRSS'), 'MiB', 250)
  } finally {
    await zblkfs.unmount()
  }
}

async function main(): Promise<void> {
  endOnSignals()
  const scratch = mkdtempSync(join(tmpdir(), 'zblkfs-bench-metadata-'))
  chmodSync(scratch, 0o755)
  const database = values.database ?? join(scratch, 'data.zblk')
  try {
    if (!existsSync(database)) {
      const startMs = performance.now()
      await addFiles(database, 0, files)
      if (!values.json)
        console.log(`${files} files made in ${((performance.now() - startMs) / 1000).toFixed(1)} s`)
    }
    add('stored for a small file', databaseBytes(database) / files / 1024, 'KiB', 0.6)
    if (isWanted('change')) await changeFiles(database, 1)
    await commands(database)
    if (isWanted('start')) await starts(database, join(scratch, 'start'))
    if (isWanted('list')) await listings(database, join(scratch, 'mnt'))
    if (isWanted('create')) await creates(join(scratch, 'created.zblk'), join(scratch, 'created'))
    if (isWanted('pgbench') && canPgbench())
      await indexAfterPgbench(join(scratch, 'pgbench.zblk'), join(scratch, 'pgbench'))
    if (values.json) console.log(JSON.stringify({ files, rows }, undefined, 2))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
