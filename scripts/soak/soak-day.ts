/**
 * A time-lapse of a day in the life of a mount.
 *
 * Several processes (worker.ts) change files on one mount, each in a separate directory of which it has a model. The
 * timer and the dirty bound trigger commits, and background packs drop history after a short time. The daemon runs
 * several times:
 *
 * 1. Short runs. Each ends by SIGKILL during operations, or by an orderly remount.
 *    - After a kill each process's directory must match a state after some prefix of its operations, which includes all
 *      that had returned before any process's last fsync began. All processes together must form a prefix: if an
 *      operation is lost, every operation that began after its return must be lost too. fsck must report no problem.
 *    - After a remount all operations must be present.
 * 2. One long run, for the second half of the time, with memory and descriptors monitored.
 *
 * At the end everything is compared, before and after a last remount; the database's size is checked against its contents;
 * and `fsck --data` reads every byte.
 *
 * A seed reproduces the operations and the lengths of runs, but not their interleaving.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../../test/stress/random.ts'
import { withMount, type TestMount } from '../../test/tools/mounted.ts'
import { runProgram, ZBLKFS } from '../../test/tools/run-zblkfs.ts'
import { logPathFor } from '../log-file.ts'
import { DaemonWatch, spreadOf, thirdsOf, type Sample, type Spread } from './daemon-watch.ts'
import { monotonicMs, type Kept } from './journal.ts'
import { settledSpace, spaceOf, type SpaceUse } from './space.ts'
import type { Kind } from './operations.ts'
import type { Worked } from './worker.ts'
import { WorkerProcess } from './worker-process.ts'

export interface SoakOptions {
  readonly minutes: number
  readonly seed: number
  /** Receives progress messages. */
  readonly log?: (line: string) => void
}

/** Bytes and milliseconds. Spreads are smallest, middle, largest. */
export interface SoakResult {
  readonly operations: number
  readonly bytesWritten: number
  /** Comparisons of a process's whole directory with its model while the others were running. */
  readonly looks: number
  readonly momentsRead: number
  readonly kills: number
  readonly remounts: number
  readonly killsWithLoss: number
  readonly lostOperations: number
  /** Time between the return of the oldest lost operation and the kill. */
  readonly oldestLostMs: number
  readonly backgroundPacks: number
  /** Warnings and errors in the daemons' log. */
  readonly warnings: readonly string[]
  /** In the second and the last third of the long run. */
  readonly resident: readonly [Spread, Spread]
  readonly descriptors: readonly [Spread, Spread]
  /** Size of the database and its log in the long run. */
  readonly fileBytes: Spread
  /** During the work, and at rest. */
  readonly spaceAtWork: SpaceUse
  readonly space: SpaceUse & { readonly waitedMs: number }
}

const WORKERS: readonly (readonly [string, Kind])[] = [
  ['small0', 'small'],
  ['small1', 'small'],
  ['bulk', 'bulk'],
]
const COMMIT_INTERVAL_MS = 1000
const DIRTY_SIZE = '16M'
const HISTORY_MAX_MS = 30_000
const HISTORY_PART = 1 / 20
const LONG_LIFE_PART = 0.5
const SHORT_LIFE_PART = 1 / 24
const KILLS_PART = 2 / 3
const SAMPLE_MS = 500
const SETTLE_TIMEOUT_MS = 120_000
const FSCK_TIMEOUT_MS = 600_000
/** pino's level number for `warn`. */
const LEVEL_WARN = 40

