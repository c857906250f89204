/**
 * `npm run bench [-- --quick] [--json FILE] [--save] [--mib N] [--rounds N] [--only TEXT] [--places A,B]`: compares zblkfs with
 * its ceilings (the no-op filesystem through the same driver, the host's filesystem) and its peers, at the level of programs.
 *
 * 1. Each place (places/) is mounted. A missing peer is reported and skipped.
 * 2. Each workload (workloads/) runs in every place in turn (rounds.ts); an untimed check then requires the places to hold the same bytes. The order matters: most workloads need the file that the first one writes.
 * 3. Figures are printed at once, and with `--json` written to the file after each workload. At the end: the
 *    targets, comparisons with peers, and regressions since the baseline was saved (baseline.json).
 *
 * Machines differ and are noisy: the meaningful result is the ratio to the ceiling within one run. Needs root, and fio.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { machine, ratiosOf, readBaseline, saveBaseline } from './baseline.ts'
import { coreResults } from './core-results.ts'
import { openPlace } from './places/open-place.ts'
import { PEERS, PLACES, type Place, type PlaceName } from './places/place.ts'
import { endOnSignals, sha256 } from './programs.ts'
import { baselineLines, resultLines, targetLines } from './report.ts'
import { memoryResult, type Result } from './result.ts'
import { measure } from './rounds.ts'
import { makeSource } from './source.ts'
import type { Setting, Workload } from './workload.ts'
import { appendEach, appendOnce } from './workloads/append.ts'
import { mountTime } from './workloads/mount-time.ts'
import { randomRead1, randomRead4 } from './workloads/random-read.ts'
import {
  randomWriteEach,
  randomWriteGrowth,
  randomWriteGrowthPresent,
  randomWriteOnce,
} from './workloads/random-write.ts'
import {
  rememberMoment,
  sequentialRead,
  sequentialReadBesideWriter,
  sequentialReadOfPast,
} from './workloads/sequential-read.ts'
import { sequentialWrite } from './workloads/sequential-write.ts'
import { createFiles, listFiles, readFiles, removeFiles } from './workloads/small-files.ts'

const WORKLOADS: readonly Workload[] = [
  sequentialWrite,
  sequentialRead,
  sequentialReadBesideWriter,
  randomRead1,
  randomRead4,
  appendOnce,
  appendEach,
  createFiles,
  listFiles,
  readFiles,
  removeFiles,
  randomWriteOnce,
  randomWriteEach,
  sequentialReadOfPast,
  randomWriteGrowth,
  randomWriteGrowthPresent,
  mountTime,
]
const BASELINE = new URL('baseline.json', import.meta.url)
const MEMORY_MIB_MAX = 200
const FULL = { mib: 2048, rounds: 3, count: 16_384, seconds: 2 }
const QUICK = { mib: 256, rounds: 3, count: 2048, seconds: 1 }
const QUICK_PLACES: readonly PlaceName[] = ['auto', 'zblk1', 'no-op', 'host']

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    save: { type: 'boolean', default: false },
    mib: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
    places: { type: 'string' },
  },
})

class Bench {
  readonly #places: Place[] = []
  readonly #results: Result[] = []
  readonly #failures: string[] = []

  /** Opens the available places. @throws Error if zblkfs or a ceiling is not available. */
  async open(names: readonly PlaceName[], root: string, mib: number): Promise<void> {
    for (const name of names)
      try {
        this.#places.push(await openPlace(name, root, mib))
      } catch (error) {
        if (!isOptional(name)) throw error
        this.#fail(name, error)
      }
  }

  async run(workload: Workload, setting: Setting, rounds: number): Promise<Result> {
    const result = await measure(workload, this.#places, setting, rounds, async (place, { name }, error) => {
      this.#fail(`${place.name}, ${name}`, error)
      if (!isOptional(place.name)) process.exitCode = 1
      this.#places.splice(this.#places.indexOf(place), 1)
      await place.close()
    })
    if (workload === sequentialWrite) for (const place of this.#places) await rememberMoment(place)
    this.add(result)
    return result
  }

  add(result: Result): void {
    this.#results.push(result)
  }

  get results(): readonly Result[] {
    return this.#results
  }

  get failures(): readonly string[] {
    return this.#failures
  }

  async close(): Promise<void> {
    for (const place of this.#places.toReversed())
      await place.close().catch((error: unknown) => this.#fail(place.name, error))
  }

  #fail(what: string, error: unknown): void {
    this.#failures.push(`${what}: ${error instanceof Error ? error.message : String(error)}`)
    console.log(`left out: ${this.#failures.at(-1)}`)
  }
}

/** Peers, and the optional driver. */
const isOptional = (name: PlaceName): boolean => ['fuse-native', 'no-op native', ...PEERS].includes(name)

/** @throws Error for an unknown place. */
function placesAsked(): readonly PlaceName[] {
  if (values.places === undefined) return values.quick ? QUICK_PLACES : PLACES
  return values.places.split(',').map(asked => {
    const name = PLACES.find(name => name === asked)
    if (name === undefined) throw new Error(`--places ${asked}: the places are ${PLACES.join(', ')}`)
    return name
  })
}

async function main(): Promise<void> {
  const defaults = values.quick ? QUICK : FULL
  const mib = Number(values.mib ?? defaults.mib)
  const rounds = Number(values.rounds ?? defaults.rounds)
  if (!(mib >= 64 && Number.isInteger(mib))) throw new Error('--mib takes a whole number from 64 on')
  if (!(rounds >= 1 && Number.isInteger(rounds))) throw new Error('--rounds takes a whole number from 1 on')
  const names = placesAsked()
  endOnSignals()
  const baseline = readBaseline(BASELINE)
  const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-'))
  const bench = new Bench()
  const report = (lines: readonly string[]): void => {
    console.log(`${lines.join('\n')}\n`)
    if (values.json === undefined) return
    const { results, failures } = bench
    writeFileSync(
      values.json,
      `${JSON.stringify({ machine: machine(), mib, rounds, results, failures }, undefined, 2)}\n`,
    )
  }
  try {
    const source = join(root, 'source')
    await makeSource(source, mib)
    await bench.open(names, root, mib)
    const { count, seconds } = defaults
    const setting: Setting = { mib, source, digest: await sha256(source), count, seconds }
    report([
      `${mib} MiB, medians of ${rounds} (least - most), on ${machine()}`,
      'MiB: resident memory of the daemon at the start, the most, at the end',
    ])
    for (const workload of WORKLOADS) {
      const isAsked = workload.name.includes(values.only)
      // Later workloads always need the file.
      if (isAsked || workload === sequentialWrite)
        report(resultLines(await bench.run(workload, setting, isAsked ? rounds : 1), baseline))
    }
    for (const result of [
      ...('core'.includes(values.only) ? await coreResults(values.quick) : []),
      ...(['peak', 'end'] as const).map(which => memoryResult(bench.results, which, MEMORY_MIB_MAX)),
    ]) {
      bench.add(result)
      report(resultLines(result, baseline))
    }
    report(targetLines(bench.results))
    if (baseline !== undefined) report(baselineLines(baseline, bench.results, machine()))
    if (values.save) saveBaseline(BASELINE, { machine: machine(), mib, ratios: ratiosOf(bench.results) })
  } finally {
    await bench.close()
    rmSync(root, { recursive: true, force: true })
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
