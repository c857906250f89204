/**
 * `npm run bench:cpu [-- --count N] [--rounds N] [--beside CHECKOUT] [--only WORDS] [--json]`: the CPU time of the serving process for
 * each operation, compared with bindfs, and the number of kernel requests for each.
 *
 * CPU time is a stable measure on a shared machine; wall time is not. It is the sum of
 * /proc/PID/task/TID/schedstat over all threads, including an operation's commits. `--beside` adds another checkout of this
 * repository for comparison. Places alternate; figures are medians of the rounds. Needs root, and bindfs (setup.sh).
 */
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { median, MIB, processorNs } from './measure.ts'
import { openPlace } from './places/open-place.ts'
import { endOnSignals, interrupted, runThrough } from './programs.ts'

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url))
const PAGE_BYTES = 4096
const SMALL_BYTES = 3000
const FILE_BYTES = 64 * MIB
const DIRECTORIES = 10
/** Time for the daemon to finish a commit that the operations started, and become idle. */
const SETTLE_MS = 300
/** Time for the timer's commit to finish. */
const COMMIT_MS = 6000
/** Time for briefly cached attributes to expire. */
const STALE_MS = 1200
const US_PER_NS = 1e-3

interface CpuPlace {
  readonly name: string
  readonly directory: string
  readonly pid: number
  /** Requests so far by operation, if the server counts them. */
  readonly requests?: () => Readonly<Record<string, number>>
  close(): Promise<void>
}

interface Operation {
  readonly name: string
  /** Setup of the operation; not measured. */
  readonly prepare?: (directory: string, count: number) => void
  readonly run: (directory: string, count: number) => void
  /** Repetitions of slow operations. */
  readonly part?: number
}

const small = Buffer.alloc(SMALL_BYTES, 'a')
const page = Buffer.alloc(PAGE_BYTES, 'b')

const nameOf = (directory: string, i: number): string => join(directory, `d${i % DIRECTORIES}`, `f${i}`)

function makeDirectories(directory: string): void {
  for (let i = 0; i < DIRECTORIES; i++) mkdirSync(join(directory, `d${i}`), { recursive: true })
}

/** Offsets of pages in the large file, identical in each place. */
function* offsets(count: number): Generator<number> {
  let state = 12_345
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff
    yield (state % (FILE_BYTES / PAGE_BYTES)) * PAGE_BYTES
  }
}

function withFile(path: string, flags: number, work: (fd: number) => void): void {
  const fd = openSync(path, flags)
  try {
    work(fd)
  } finally {
    closeSync(fd)
  }
}

const large = (directory: string): string => join(directory, 'large')

const OPERATIONS: readonly Operation[] = [
  {
    name: 'create, write 3 KB, close',
    prepare: makeDirectories,
    run: (directory, count) => {
      for (let i = 0; i < count; i++) writeFileSync(nameOf(directory, i), small)
    },
  },
  {
    name: 'stat, seen before',
    prepare: (directory, count) => {
      // The attributes of a file that no commit has stored are cached for one second only.
      sleepSync(COMMIT_MS)
      for (let i = 0; i < count; i++) statSync(nameOf(directory, i))
      sleepSync(STALE_MS)
    },
    run: (directory, count) => {
      for (let i = 0; i < count; i++) statSync(nameOf(directory, i))
    },
  },
  {
    name: 'open, read 3 KB, close',
    run: (directory, count) => {
      for (let i = 0; i < count; i++) readFileSync(nameOf(directory, i))
    },
  },
  {
    name: 'rename',
    run: (directory, count) => {
      for (let i = 0; i < count; i++) renameSync(nameOf(directory, i), `${nameOf(directory, i)}.new`)
    },
  },
  {
    name: 'unlink',
    run: (directory, count) => {
      for (let i = 0; i < count; i++) unlinkSync(`${nameOf(directory, i)}.new`)
    },
  },
  {
    name: 'write of 4 KiB',
    prepare: directory => {
      withFile(large(directory), constants.O_RDWR | constants.O_CREAT, fd => {
        const piece = Buffer.alloc(MIB, 'c')
        for (let at = 0; at < FILE_BYTES; at += MIB) writeSync(fd, piece, 0, MIB, at)
        fsyncSync(fd)
      })
    },
    run: (directory, count) => {
      withFile(large(directory), constants.O_WRONLY, fd => {
        for (const off of offsets(count)) writeSync(fd, page, 0, PAGE_BYTES, off)
      })
    },
  },
  {
    name: 'read of 4 KiB, past the pages',
    run: (directory, count) => {
      withFile(large(directory), constants.O_RDONLY | constants.O_DIRECT, fd => {
        for (const off of offsets(count)) readSync(fd, page, 0, PAGE_BYTES, off)
      })
    },
  },
  {
    name: 'write of 4 KiB, fsync',
    run: (directory, count) => {
      withFile(large(directory), constants.O_WRONLY, fd => {
        for (const off of offsets(count)) {
          writeSync(fd, page, 0, PAGE_BYTES, off)
          fsyncSync(fd)
        }
      })
    },
  },
  {
    name: 'create, write 3 KB, fsync',
    part: 0.2,
    run: (directory, count) => {
      for (let i = 0; i < count; i++) {
        withFile(nameOf(directory, i), constants.O_WRONLY | constants.O_CREAT, fd => {
          writeSync(fd, small)
          fsyncSync(fd)
        })
      }
    },
  },
]

