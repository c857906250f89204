/**
 * Frees bulk space: erases units that no revision points to, and removes segments without any other unit. No bytes are
 * moved. If parts of a segment cannot be released, only whole segments are.
 *
 * Commits continue meanwhile. They point to bytes after the bulk's end as of the mark, which a pack leaves alone, or
 * share bytes that are in use already. So before each step the pack catches up with new commits, and the writer refuses
 * to erase bytes that a later commit points to.
 */
import { CorruptRecordError } from '../../errors.ts'
import { tid as toTid } from '../../ids.ts'
import type { StoredRevision } from '../../stored-revisions.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import type { PagedCounters } from '../../paged-counters.ts'
import { GROUP_BYTES, UNIT_BYTES } from '../frame.ts'
import type { BulkRange } from '../bulk.ts'
import type { PackSource } from './pack-source.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'
import { StepSize } from './step-size.ts'

const STEP_MIN_BYTES = 1 << 20
const STEP_MAX_BYTES = 128 << 20
const STEP_RANGES = 256
/** Ranges between two pauses. */
const LOOK_RANGES = 256
const STALE_MAX = 20

/** The input of {@link packBulk}. */
export interface BulkPackWork {
  readonly reader: PackSource
  /** For each unit before `bulkEnd`, the revisions up to `upTo` that point to it. */
  readonly units: PagedCounters
  /** Those of them to be freed. None of their counters counts anything. */
  readonly dead: PagedBitmap
  readonly upTo: bigint
  readonly bulkEnd: number
  readonly step: (step: PackStep) => Promise<PackStepResult>
  /** Called from time to time with the position reached, out of `bulkEnd`. */
  readonly pause: (doneBytes: number) => Promise<void> | undefined
}

/** Resolves to the number of bytes freed. */
export async function packBulk(work: BulkPackWork): Promise<number> {
  const pack = new BulkPack(work)
  try {
    return await pack.run()
  } finally {
    pack.close()
  }
}

class BulkPack {
  readonly #work: BulkPackWork
  readonly #stepSize = new StepSize(STEP_MIN_BYTES, STEP_MAX_BYTES)
  /** The units to which transactions after `upTo` point, up to `#seen`. */
  readonly #later = new PagedBitmap()
  #seen: bigint
  #freedBytes = 0

  constructor(work: BulkPackWork) {
    this.#work = work
    this.#seen = work.upTo
  }

  close(): void {
    this.#later.close()
  }

  async run(): Promise<number> {
    const { reader, dead, bulkEnd } = this.#work
    for (const segment of await reader.segments()) {
      const [lo, hi] = segment
      const end = Math.min(hi, bulkEnd) / UNIT_BYTES
      if (lo < bulkEnd && dead.find(true, lo / UNIT_BYTES, end) < end) await this.#packSegment(segment)
    }
    return this.#freedBytes
  }

  async #packSegment(segment: BulkRange): Promise<void> {
    const { reader, bulkEnd, pause } = this.#work
    if (segment[1] <= bulkEnd && !this.#isUsed(segment)) {
      await this.#erase([segment])
      return
    }
    let ranges: BulkRange[] = []
    let bytes = 0
    let looked = 0
    for (const [lo, hi] of this.#deadRanges(segment)) {
      if (++looked % LOOK_RANGES === 0) await pause(lo)
      for (let at = lo; at < hi;) {
        const end = this.#stepEnd(at, hi)
        if (await reader.isAllocated([at, end])) {
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

  /** A step ends at the end of a group, so that the group's checksums are released too. */
  #stepEnd(at: number, hi: number): number {
    const end = at + this.#stepSize.value
    if (end >= hi) return hi
    const groupEnd = end - (end % GROUP_BYTES)
    return groupEnd > at ? groupEnd : Math.min(hi, groupEnd + GROUP_BYTES)
  }

  /** The ranges of a segment to be freed. */
  *#deadRanges([start, segmentEnd]: BulkRange): Generator<BulkRange> {
    const { dead, bulkEnd } = this.#work
    const end = Math.min(segmentEnd, bulkEnd) / UNIT_BYTES
    for (let unit = start / UNIT_BYTES; ;) {
      const lo = dead.find(true, unit, end)
      if (lo === end) return
      unit = dead.find(false, lo, end)
      yield [lo * UNIT_BYTES, unit * UNIT_BYTES]
    }
  }

  async #erase(ranges: readonly BulkRange[]): Promise<void> {
    const { step, pause } = this.#work
    let wanted = ranges
    for (let tries = 0; tries < STALE_MAX && wanted.length > 0; tries++) {
      await this.#catchUp()
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

  #isUsed([lo, hi]: BulkRange): boolean {
    const [from, end] = [lo / UNIT_BYTES, hi / UNIT_BYTES]
    return this.#work.units.find(true, from, end) < end || this.#later.find(true, from, end) < end
  }

  /** Adds the units of new commits to `#later`. */
  async #catchUp(): Promise<void> {
    const { reader } = this.#work
    const { lastTid } = await reader.end()
    if (lastTid === this.#seen) return
    for await (const keys of reader.changes(toTid(this.#seen), toTid(lastTid)))
      for (const found of await reader.found(keys))
        if (found !== undefined && !(found instanceof CorruptRecordError)) this.#use(found.revision)
    this.#seen = lastTid
  }

  #use({ unitLo, unitHi }: StoredRevision): void {
    if (unitLo * UNIT_BYTES < this.#work.bulkEnd) this.#later.addRange(unitLo, unitHi)
  }
}
