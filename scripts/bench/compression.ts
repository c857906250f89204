/**
 * `npm run bench:compression [-- --size 256M --rounds 5 --only virtual --ways off,lz4]`: databases stored in different ways, beside one with neither compression nor
 * encryption, in one run. Data of four kinds is written and read in sequence and at random; figures are medians, and ratios to `off`. A second line
 * has the CPU time of the daemon, which another load of the machine changes less: for a MiB, or for an operation.
 * Needs root, fio, and disk space of about eight times the size.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { parseSizeBytes } from '../units.ts'
import { type DataKind, DATA_KINDS, writeData } from './data-kinds.ts'
import { randomReads, randomWrites } from './fio.ts'
import { databaseBytes, median, MIB, processorNs } from './measure.ts'
import type { MountedZblkfs } from './places/place.ts'
import { mountZblkfs } from './places/zblkfs.ts'
import { dd, dropPages, endOnSignals, run } from './programs.ts'

const READ_SECONDS = 2
const WRITES = 4000

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '256M' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    ways: { type: 'string', default: '' },
  },
})
const bytes = parseSizeBytes(values.size) ?? 0
if (bytes < MIB) throw new Error(`--size ${values.size}: write it as 256M`)
const rounds = Number(values.rounds)
const chosenWays = values.ways === '' ? undefined : values.ways.split(',')

const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-compression-'))
const KEY_FILE = join(root, 'key')
const KEY_OPTION = `key_file=${KEY_FILE}`

/** The ways of storing, by name: options of the mount. */
const WAYS: Readonly<Record<string, readonly string[]>> = {
  off: [],
  lz4: ['compression=lz4'],
  zstd: ['compression=zstd'],
  'zstd-3': ['compression=zstd-3'],
  'zstd-shuffle4': ['compression=zstd-shuffle4'],
  'zstd-shuffle8': ['compression=zstd-shuffle8'],
  encrypted: ['encryption=aes-256-gcm', KEY_OPTION],
  'lz4 encrypted': ['compression=lz4', 'encryption=aes-256-gcm', KEY_OPTION],
  'zstd encrypted': ['compression=zstd', 'encryption=aes-256-gcm', KEY_OPTION],
}

/** The ways that are measured for each kind of data: shuffling suits numbers of one size only. */
const WAYS_OF: Readonly<Record<DataKind, readonly string[]>> = {
  'virtual machine': ['off', 'lz4', 'zstd', 'zstd-3', 'encrypted', 'lz4 encrypted', 'zstd encrypted'],
  'git checkout': ['off', 'lz4', 'zstd', 'encrypted', 'zstd encrypted'],
  'numpy float64': ['off', 'lz4', 'zstd', 'zstd-shuffle8', 'encrypted', 'zstd encrypted'],
  'numpy int32': ['off', 'lz4', 'zstd', 'zstd-shuffle4'],
  random: ['off', 'lz4', 'zstd', 'encrypted', 'zstd encrypted'],
}

interface Target {
  readonly way: string
  readonly mount: MountedZblkfs
  readonly file: string
  readonly write: number[]
  readonly read: number[]
  readonly randomRead: number[]
  readonly randomWrite: number[]
  /** Microseconds of the daemon's CPU time: for a MiB written and read, and for a random read and write. */
  readonly cpu: readonly [write: number[], read: number[], randomRead: number[], randomWrite: number[]]
  storedBytes: number
}

