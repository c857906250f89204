/**
 * Packs a mounted database: on request, and at low intensity in the background if that is expected to free enough space.
 * One at a time; a requested pack ends a background pack and takes its place.
 *
 * The space that a pack to moment H would free is estimated without a scan: the bytes written since the last pack's moment
 * P, less the growth of the files. Both are totals that every transaction stores. The space freed when a moment that the last
 * pack had to keep is released is unknown: that is worth a pack, but not soon after another one.
 */
import { sentError } from './control-protocol.ts'
import type { Logger } from 'pino'
import type { FileSystem } from '../../core/file-system/file-system.ts'
import {
  historyStart,
  momentNamed,
  retentionOf,
  superblockAt,
  taggedMoments,
} from '../../core/pack/moments.ts'
import { thinnedMoments } from '../../core/pack/thinning.ts'
import { pack, type PackOptions, type PackResult } from '../../core/pack/pack.ts'
import type { Capabilities, Measuring, Packing, Retaining } from '../../store/capabilities.ts'
import { type Retention } from '../../store/retention.ts'
import { ReadOnlyError, StoreError } from '../../store/errors.ts'
import type { Tid } from '../../store/ids.ts'
import type { WritableStore } from '../../store/store.ts'
import type { PackStatus } from './call-results.ts'
import type { PackFigures } from './mount-stats.ts'

/** Number of checks within the time that history is kept. */
const CHECKS_PER_HISTORY = 50
const CHECK_MIN_MS = 1000
const CHECK_MAX_MS = 600_000
/** Factor of the delay of the next check after a failure. */
const FAILED_FACTOR = 10
/** Idle time after which a moment is released to which only the kernel's caches refer. */
const IDLE_MS = 60_000
/** Minimum time between packs for released moments, limited by the time that history is kept. */
const RELEASED_MAX_MS = 3_600_000
/** Minimum space that a pack must be expected to free, in bytes and as a fraction of the database. */
const WORTH_MIN_BYTES = 4 << 20
const WORTH_PART = 0.05
/** The fraction of the database that may stay free for the next writes. */
const SPARE_PART = 0.02
/** Approximate size of a revision in the index. */
const REVISION_BYTES = 250
/** `PackOptions.rest` of a background pack, by the fraction of the database that it is expected to free. */
const RESTS: readonly (readonly [part: number, rest: number])[] = [
  [0.1, 4],
  [0.25, 2],
  [Number.POSITIVE_INFINITY, 0.5],
]

interface Running {
  readonly isBackground: boolean
  readonly abort: AbortController
  readonly settled: Promise<void>
}

interface MountPackerParts {
  readonly store: WritableStore
  readonly packing: Packing
  readonly measuring: Measuring
  readonly retaining: Retaining
  readonly fileSystem: FileSystem
  readonly retention: Retention
  readonly log: Logger
}

