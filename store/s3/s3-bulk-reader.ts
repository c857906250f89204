/**
 * Reads a Bulk whose bytes are in segments of a bucket, and in rows of the index where they were not moved yet. A call looks up all
 * its extents first, then fetches all frames at once.
 *
 * A pack may move an extent or delete its object between the two; then the extents are looked up again.
 */
import { LRUCache } from 'lru-cache'
import {
  BulkDamageError,
  type BulkGap,
  type BulkRange,
  type BulkRead,
  type BulkScan,
} from '../indexed/bulk.ts'
import { UNIT_BYTES, unitDown } from '../indexed/frame.ts'
import type { FrameFetcher, WantedFrame } from './frame-fetcher.ts'
import { ReadAhead } from './read-ahead.ts'
import { ObjectMissingError } from './s3-errors.ts'
import { segmentKey, type Segment, type SegmentId } from './segment.ts'
import type { Extent, SegmentMap } from './segment-map.ts'

/** The unit in which extents are looked up and remembered. */
const WINDOW_BYTES = 4 << 20
/** Windows whose extents are remembered: 16 GiB of positions. */
const WINDOWS_KEPT = 4096
const SEGMENTS_KEPT = 4096
/** The part of positions that a pack scans as one. */
const SCAN_BYTES = 64 << 20
const DIFFERS = 'its bytes do not have their checksum'
const MISSING = 'its bytes are not there'

export interface S3ReaderParts {
  readonly map: SegmentMap
  /** The bytes that are in rows. */
  readonly rows: BulkScan
  readonly fetcher: FrameFetcher
  /** The length of a segment's object; undefined if it does not exist. */
  readonly sizeOf: (segment: SegmentId) => Promise<number | undefined>
}

/** Bytes of a frame for a read. */
interface Piece {
  readonly frame: WantedFrame
  readonly lo: number
  readonly hi: number
  readonly read: BulkRead
}

interface Plan {
  readonly pieces: readonly Piece[]
  /** The parts of reads that no extent has. */
  readonly inRows: readonly BulkRead[]
  /** The parts whose extents are damaged, if the caller requests them. */
  readonly unmapped: readonly BulkGap[]
}

export class S3BulkReader implements BulkScan {
  readonly #parts: S3ReaderParts
  readonly #windows = new LRUCache<number, readonly Extent[]>({ max: WINDOWS_KEPT })
  /** Counts the calls that forget: the result of a look-up that began before one is not remembered. */
  #forgotten = 0
  readonly #segments = new LRUCache<string, Segment>({ max: SEGMENTS_KEPT })
  readonly #readAhead = new ReadAhead()
  /** The lengths of objects, for a check. */
  readonly #present = new LRUCache<string, Promise<number | undefined>>({ max: SEGMENTS_KEPT })

  constructor(parts: S3ReaderParts) {
    this.#parts = parts
  }

  async read(reads: readonly BulkRead[]): Promise<void> {
    const sorted = reads.filter(({ into }) => into.length > 0).toSorted((a, b) => a.pos - b.pos)
    await this.#read(sorted)
    for (const range of rangesOf(sorted)) this.#advance(range)
  }

  async segments(): Promise<readonly BulkRange[]> {
    const inRows = await this.#parts.rows.segments()
    const numbers = await this.#parts.map.windows(SCAN_BYTES)
    const all = new Set([...numbers, ...inRows.map(([lo]) => Math.floor(lo / SCAN_BYTES))])
    return [...all]
      .toSorted((a, b) => a - b)
      .map((number): BulkRange => [number * SCAN_BYTES, (number + 1) * SCAN_BYTES])
  }