/** One soak run. @throws Error with the seed, on lost or damaged data. */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const historyMs = Math.min(HISTORY_MAX_MS, Math.round(options.minutes * 60_000 * HISTORY_PART))
  const list = [
    `commit_interval=${COMMIT_INTERVAL_MS}ms`,
    `dirty_size=${DIRTY_SIZE}`,
    `history=${historyMs}ms`,
  ]
  return await withMount({ options: list }, async mount => {
    const day = new SoakDay(mount, options, historyMs)
    try {
      return await day.run()
    } catch (error) {
      throw new Error(`seed ${options.seed}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
    } finally {
      day.end()
    }
  })
}

class SoakDay {
  readonly #mount: TestMount
  readonly #options: SoakOptions
  readonly #historyMs: number
  readonly #random: Random
  readonly #workers: readonly WorkerProcess[]
  readonly #totals = {
    operations: 0,
    bytesWritten: 0,
    looks: 0,
    momentsRead: 0,
    kills: 0,
    remounts: 0,
    killsWithLoss: 0,
    lostOperations: 0,
    oldestLostMs: 0,
  }

  constructor(mount: TestMount, options: SoakOptions, historyMs: number) {
    this.#mount = mount
    this.#options = options
    this.#historyMs = historyMs
    this.#random = new Random(options.seed)
    this.#workers = WORKERS.map(([name, kind]) => new WorkerProcess(mount.dir, name, kind, historyMs))
  }

  end(): void {
    for (const worker of this.#workers) worker.end()
  }

  async run(): Promise<SoakResult> {
    // Made once: a worker must not create anything below the mount point while it is unmounted.
    for (const [name] of WORKERS) await mkdir(join(this.#mount.dir, name))
    await this.#mount.remount()
    const totalMs = this.#options.minutes * 60_000
    const longMs = totalMs * LONG_LIFE_PART
    const endMs = performance.now() + totalMs - longMs
    while (performance.now() < endMs) {
      const lifeMs = totalMs * SHORT_LIFE_PART * this.#random.next()
      if (this.#random.next() < KILLS_PART) await this.#liveUntilKilled(lifeMs)
      else await this.#liveUntilRemounted(lifeMs)
    }
    let spaceAtWork: SpaceUse | undefined
    const { worked, samples } = await this.#live(longMs, async () => {
      spaceAtWork = await spaceOf(this.#mount.db, this.#historyMs)
      this.#pause()
    })
    assertAlive(worked)
    return await this.#conclude(samples, spaceAtWork)
  }

  async #liveUntilKilled(lifeMs: number): Promise<void> {
    let killedMs = 0
    const { worked } = await this.#live(lifeMs, async () => {
      killedMs = monotonicMs()
      await this.#mount.kill()
    })
    await this.#mount.remount()
    const syncedMs = Math.max(...worked.map(({ syncedMs }) => syncedMs))
    const kept = await Promise.all(this.#workers.map(worker => worker.look(syncedMs)))
    assertPrefix(kept)
    await this.#fsck()
    const lost = kept.reduce((sum, { lost }) => sum + lost, 0)
    const oldestLostMs = Math.max(0, killedMs - Math.min(...kept.map(({ firstLostEndMs }) => firstLostEndMs)))
    const totals = this.#totals
    totals.kills++
    totals.lostOperations += lost
    totals.killsWithLoss += lost > 0 ? 1 : 0
    totals.oldestLostMs = Math.max(totals.oldestLostMs, Math.round(oldestLostMs))
    this.#say(
      `killed after ${seconds(lifeMs)}: ${lost} operations lost, of the last ${seconds(oldestLostMs)}`,
    )
  }

  async #liveUntilRemounted(lifeMs: number): Promise<void> {
    const { worked } = await this.#live(lifeMs, () => this.#pause())
    assertAlive(worked)
    await this.#mount.remount()
    await this.#compare()
    this.#totals.remounts++
    this.#say(`remounted after ${seconds(lifeMs)}`)
  }

  /** Runs all workers for the given time and stops them. Returns their results and the samples of the daemon. */
  async #live(
    lifeMs: number,
    finish: () => Promise<void> | void,
  ): Promise<{ readonly worked: readonly Worked[]; readonly samples: readonly Sample[] }> {
    const watch = new DaemonWatch(this.#mount.pid(), this.#mount.db, SAMPLE_MS)
    const working = Promise.all(this.#workers.map(worker => worker.work(this.#random.below(2 ** 32))))
    try {
      // A failed worker ends the run at once.
      await Promise.race([sleep(lifeMs), working.then(assertAlive)])
      await finish()
      const worked = await working
      for (const { operations, bytesWritten, looks, momentsRead } of worked) {
        this.#totals.operations += operations
        this.#totals.bytesWritten += bytesWritten
        this.#totals.looks += looks
        this.#totals.momentsRead += momentsRead
      }
      return { worked, samples: watch.samples }
    } finally {
      watch.stop()
    }
  }

  #pause(): void {
    for (const worker of this.#workers) worker.pause()
  }

  async #compare(): Promise<void> {
    await Promise.all(this.#workers.map(worker => worker.compare()))
  }

  async #fsck(...parameters: readonly string[]): Promise<void> {
    const fsck = ['fsck', ...parameters, this.#mount.db]
    const { stdout, stderr, exitCode } = await runProgram(ZBLKFS, fsck, FSCK_TIMEOUT_MS)
    if (exitCode !== 0) throw new Error(`zblkfs fsck: exit code ${exitCode}: ${stdout}${stderr}`)
  }

  async #conclude(samples: readonly Sample[], spaceAtWork: SpaceUse | undefined): Promise<SoakResult> {
    this.#say('the work is done: comparing')
    await this.#compare()
    const space = await settledSpace(this.#mount.db, this.#historyMs, SETTLE_TIMEOUT_MS)
    await this.#mount.remount()
    await this.#compare()
    await this.#mount.unmount()
    await this.#fsck('--data')
    if (spaceAtWork === undefined) throw new Error('the work ended early')
    return {
      ...this.#totals,
      ...(await readLog(logPathFor(this.#mount.dir))),
      resident: thirdsOf(samples, ({ residentBytes }) => residentBytes),
      descriptors: thirdsOf(samples, ({ descriptors }) => descriptors),
      fileBytes: spreadOf(samples.map(({ fileBytes }) => fileBytes)),
      spaceAtWork,
      space,
    }
  }

  #say(line: string): void {
    this.#options.log?.(line)
  }
}

/** @throws Error if the mount failed without a kill. */
function assertAlive(worked: readonly Worked[]): void {
  const died = worked.find(({ died }) => died !== undefined)?.died
  if (died !== undefined) throw new Error(`the mount failed by itself: ${died}`)
}

/** @throws Error if an operation was lost that had returned before a preserved one began. */
function assertPrefix(kept: readonly Kept[]): void {
  const firstLostEndMs = Math.min(...kept.map(({ firstLostEndMs }) => firstLostEndMs))
  const lastKeptStartMs = Math.max(...kept.map(({ lastKeptStartMs }) => lastKeptStartMs))
  if (firstLostEndMs < lastKeptStartMs)
    throw new Error(
      `an operation is missing that had returned ${(lastKeptStartMs - firstLostEndMs).toFixed(3)} ms before one was ` +
        `begun that is there: ${JSON.stringify(kept)}`,
    )
}

async function readLog(path: string): Promise<Pick<SoakResult, 'backgroundPacks' | 'warnings'>> {
  const text = await readFile(path, 'utf8')
  const lines = text.split('\n').filter(line => line.startsWith('{'))
  const entries = lines.map(line => JSON.parse(line) as { readonly level: number; readonly msg?: string })
  return {
    backgroundPacks: entries.filter(({ msg }) => msg === 'packed in the background').length,
    warnings: lines.filter((_, i) => (entries[i]?.level ?? 0) >= LEVEL_WARN),
  }
}

const seconds = (timeMs: number): string => `${(timeMs / 1000).toFixed(1)} s`
