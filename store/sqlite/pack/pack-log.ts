/**
 * Gives room in the log back: units to which no revision points become holes in their files, and a segment without any
 * such unit left is removed. No bytes are moved. Where the filesystem cannot make holes, only whole segments go.
 *
 * Commits go on meanwhile. They point to bytes behind the log's end as of the mark, which are not looked at, or share bytes
 * that are pointed to already. So before each step the pack catches up with what was committed, and the writer refuses
 * to erase what a later commit points to.
 */
import { GROUP_BYTES, UNIT_BYTES } from '../../indexed/frame.ts'
import type { PagedBitmap } from '../../paged-bitmap.ts'
import { SEGMENT_BYTES } from '../../segment-files/log-layout.ts'
import type { PackReader } from './pack-reader.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'
import { StepSize } from './step-size.ts'

const STEP_MIN_BYTES = 1 << 20
const STEP_MAX_BYTES = 128 << 20
const STEP_RANGES = 256
/** Ranges between two chances to rest. */
const LOOK_RANGES = 256
const STALE_MAX = 20
const UNITS_PER_SEGMENT = SEGMENT_BYTES / UNIT_BYTES

/** What {@link packLog} works with. */
export interface LogPackWork {
  readonly reader: PackReader
  /** The units of `[0, logEnd)` that revisions up to `upTo` point to, and maybe later ones. */
  readonly live: PagedBitmap
  readonly upTo: bigint
  readonly logEnd: number
  readonly step: (step: PackStep) => Promise<PackStepResult>
  /** Called from time to time with the position reached, of `logEnd`. */
  readonly pause: (doneBytes: number) => Promise<void> | undefined
}

/** Resolves to the bytes of the log that were given back. */
export async function packLog(work: LogPackWork): Promise<number> {
  return await new LogPack(work).run()
}

/** Bytes of the log, `[lo, hi)`. */
type Range = readonly [lo: number, hi: number]

class LogPack {
  readonly #work: LogPackWork
  readonly #stepSize = new StepSize(STEP_MIN_BYTES, STEP_MAX_BYTES)
  /** What transactions up to this one point to is in `live`. */
  #seen: bigint
  #freedBytes = 0

  constructor(work: LogPackWork) {
    this.#work = work
    this.#seen = work.upTo
  }

  async run(): Promise<number> {
    const { reader, logEnd } = this.#work
    for (const segment of reader.segments())
      if (segment * SEGMENT_BYTES < logEnd) await this.#packSegment(segment)
    return this.#freedBytes
  }

  async #packSegment(segment: number): Promise<void> {
    const { reader, live, logEnd, pause } = this.#work
    const [start, end] = [segment * UNITS_PER_SEGMENT, (segment + 1) * UNITS_PER_SEGMENT]
    if (end * UNIT_BYTES <= logEnd && live.find(true, start, end) === end) {
      await this.#erase([[start * UNIT_BYTES, end * UNIT_BYTES]])
      return
    }
    let ranges: Range[] = []
    let bytes = 0
    let looked = 0
    for (const [lo, hi] of this.#deadRanges(segment)) {
      if (++looked % LOOK_RANGES === 0) await pause(lo)
      for (let at = lo; at < hi;) {
        const end = this.#stepEnd(at, hi)
        if (reader.takesRoom(at, end)) {
          ranges.push([at, end])
          bytes += end - at
        }
        at = end
        if (bytes < this.#stepSize.value && ranges.length < STEP_RANGES) continue
        await this.#erase(ranges)
        ranges = []
        bytes = 0
      }
    }
    if (ranges.length > 0) await this.#erase(ranges)
  }

  /** A step ends where a group does, so that the group's checksums go with it. */
  #stepEnd(at: number, hi: number): number {
    const end = at + this.#stepSize.value
    if (end >= hi) return hi
    const groupEnd = end - (end % GROUP_BYTES)
    return groupEnd > at ? groupEnd : Math.min(hi, groupEnd + GROUP_BYTES)
  }

  /** The ranges of a segment, before the log's end, to which no revision points. */
  *#deadRanges(segment: number): Generator<Range> {
    const { live, logEnd } = this.#work
    const end = Math.min((segment + 1) * UNITS_PER_SEGMENT, logEnd / UNIT_BYTES)
    for (let unit = segment * UNITS_PER_SEGMENT; ;) {
      const lo = live.find(false, unit, end)
      if (lo === end) return
      unit = live.find(true, lo, end)
      yield [lo * UNIT_BYTES, unit * UNIT_BYTES]
    }
  }

  async #erase(ranges: readonly Range[]): Promise<void> {
    const { step, pause } = this.#work
    let wanted = ranges
    for (let tries = 0; tries < STALE_MAX && wanted.length > 0; tries++) {
      this.#catchUp()
      wanted = wanted.filter(range => !this.#isUsed(range))
      const { isStale, bytes, durationMs } = await step({
        kind: 'erase',
        asOf: this.#seen,
        ranges: Float64Array.from(wanted.flat()),
      })
      this.#stepSize.adapt(durationMs)
      this.#freedBytes += bytes
      if (!isStale) break
    }
    await pause(ranges.at(-1)?.[1] ?? 0)
  }

  #isUsed([lo, hi]: Range): boolean {
    const end = hi / UNIT_BYTES
    return this.#work.live.find(true, lo / UNIT_BYTES, end) < end
  }

  /** Adds what was committed meanwhile to `live`. */
  #catchUp(): void {
    const { reader, live, logEnd } = this.#work
    const { lastTid } = reader.logEnd()
    if (lastTid === this.#seen) return
    for (const [pos, len] of reader.usedSince(this.#seen))
      if (pos < logEnd) live.addRange(Math.floor(pos / UNIT_BYTES), Math.ceil((pos + len) / UNIT_BYTES))
    this.#seen = lastTid
  }
}