export class MountPacker {
  readonly #store: WritableStore
  readonly #packing: Packing
  readonly #measuring: Measuring
  readonly #retaining: Retaining
  readonly #fileSystem: FileSystem
  readonly #log: Logger
  #retention: Retention
  #running: Running | undefined
  /** When the last background pack ended, as performance.now(). */
  #packedMs = Number.NEGATIVE_INFINITY
  #status: PackStatus = { state: 'none' }
  #packs = 0
  #failures = 0
  #expected = 0
  #endedMs: number | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  private constructor(parts: MountPackerParts) {
    const { store, packing, measuring, retaining, fileSystem, retention, log } = parts
    this.#store = store
    this.#packing = packing
    this.#measuring = measuring
    this.#retaining = retaining
    this.#fileSystem = fileSystem
    this.#retention = retention
    this.#log = log
  }

  /** Undefined if the store cannot be packed. */
  static async of(
    store: WritableStore,
    fileSystem: FileSystem,
    log: Logger,
  ): Promise<MountPacker | undefined> {
    const { packing, measuring, retaining } = store.capabilities
    if (packing === undefined || measuring === undefined || retaining === undefined) return undefined
    const retention = await retentionOf(store)
    return new MountPacker({ store, packing, measuring, retaining, fileSystem, retention, log })
  }

  /** How long history is kept, as last read. */
  get retention(): Retention {
    return this.#retention
  }

  /** Records in the database how long history is kept from now on. */
  async setRetention(retention: Retention): Promise<void> {
    await this.#retaining.setRetention(retention)
    this.#retention = retention
    this.#schedule(1)
  }

  /** Another mount that writes the same database may have changed it. */
  async #readRetention(): Promise<void> {
    if (this.#fileSystem.lease !== undefined) this.#retention = await retentionOf(this.#store)
  }

  /** Starts packing in the background from time to time. */
  watch(): void {
    this.#schedule(1)
  }

  get figures(): PackFigures {
    return {
      isRunning: this.#running !== undefined,
      packs: this.#packs,
      failures: this.#failures,
      expectedBytes: this.#expected,
      ...(this.#endedMs !== undefined && { endedMs: this.#endedMs }),
    }
  }

  /** The state of the last pack that {@link start} began. */
  get status(): PackStatus {
    return this.#status
  }

  /** Starts a requested pack. @throws StoreError if one is running, or for a moment that does not exist. */
  async start(before?: string): Promise<void> {
    await this.#readRetention()
    const from =
      before === undefined
        ? await historyStart(this.#store, this.#retention)
        : await momentNamed(this.#store, before)
    // Another pack may begin while one is being stopped.
    for (let running = this.#running; running !== undefined; running = this.#running) {
      if (!running.isBackground)
        throw new StoreError(`${this.#store.name} is being packed already: wait until that pack is done`, {
          code: 'pack-running',
        })
      await this.#stop()
    }
    this.#status = { state: 'running' }
    this.#run(false, {
      from,
      ...(before !== undefined && { moments: () => this.#momentsInUse() }),
      onProgress: progress => (this.#status = { state: 'running', progress }),
    }).then(
      report => (this.#status = { state: 'done', report }),
      (error: unknown) => (this.#status = { state: 'failed', error: sentError(error) }),
    )
  }

  /** Ends a requested pack, without undoing its steps. */
  async cancel(): Promise<void> {
    if (this.#running?.isBackground === false) await this.#stop()
  }

  /** Ends a running pack; no other one starts. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#stop()
  }

  #schedule(factor: number): void {
    clearTimeout(this.#timer)
    const { keepMs } = this.#retention
    if (this.#closed || keepMs === Number.POSITIVE_INFINITY) return
    const intervalMs = Math.min(CHECK_MAX_MS, Math.max(CHECK_MIN_MS, keepMs / CHECKS_PER_HISTORY))
    this.#timer = setTimeout(() => void this.#check(), intervalMs * factor)
    this.#timer.unref()
  }

  async #check(): Promise<void> {
    let factor = 1
    try {
      const { totalBytes: databaseBytes } = await this.#measuring.space()
      await this.#readRetention()
      const from = await historyStart(this.#store, this.#retention)
      this.#fileSystem.forgetIdleMoments(from, Math.min(IDLE_MS, this.#retention.keepMs))
      const expectedBytes = await this.#expectedBytes(from)
      this.#expected = Math.max(0, expectedBytes)
      const isWorthIt = expectedBytes >= Math.max(WORTH_MIN_BYTES, databaseBytes * WORTH_PART)
      // Another mount that writes packs instead.
      if (this.#fileSystem.lease === 'not held') return this.#schedule(factor)
      if ((isWorthIt || (await this.#isReleased())) && this.#running === undefined) {
        const report = await this.#run(true, {
          from,
          rest: RESTS.find(([part]) => expectedBytes < databaseBytes * part)?.[1] ?? 0,
          spareBytes: databaseBytes * SPARE_PART,
        })
        this.#packedMs = performance.now()
        this.#log.info({ expectedBytes, ...report }, 'packed in the background')
      }
    } catch (error) {
      factor = FAILED_FACTOR
      if (!this.#closed) this.#log.warn({ err: error }, 'a background pack failed and will be repeated later')
    }
    this.#schedule(factor)
  }

  /** Approximate size of the revisions that a pack to `moment` would drop. */
  async #expectedBytes(moment: Tid): Promise<number> {
    const { from: packed } = await this.#packing.kept()
    const lastTid = await this.#store.lastTid()
    const from = moment > lastTid ? lastTid : moment
    if (from <= packed) return 0
    const { storedBytes, revisions } = await this.#measuring.added(packed, from)
    const growth = (await this.#storedBytes(from)) - (await this.#storedBytes(packed))
    return storedBytes + revisions * REVISION_BYTES - growth
  }

  /** Whether a moment that the last pack had to keep is no longer in use. */
  async #isReleased(): Promise<boolean> {
    if (performance.now() - this.#packedMs < Math.min(RELEASED_MAX_MS, this.#retention.keepMs)) return false
    const { earlier } = await this.#packing.kept()
    if (earlier.length === 0) return false
    const pinned = (await this.#store.capabilities.pinning?.pinned()) ?? []
    const used = new Set([...(await this.#momentsToKeep()), ...pinned])
    return earlier.some(moment => !used.has(moment))
  }

  /** Those in use, and those that the retention keeps. */
  async #momentsToKeep(): Promise<readonly Tid[]> {
    return [...(await this.#momentsInUse()), ...(await thinnedMoments(this.#store, this.#retention))]
  }

  async #momentsInUse(): Promise<readonly Tid[]> {
    return [...this.#fileSystem.openTids, ...(await taggedMoments(this.#store))]
  }

  /** The stored bytes of files at a moment. */
  async #storedBytes(at: Tid): Promise<number> {
    const superblock = await superblockAt(this.#store, at)
    return superblock === undefined ? 0 : (await superblock.usage()).bytes
  }

  async #run(isBackground: boolean, options: PackOptions): Promise<PackResult> {
    if (this.#closed) throw new StoreError(`${this.#store.name} is being closed`)
    const abort = new AbortController()
    const packing = this.#fileSystem.keep(recalled =>
      pack(this.#store, {
        ...options,
        signal: recalled === undefined ? abort.signal : AbortSignal.any([abort.signal, recalled]),
        moments: options.moments ?? (() => this.#momentsToKeep()),
        settle: () => this.#fileSystem.quiesce(),
      }),
    )
    const settled = packing.then(
      () => undefined,
      () => undefined,
    )
    const running: Running = { isBackground, abort, settled }
    this.#running = running
    try {
      const result = await packing
      this.#packs++
      this.#expected = 0
      this.#endedMs = Date.now()
      return result
    } catch (error) {
      if (!abort.signal.aborted) this.#failures++
      throw error
    } finally {
      if (this.#running === running) this.#running = undefined
    }
  }

  async #stop(): Promise<void> {
    this.#running?.abort.abort(new StoreError('the pack was ended early; its completed steps are kept'))
    await this.#running?.settled
  }
}

/** Why a mount has no {@link MountPacker}. */
export const packsNothing = (directory: string, { branch }: Capabilities): StoreError =>
  branch === undefined
    ? new ReadOnlyError(`${directory} is mounted read-only: pack, and set the history, on a writable mount`)
    : new StoreError(`${directory} is a mount of a branch, which keeps its history until it is deleted`, {
        code: 'not-on-branch',
      })