const sleepSync = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

interface Figure {
  readonly us: number
  readonly wallUs: number
  readonly requests: Readonly<Record<string, number>> | undefined
}

function measure(place: CpuPlace, operation: Operation, count: number): Figure {
  operation.prepare?.(place.directory, count)
  sleepSync(SETTLE_MS)
  // Requests caused by reading the counts are measured by a second read, and subtracted.
  const once = place.requests?.()
  const before = place.requests?.()
  const startNs = processorNs(place.pid)
  const startMs = performance.now()
  operation.run(place.directory, count)
  const wallUs = ((performance.now() - startMs) * 1e3) / count
  sleepSync(SETTLE_MS)
  const us = ((processorNs(place.pid) - startNs) * US_PER_NS) / count
  const after = place.requests?.()
  const requests =
    once && before && after
      ? Object.fromEntries(
          Object.entries(after).map(([name, total]) => {
            const asked = (before[name] ?? 0) - (once[name] ?? 0)
            return [name, (total - (before[name] ?? 0) - asked) / count]
          }),
        )
      : undefined
  return { us, wallUs, requests }
}

/** Mounts with the command of a checkout, whose daemon may use another version of the control protocol. */
async function zblkfs(name: string, root: string, checkout: string): Promise<CpuPlace> {
  const directory = join(root, name)
  const program = join(checkout, 'scripts/zblkfs')
  mkdirSync(directory)
  await runThrough(program, 'mount', join(root, `${name}.db`), directory)
  const close = async (): Promise<void> => void (await runThrough(program, 'umount', directory))
  const stats = join(directory, '.zblkfs/stats')
  const requests = (): Record<string, number> =>
    (JSON.parse(readFileSync(stats, 'utf8')) as { operations: Record<string, number> }).operations
  return { name, directory, pid: serverOf(directory), requests, close }
}

async function bindfs(root: string): Promise<CpuPlace> {
  const place = await openPlace('bindfs', root, FILE_BYTES / MIB)
  const { directory = '' } = place
  return { name: 'bindfs', directory, pid: serverOf(directory), close: () => place.close() }
}

/** The process whose last argument is a mount point. */
function serverOf(directory: string): number {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'latin1')
        .split(/[\0 ]+/)
        .filter(word => word !== '')
      if (words.at(-1) === directory && ['zblkfs', 'bindfs'].includes(words[0] ?? '')) return Number(name)
    } catch {
      // It has ended.
    }
  }
  throw new Error(`no process serves ${directory}`)
}

type Results = Map<string, Map<string, Figure[]>>

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '5000' },
      rounds: { type: 'string', default: '3' },
      beside: { type: 'string' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
  })
  const [count, rounds] = [Number(values.count), Number(values.rounds)]
  endOnSignals()
  const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-cpu-'))
  const places: CpuPlace[] = []
  const results: Results = new Map()
  const last = OPERATIONS.findLastIndex(({ name }) => name.includes(values.only))
  // An operation may depend on the results of earlier ones.
  const wanted = values.only === '' ? OPERATIONS : OPERATIONS.slice(0, last + 1)
  try {
    places.push(await zblkfs('zblkfs', root, CHECKOUT))
    if (values.beside !== undefined) places.push(await zblkfs('beside', root, values.beside))
    await bindfs(root).then(
      place => places.push(place),
      (error: unknown) => console.error(`bindfs is left out: ${String(error)}`),
    )
    for (let round = 0; round < rounds; round++)
      for (const operation of wanted)
        for (const place of round % 2 === 0 ? places : places.toReversed()) {
          if (interrupted.aborted) return
          const part = Math.ceil(count * (operation.part ?? 1))
          const figure = measure(place, operation, part)
          const figures = results.get(operation.name) ?? new Map<string, Figure[]>()
          figures.set(place.name, [...(figures.get(place.name) ?? []), figure])
          results.set(operation.name, figures)
        }
    if (values.json) console.log(JSON.stringify(toObject(results), undefined, 2))
    else print(results, places)
  } finally {
    for (const place of places) await place.close()
    rmSync(root, { recursive: true, force: true })
  }
}

const toObject = (results: Results) =>
  Object.fromEntries([...results].map(([name, places]) => [name, Object.fromEntries(places)]))

function print(results: Results, places: readonly CpuPlace[]): void {
  console.log('Processor time of the server for each operation, us (wall time of the caller)\n')
  console.log(`${''.padEnd(32)}${places.map(({ name }) => name.padEnd(16)).join('')}requests`)
  for (const [name, figures] of results) {
    const cells = places.map(place => {
      const all = figures.get(place.name) ?? []
      return `${median(all.map(({ us }) => us)).toFixed(1)} (${median(all.map(({ wallUs }) => wallUs)).toFixed(0)})`
    })
    const last = figures.get('zblkfs')?.at(-1)?.requests ?? {}
    const requests = Object.entries(last)
      .filter(([, each]) => each >= 0.01)
      .map(([operation, each]) => `${operation} ${Number(each.toFixed(2))}`)
    console.log(`${name.padEnd(32)}${cells.map(cell => cell.padEnd(16)).join('')}${requests.join(', ')}`)
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