  async isAllocated(range: BulkRange): Promise<boolean> {
    const extents = await this.#parts.map.find([range])
    return extents.length > 0 || (await this.#parts.rows.isAllocated(range))
  }

  async bytes(): Promise<number> {
    return (await this.#parts.map.bytes()) + (await this.#parts.rows.bytes())
  }

  async verify(range: BulkRange, everyByte: boolean): Promise<readonly BulkGap[]> {
    const [lo, hi] = range
    const { pieces, inRows, unmapped } = await this.#plan(
      [{ pos: lo, into: Buffer.allocUnsafeSlow(hi - lo) }],
      true,
    )
    const gaps: BulkGap[] = [...unmapped]
    const inSegments = pieces.map(
      async piece => await (everyByte ? this.#damageIn(piece) : this.#absenceOf(piece)),
    )
    for (const found of await Promise.all(inSegments)) gaps.push(...found)
    for (const { pos, into } of inRows)
      gaps.push(...(await this.#parts.rows.verify([pos, pos + into.length], everyByte)))
    return gaps.toSorted((a, b) => a.lo - b.lo)
  }

  /** Drops what is remembered of positions from `pos` on: the writer discards them, and will use them again. */
  forgetFrom(pos: number): void {
    this.#forgotten++
    for (const number of new Set(this.#windows.keys()))
      if ((number + 1) * WINDOW_BYTES > pos) this.#windows.delete(number)
  }

  /** Starts to fetch what is likely to be read next. */
  #advance(range: BulkRange): void {
    const ahead = this.#readAhead.advance(range)
    if (ahead === undefined) return
    const prefetch = async (): Promise<void> => {
      const extents = await this.#find([ahead])
      const wanted: WantedFrame[] = []
      for (const { pos, len, segment: id } of extents) {
        const segment = this.#segments.get(segmentKey(id))
        if (segment === undefined) continue
        const [lo, hi] = [Math.max(pos, ahead[0]), Math.min(pos + len, ahead[1])]
        for (const index of framesIn(segment, lo, hi)) wanted.push({ segment, index })
      }
      this.#parts.fetcher.prefetch(wanted)
    }
    // The read that needs the bytes reports the error.
    prefetch().catch(() => undefined)
  }

  /** @param reads ascend, and are not empty. */
  async #read(reads: readonly BulkRead[]): Promise<void> {
    for (let isRetry = false; ; isRetry = true) {
      try {
        const { pieces, inRows } = await this.#plan(reads)
        const reading = inRows.length > 0 ? this.#parts.rows.read(inRows) : undefined
        await Promise.all([this.#fill(pieces), reading])
        return
      } catch (error) {
        const isGone = error instanceof ObjectMissingError || error instanceof BulkDamageError
        if (!isGone || isRetry)
          throw error instanceof ObjectMissingError ? new BulkDamageError(error.message) : error
        for (const { pos, into } of reads) this.#forget([pos, pos + into.length])
      }
    }
  }

  async #fill(pieces: readonly Piece[]): Promise<void> {
    if (pieces.length === 0) return
    const wanted: WantedFrame[] = []
    const order = pieces.map(({ frame }) => {
      const last = wanted.at(-1)
      if (last?.segment !== frame.segment || last.index !== frame.index) wanted.push(frame)
      return wanted.length - 1
    })
    const frames = await this.#parts.fetcher.fetch(wanted)
    for (const [index, { lo, hi, read }] of pieces.entries()) {
      const frame = frames[order[index] ?? 0]
      if (frame === undefined) throw new BulkDamageError(MISSING)
      if (!frame.isIntactIn(lo, hi)) throw new BulkDamageError(DIFFERS)
      read.into.set(frame.units.subarray(lo - frame.pos, hi - frame.pos), lo - read.pos)
    }
  }

  /** @param isCheck reports damaged extents instead of failing. @throws BulkDamageError */
  async #plan(reads: readonly BulkRead[], isCheck = false): Promise<Plan> {
    const extents = await this.#find(reads.map(({ pos, into }): BulkRange => [pos, pos + into.length]))
    const pieces: Piece[] = []
    const inRows: BulkRead[] = []
    const unmapped: BulkGap[] = []
    let first = 0
    for (const read of reads) {
      const end = read.pos + read.into.length
      while (first < extents.length && endOf(extents[first]) <= read.pos) first++
      let at = read.pos
      for (let number = first; at < end; number++) {
        const extent = extents[number]
        const lo = Math.min(end, extent?.pos ?? end)
        if (at < lo) inRows.push({ pos: at, into: read.into.subarray(at - read.pos, lo - read.pos) })
        at = Math.max(at, lo)
        if (extent === undefined || at >= end) break
        const hi = Math.min(end, endOf(extent))
        try {
          pieces.push(...this.#piecesOf(extent, at, hi, read))
        } catch (error) {
          if (!isCheck || !(error instanceof BulkDamageError)) throw error
          unmapped.push({ lo: at, hi, reason: error.message })
        }
        at = hi
      }
    }
    return { pieces, inRows, unmapped }
  }

  #piecesOf(extent: Extent, lo: number, hi: number, read: BulkRead): readonly Piece[] {
    const segment = this.#segments.get(segmentKey(extent.segment))
    if (segment === undefined) throw new BulkDamageError('the entry of its segment is missing')
    const pieces: Piece[] = []
    let at = lo
    for (const index of framesIn(segment, lo, hi)) {
      const { pos, len } = segment.frames.at(index)
      const end = Math.min(hi, pos + len)
      if (pos > at) break
      pieces.push({ frame: { segment, index }, lo: at, hi: end, read })
      at = end
    }
    if (at < hi) throw new BulkDamageError('its segment does not have it')
    return pieces
  }

  /** The extents that overlap ranges, which ascend; those of whole windows are remembered. Their segments are in memory then. */
  async #find(ranges: readonly BulkRange[]): Promise<readonly Extent[]> {
    const numbers = new Set<number>()
    for (const [lo, hi] of ranges)
      for (let number = Math.floor(lo / WINDOW_BYTES); number * WINDOW_BYTES < hi; number++)
        numbers.add(number)
    const wanted = [...numbers].toSorted((a, b) => a - b)
    const known = new Map(wanted.map(number => [number, this.#windows.get(number)] as const))
    const missing = wanted.filter(number => !covers(known.get(number), number, ranges))
    if (missing.length > 0) {
      const forgotten = this.#forgotten
      const found = await this.#parts.map.find(missing.map(windowOf))
      for (const number of missing) {
        const [lo, hi] = windowOf(number)
        const extents = found.filter(({ pos, len }) => pos < hi && pos + len > lo)
        known.set(number, extents)
        if (forgotten === this.#forgotten) this.#windows.set(number, extents)
      }
    }
    const extents: Extent[] = []
    for (const number of wanted)
      for (const extent of known.get(number) ?? [])
        if ((extents.at(-1)?.pos ?? -1) < extent.pos) extents.push(extent)
    await this.#loadSegments(extents)
    return extents
  }

  async #loadSegments(extents: readonly Extent[]): Promise<void> {
    const missing = new Map<string, SegmentId>()
    for (const { segment } of extents) {
      const key = segmentKey(segment)
      if (!this.#segments.has(key)) missing.set(key, segment)
    }
    if (missing.size === 0) return
    for (const segment of await this.#parts.map.segments([...missing.values()]))
      this.#segments.set(segmentKey(segment), segment)
  }

  #forget([lo, hi]: BulkRange): void {
    this.#forgotten++
    for (let number = Math.floor(lo / WINDOW_BYTES); number * WINDOW_BYTES < hi; number++)
      this.#windows.delete(number)
  }

  /** The damaged units of a piece, which is read from the server. */
  async #damageIn({ frame, lo, hi }: Piece): Promise<readonly BulkGap[]> {
    try {
      const [found] = await this.#parts.fetcher.fetchUncached([frame])
      const gaps: BulkGap[] = []
      for (let at = lo; at < hi; at += UNIT_BYTES)
        if (found?.isIntactIn(at, at + UNIT_BYTES) !== true)
          gaps.push({ lo: at, hi: at + UNIT_BYTES, reason: DIFFERS })
      return gaps
    } catch (error) {
      if (error instanceof ObjectMissingError) return [{ lo, hi, reason: error.message }]
      throw error
    }
  }

  /** The piece, if its object does not exist or has another length. */
  async #absenceOf({ frame, lo, hi }: Piece): Promise<readonly BulkGap[]> {
    if (await this.#isPresent(frame.segment)) return []
    return [{ lo, hi, reason: 'its object does not exist, or has another length' }]
  }

  async #isPresent(segment: Segment): Promise<boolean> {
    const key = segmentKey(segment)
    const asking = this.#present.get(key) ?? this.#parts.sizeOf(segment)
    this.#present.set(key, asking)
    return (await asking) === segment.bytes
  }
}

const endOf = (extent: Extent | undefined): number =>
  extent === undefined ? Number.MAX_SAFE_INTEGER : extent.pos + extent.len

const windowOf = (number: number): BulkRange => [number * WINDOW_BYTES, (number + 1) * WINDOW_BYTES]

/** Whether extents, ascending, contain every byte of the ranges within a window: later ones may be added. */
function covers(
  extents: readonly Extent[] | undefined,
  number: number,
  ranges: readonly BulkRange[],
): boolean {
  if (extents === undefined) return false
  const [start, end] = windowOf(number)
  return ranges.every(([lo, hi]) => {
    let at = Math.max(lo, start)
    const till = Math.min(hi, end)
    for (const { pos, len } of extents) if (pos <= at) at = Math.max(at, pos + len)
    return at >= till
  })
}

/** The indexes of the frames of a segment that overlap `[lo, hi)`. */
function* framesIn({ frames }: Segment, lo: number, hi: number): Generator<number> {
  for (let index = frames.find(lo); index < frames.length && frames.at(index).pos < hi; index++) yield index
}

/** The ranges of whole units that reads need; adjacent ones as one. @param reads ascend. */
function rangesOf(reads: readonly BulkRead[]): readonly BulkRange[] {
  const ranges: [lo: number, hi: number][] = []
  for (const { pos, into } of reads) {
    const hi = unitDown(pos + into.length + UNIT_BYTES - 1)
    const last = ranges.at(-1)
    if (last !== undefined && unitDown(pos) <= last[1]) last[1] = Math.max(last[1], hi)
    else ranges.push([unitDown(pos), hi])
  }
  return ranges
}
