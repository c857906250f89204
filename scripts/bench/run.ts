/**
 * `npm run bench [-- --quick] [--json] [--mib N] [--rounds N] [--only TEXT] [--save]`: zblkfs beside its ceilings (the
 * no-op filesystem through the same driver, the host's filesystem) and its peers, on a mount, as programs see it.
 *
 * Workloads (workloads/, a file each) run in every place in turn, places in one order and then in the other, after a
 * round that is not counted. Between writing and reading, what was written is compared by sha256. Machines differ and
 * are noisy: what counts is the ratio to the ceiling within one run. `--quick` compares these with baseline.json and
 * marks what fell by more than a fifth; `--save` makes them the new baseline. Needs root, and fio.
 */
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { median, memoryMib, MIB, sha256 } from './measure.ts'
import { isAvailable, openPlace, PLACES, type Place, type PlaceName } from './places.ts'
import { printResults, type Figures, type Result } from './report.ts'
import type { Setting, Workload } from './workload.ts'
import { appendEach, appendOnce } from './workloads/append.ts'
import { randomRead1, randomRead4 } from './workloads/random-read.ts'
import { randomWriteEach, randomWriteOnce } from './workloads/random-write.ts'
import { sequentialRead } from './workloads/sequential-read.ts'
import { sequentialWrite } from './workloads/sequential-write.ts'
import { createFiles, readFiles, removeFiles } from './workloads/small-files.ts'

/** In this order: some need what others have written. */
const WORKLOADS: readonly Workload[] = [
  sequentialWrite,
  sequentialRead,
  randomRead1,
  randomRead4,
  appendOnce,
  appendEach,
  createFiles,
  readFiles,
  removeFiles,
  randomWriteOnce,
  randomWriteEach,
]
const BASELINE = new URL('baseline.json', import.meta.url)

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    mib: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})

let isInterrupted = false
/** Programs under way are waited for, mounts taken away. */
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => (isInterrupted = true))

async function main(): Promise<void> {
  const mib = Number(values.mib ?? (values.quick ? 256 : 2048))
  const rounds = Number(values.rounds ?? (values.quick ? 2 : 3))
  if (!(mib > 0 && rounds > 0)) throw new Error('--mib and --rounds take numbers from 1 on')
  const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-'))
  const places: Place[] = []
  try {
    const source = join(root, 'source')
    await makeSource(source, mib)
    for (const name of PLACES) if (isAvailable(name)) places.push(await openPlace(name, root, mib))
    const setting: Setting = { mib, source, count: values.quick ? 4096 : 16_384 }
    const memory = new MemoryNotes(places)
    const results: Result[] = []
    const expected = await sha256(source)
    for (const workload of WORKLOADS) {
      // Later workloads need the file in any case.
      const isAsked = workload.name.includes(values.only)
      if (!isAsked && workload !== sequentialWrite) continue
      if (!values.json) process.stderr.write(`${workload.name} ...\n`)
      results.push(await measure(workload, places, setting, isAsked ? rounds : 0))
      if (workload === sequentialRead || workload === sequentialWrite) await compare(places, expected)
    }
    const saved = readBaseline()
    if (values.json)
      console.log(JSON.stringify({ mib, rounds, results, memory: memory.rows() }, undefined, 2))
    else printResults(results, memory.rows(), saved)
    if (values.save) saveBaseline(results)
  } finally {
    for (const place of places.toReversed()) await place.close()
    rmSync(root, { recursive: true, force: true })
  }
}

async function makeSource(path: string, mib: number): Promise<void> {
  const stream = createWriteStream(path)
  for (let i = 0; i < mib; i++)
    if (!stream.write(randomFillSync(Buffer.allocUnsafe(MIB)))) await once(stream, 'drain')
  stream.end()
  await once(stream, 'close')
}

async function measure(
  workload: Workload,
  all: readonly Place[],
  setting: Setting,
  rounds: number,
): Promise<Result> {
  const places = all.filter(({ name }) => workload.places.includes(name))
  const runs = new Map<PlaceName, number[]>(places.map(({ name }) => [name, []]))
  for (let round = 0; round <= rounds; round++)
    for (const place of round % 2 === 0 ? places : places.toReversed()) {
      await setImmediate()
      if (isInterrupted) throw new Error('interrupted')
      const figure = workload.run(place, setting)
      if (round > 0) runs.get(place.name)?.push(figure)
    }
  const figures: Figures = Object.fromEntries(
    [...runs].map(([name, found]) => [
      name,
      { median: median(found), least: Math.min(...found), most: Math.max(...found) },
    ]),
  )
  const { name, unit, goal } = workload
  return { name, unit, goal, figures }
}

/** @throws Error where a place gives other bytes than were written. */
async function compare(places: readonly Place[], expected: string): Promise<void> {
  for (const { name, read } of places)
    if (name !== 'no-op' && (await sha256(read)) !== expected)
      throw new Error(`${name}: what is read is not what was written`)
}

/** The daemons' memory: at the start, the most, and now. */
class MemoryNotes {
  readonly #start = new Map<Place, number>()

  constructor(places: readonly Place[]) {
    for (const place of places)
      if (place.pid !== undefined) this.#start.set(place, memoryMib(place.pid, 'VmRSS'))
  }

  rows(): { readonly place: string; readonly start: number; readonly most: number; readonly end: number }[] {
    return [...this.#start].map(([{ name, pid = 0 }, start]) => ({
      place: name,
      start,
      most: memoryMib(pid, 'VmHWM'),
      end: memoryMib(pid, 'VmRSS'),
    }))
  }
}

function readBaseline(): Record<string, number> {
  try {
    return JSON.parse(readFileSync(BASELINE, 'utf8')) as Record<string, number>
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw error
  }
}

function saveBaseline(results: readonly Result[]): void {
  const ratios: Record<string, number> = {}
  for (const { name, goal, figures } of results)
    for (const place of ['auto', 'zblk1']) {
      const ceiling = figures['of' in goal ? goal.of : 'host']?.median
      const figure = figures[place]?.median
      if (figure !== undefined && ceiling !== undefined)
        ratios[`${name}: ${place}`] = Number((figure / ceiling).toFixed(3))
    }
  writeFileSync(BASELINE, `${JSON.stringify(ratios, undefined, 2)}\n`)
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
