/**
 * Packs of a mounted database: those that somebody asks for, and those that the mount makes by itself, gently, when
 * enough can be expected to come back. One at a time; a pack by hand ends one in the background, and takes over.
 *
 * What a pack to moment H would free is known well without looking: what was written since the last pack's moment P,
 * less the growth of what the files take. Both are numbers that every transaction has stored. What comes back when a moment
 * is no longer used that a pack had to leave, is not known: that is worth a pack, but none soon after another.
 */
import { sentError } from './control-protocol.ts'
import type { Logger } from 'pino'
import { pack, type PackOptions, type PackReport } from '../../core/pack/pack.ts'
import { momentNamed, superblockAt, taggedMoments } from '../../core/pack/moments.ts'
import { StoreError } from '../../store/errors.ts'
import { TID_MAX, TID_NONE, tidFromTime, type Tid } from '../../store/ids.ts'
import { pinnedMoments } from '../../store/sqlite/open/reader-pin.ts'
import type { WritableSqliteStore } from '../../store/sqlite/sqlite-store.ts'
import type { FileSystem } from '../../core/file-system/file-system.ts'
import type { PackStatus } from './control-protocol.ts'

/** A mount looks for something to pack this often within the time that it keeps history. */
const CHECKS_PER_HISTORY = 50
const CHECK_MIN_MS = 1000
const CHECK_MAX_MS = 600_000
/** After a failure, so many times later. */
const FAILED_FACTOR = 10
/** A moment that nobody has looked at for so long is not kept for the kernel's memory of it alone. */
const IDLE_MS = 60_000
/** A pack for moments that are no longer used comes at least so long after the last, or the time that history is kept. */
const RELEASED_MAX_MS = 3_600_000
/** What must be expected to come back, in bytes and as a part of the file: well below a tenth. */
const WORTH_MIN_BYTES = 4 << 20
const WORTH_PART = 0.05
/** Free pages that stay in the file for what is written next. */
const SPARE_PART = 0.02
/** What a revision takes in the index, about, in bytes. */
const REVISION_BYTES = 250
/** How long a pack in the background rests after its work, by what part of the file it is expected to free. */
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

export class MountPacker {
  readonly #store: WritableSqliteStore
  readonly #fileSystem: FileSystem
  readonly #historyMs: number
  readonly #log: Logger
  #running: Running | undefined
  /** When a pack in the background ended last, of performance.now(). */
  #packedMs = Number.NEGATIVE_INFINITY
  #status: PackStatus = { state: 'none' }
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(store: WritableSqliteStore, fileSystem: FileSystem, historyMs: number, log: Logger) {
    this.#store = store
    this.#fileSystem = fileSystem
    this.#historyMs = historyMs
    this.#log = log
  }

  /** Begins to pack in the background from time to time. */
  watch(): void {
    this.#schedule(1)
  }

  /** How far the last pack that {@link start} began is. */
  get status(): PackStatus {
    return this.#status
  }

  /** Begins a pack by hand. @throws StoreError where one is under way, or for a moment that does not exist. */
  async start(before?: string): Promise<void> {
    const from = before === undefined ? this.#historyStart() : await momentNamed(this.#store, before)
    if (this.#running?.isBackground === false)
      throw new StoreError(`${this.#store.name} is being packed already: wait until that is done`)
    await this.#stop()
    this.#status = { state: 'running' }
    this.#run(false, {
      from,
      onProgress: progress => (this.#status = { state: 'running', progress }),
    }).then(
      report => (this.#status = { state: 'done', report }),
      (error: unknown) => (this.#status = { state: 'failed', error: sentError(error) }),
    )
  }

  /** Ends a pack that was begun by hand; what is done is done. */
  async cancel(): Promise<void> {
    if (this.#running?.isBackground === false) await this.#stop()
  }

  /** Ends what is under way, for good. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#stop()
  }

  #schedule(factor: number): void {
    if (this.#closed || this.#historyMs === Number.POSITIVE_INFINITY) return
    const intervalMs = Math.min(CHECK_MAX_MS, Math.max(CHECK_MIN_MS, this.#historyMs / CHECKS_PER_HISTORY))
    this.#timer = setTimeout(() => void this.#check(), intervalMs * factor)
    this.#timer.unref()
  }

  async #check(): Promise<void> {
    let factor = 1
    try {
      const { databaseBytes } = this.#store.stats()
      const from = this.#historyStart()
      this.#fileSystem.forgetIdleMoments(from, Math.min(IDLE_MS, this.#historyMs))
      const expectedBytes = await this.#expectedBytes(from)
      const isWorthIt = expectedBytes >= Math.max(WORTH_MIN_BYTES, databaseBytes * WORTH_PART)
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
      if (!this.#closed) this.#log.warn({ err: error }, 'no pack in the background: trying again later')
    }
    this.#schedule(factor)
  }

  /** What the revisions take, about, which a pack to `moment` would drop. */
  async #expectedBytes(moment: Tid): Promise<number> {
    const { from: packed } = await this.#store.keptMoments()
    const lastTid = await this.#store.lastTid()
    const from = moment > lastTid ? lastTid : moment
    if (from <= packed) return 0
    const { storedBytes, revisions } = await this.#store.added(packed, from)
    const growth = (await this.#storedBytes(from)) - (await this.#storedBytes(packed))
    return storedBytes + revisions * REVISION_BYTES - growth
  }

  /** Whether a moment that the last pack had to leave is in nobody's use any more. */
  async #isReleased(): Promise<boolean> {
    if (performance.now() - this.#packedMs < Math.min(RELEASED_MAX_MS, this.#historyMs)) return false
    const { earlier } = await this.#store.keptMoments()
    if (earlier.length === 0) return false
    const used = new Set([...(await this.#momentsInUse()), ...pinnedMoments(this.#store.name)])
    return earlier.some(moment => !used.has(moment))
  }

  async #momentsInUse(): Promise<readonly Tid[]> {
    return [...this.#fileSystem.openTids, ...(await taggedMoments(this.#store))]
  }

  /** What the files took at a moment. */
  async #storedBytes(at: Tid): Promise<number> {
    const superblock = await superblockAt(this.#store, at)
    return superblock === undefined ? 0 : (await superblock.usage()).bytes
  }

  #historyStart(): Tid {
    if (this.#historyMs === 0) return TID_MAX
    if (this.#historyMs === Number.POSITIVE_INFINITY) return TID_NONE
    return tidFromTime(Math.max(0, Date.now() - this.#historyMs))
  }

  async #run(isBackground: boolean, options: PackOptions): Promise<PackReport> {
    if (this.#closed) throw new StoreError(`${this.#store.name} is being closed`)
    const abort = new AbortController()
    const packing = pack(this.#store, {
      ...options,
      signal: abort.signal,
      moments: () => this.#momentsInUse(),
      settle: () => this.#fileSystem.settle(),
    })
    const settled = packing.then(
      () => undefined,
      () => undefined,
    )
    const running: Running = { isBackground, abort, settled }
    this.#running = running
    try {
      return await packing
    } finally {
      if (this.#running === running) this.#running = undefined
    }
  }

  async #stop(): Promise<void> {
    this.#running?.abort.abort(new StoreError('the pack was ended early: what it has done is done'))
    await this.#running?.settled
  }
}