async function measure(root: string, kind: DataKind): Promise<void> {
  const source = join(root, 'source')
  writeData(source, kind, bytes)
  const targets: Target[] = []
  try {
    for (const way of WAYS_OF[kind].filter(name => chosenWays?.includes(name) ?? true)) {
      const mount = await mountZblkfs(join(root, `${way}.zblk`), join(root, way), WAYS[way])
      const file = join(mount.directory, 'file')
      const cpu: Target['cpu'] = [[], [], [], []]
      targets.push({
        way,
        mount,
        file,
        write: [],
        read: [],
        randomRead: [],
        randomWrite: [],
        cpu,
        storedBytes: 0,
      })
    }
    for (let round = 0; round <= rounds; round++)
      for (const target of round % 2 === 0 ? targets : targets.toReversed())
        await measureRound(target, source, round)
    print(kind, targets)
  } finally {
    for (const { mount } of targets) await mount.unmount().catch((error: unknown) => console.error(error))
    for (const { way } of targets)
      for (const name of [`${way}.zblk`, `${way}.zblk-log`, `${way}.zblk-lock`, way])
        rmSync(join(root, name), { recursive: true, force: true })
    rmSync(source, { force: true })
  }
}

/** The first round is not counted. */
async function measureRound(target: Target, source: string, round: number): Promise<void> {
  const { mount, file } = target
  rmSync(file, { force: true })
  await run('sync', '--file-system', source)
  const startNs = processorNs(mount.pid())
  const write = await dd(bytes, `if=${source}`, `of=${file}`, 'conv=fsync')
  await mount.sync()
  const writtenNs = processorNs(mount.pid())
  if (round === 0) target.storedBytes = databaseBytes(mount.database)
  await dropPages(file)
  const beforeReadNs = processorNs(mount.pid())
  const read = await dd(bytes, `if=${file}`, 'of=/dev/null')
  const readNs = processorNs(mount.pid())
  await run('cmp', file, source)
  await dropPages(file)
  const beforeRandomNs = processorNs(mount.pid())
  const randomRead = await randomReads(file, { bytes, jobs: 1, seconds: READ_SECONDS })
  const randomReadNs = processorNs(mount.pid())
  const count = Math.min(WRITES, bytes / 8192)
  const randomWrite = await randomWrites(file, { bytes, count, sync: 'end', seed: round + 1 })
  const endNs = processorNs(mount.pid())
  if (round === 0) return
  const perMib = 1000 * (bytes / MIB)
  const [cpuWrite, cpuRead, cpuRandomRead, cpuRandomWrite] = target.cpu
  cpuWrite.push((writtenNs - startNs) / perMib)
  cpuRead.push((readNs - beforeReadNs) / perMib)
  cpuRandomRead.push((randomReadNs - beforeRandomNs) / 1000 / (randomRead * READ_SECONDS))
  cpuRandomWrite.push((endNs - randomReadNs) / 1000 / count)
  target.write.push(write)
  target.read.push(read)
  target.randomRead.push(randomRead)
  target.randomWrite.push(randomWrite)
}

function print(kind: DataKind, targets: readonly Target[]): void {
  const [off] = targets
  if (off === undefined) return
  const cell = (value: (target: Target) => readonly number[], target: Target): string => {
    const [own, ceiling] = [median(value(target)), median(value(off))]
    return `${own.toFixed(0).padStart(6)} ${(own / ceiling).toFixed(2)}`
  }
  for (const target of targets) {
    const ratio = (bytes / target.storedBytes).toFixed(2)
    const cells = [
      cell(({ write }) => write, target),
      cell(({ read }) => read, target),
      cell(({ randomRead }) => randomRead, target),
      cell(({ randomWrite }) => randomWrite, target),
    ]
    console.log(`${kind.padEnd(16)} ${target.way.padEnd(14)} ${ratio.padStart(6)}  ${cells.join('  ')}`)
    const cpu = target.cpu.map((_, index) => cell(({ cpu }) => cpu[index] ?? [], target))
    console.log(`${'  CPU, us'.padEnd(38)}  ${cpu.join('  ')}`)
  }
}

endOnSignals()
try {
  writeFileSync(KEY_FILE, randomBytes(32))
  writeFileSync(join(root, 'about'), 'a benchmark of zblkfs\n')
  console.log(
    'data             stored          ratio   write MB/s   read MB/s   random read/s  random write/s; each beside off',
  )
  for (const kind of DATA_KINDS) if (kind.includes(values.only)) await measure(root, kind)
} finally {
  rmSync(root, { recursive: true, force: true })
}
