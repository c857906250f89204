/**
 * The written bytes of a block that are not serialised yet: runs of whole chunks, in order, disjoint. A run is bytes,
 * shared (a slice of a stored record, then zeros), or zeros. Gaps between runs keep their stored content.
 *
 * Runs of bytes are in memory of {@link slabs}. They are changed in place until they become part of a record; then the
 * overlay is dropped. A run that is appended to gets spare capacity, up to its own length.
 */
import { CHUNK_BYTES, chunkDown, chunkUp } from './chunks.ts'
import type { RecordSlice } from '../../store/changes.ts'
import { slabs } from '../../store/slabs.ts'

const MAX_ROOM_BYTES = 1 << 20

/** Approximate memory of a shared run, and later of its record. */
const SHARED_RUN_BYTES = 500

/** Bytes `[lo, hi)` of a block, in whole chunks (except at the end of a block of odd size). Zeros if it has neither `bytes` nor `slice`. */
export interface Run {
  readonly lo: number
  readonly hi: number
  readonly bytes: Uint8Array | undefined
  /** Shared stored bytes; zeros follow if the run is longer. */
  readonly slice: RecordSlice | undefined
}

/** A part of a block, for reading. */
export type Segment =
  | { readonly kind: 'bytes'; readonly lo: number; readonly hi: number; readonly bytes: Uint8Array }
  | { readonly kind: 'shared'; readonly lo: number; readonly hi: number; readonly slice: RecordSlice }
  | { readonly kind: 'zeros' | 'stored'; readonly lo: number; readonly hi: number }

/** A run with a buffer that may be longer. */
interface GrowingRun {
  lo: number
  hi: number
  readonly buffer: Uint8Array | undefined
  readonly slice?: RecordSlice | undefined
}

export class Overlay {
  readonly #blksize: number
  readonly #runs: GrowingRun[] = []
  #sizeBytes = 0

  constructor(blksize: number) {
    this.#blksize = blksize
  }

  /** The bytes of memory in use. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** The runs, in order. */
  get runs(): readonly Run[] {
    return this.#runs.map(({ lo, hi, buffer, slice }) => ({
      lo,
      hi,
      bytes: buffer?.subarray(0, hi - lo),
      slice,
    }))
  }

  get isEmpty(): boolean {
    return this.#runs.length === 0
  }

  /** Whether a run is shared. */
  get isShared(): boolean {
    return this.#runs.some(({ slice }) => slice !== undefined)
  }

  /** Whether runs of bytes or zeros cover all of `[lo, hi)`. */
  covers(lo: number, hi: number): boolean {
    let at = lo
    for (let i = this.#firstAfter(lo); at < hi; i++) {
      const run = this.#runs[i]
      if (run === undefined || run.lo > at || run.slice !== undefined) return false
      at = run.hi
    }
    return true
  }

  /** `[lo, hi)` in segments, in order; bytes are views, valid until the next change. */
  segments(lo: number, hi: number): Segment[] {
    const segments: Segment[] = []
    let at = lo
    for (let i = this.#firstAfter(lo); at < hi; i++) {
      const run = this.#runs[i]
      const start = Math.min(run?.lo ?? hi, hi)
      if (start > at) segments.push({ kind: 'stored', lo: at, hi: start })
      if (run === undefined || start >= hi) break
      const from = Math.max(at, start)
      const to = Math.min(run.hi, hi)
      const slice = run.slice && cutSlice(run.slice, from - run.lo, to - run.lo)
      if (slice !== undefined) segments.push({ kind: 'shared', lo: from, hi: to, slice })
      else if (run.buffer === undefined) segments.push({ kind: 'zeros', lo: from, hi: to })
      else
        segments.push({
          kind: 'bytes',
          lo: from,
          hi: to,
          bytes: run.buffer.subarray(from - run.lo, to - run.lo),
        })
      at = to
    }
    return segments
  }

  /**
   * Writes `data` at `off`. A chunk that is written in part must be covered already, or `base` must have its stored or
   * shared bytes, by the offset of the chunk.
   */
  write(off: number, data: Uint8Array, base: ReadonlyMap<number, Uint8Array>): void {
    const end = off + data.length
    for (let at = off; at < end;) {
      const i = this.#firstAfter(at)
      const run = this.#runs[i]
      if (run !== undefined && run.lo <= at) {
        const to = Math.min(end, run.hi)
        if (run.slice !== undefined) this.#cut(chunkDown(at), this.#ceil(to))
        else if (run.buffer === undefined) this.#replace(chunkDown(at), this.#ceil(to))
        else {
          run.buffer.set(data.subarray(at - off, to - off), at - run.lo)
          at = to
        }
      } else {
        const to = Math.min(this.#ceil(end), run?.lo ?? this.#blksize)
        this.#add(i, chunkDown(at), to, base, { lo: at, hi: end })
      }
    }
  }

  /** Sets `[lo, hi)`, whole chunks, to zeros. */
  zero(lo: number, hi: number): void {
    const i = this.#cut(lo, hi)
    const before = this.#runs[i - 1]
    if (before?.hi === lo && before.buffer === undefined && before.slice === undefined) before.hi = hi
    else this.#splice(i, 0, { lo, hi, buffer: undefined })
  }

  /** Uncovers `[lo, hi)`, whole chunks, which keeps its stored content. */
  drop(lo: number, hi: number): void {
    this.#cut(lo, hi)
  }

  /** Sets `[lo, hi)`, whole chunks, to the bytes of `slice`, which is not longer, followed by zeros. */
  share(lo: number, hi: number, slice: RecordSlice): void {
    this.#splice(this.#cut(lo, hi), 0, { lo, hi, buffer: undefined, slice })
  }

  /** Replaces runs of zeros in `[lo, hi)`, whole chunks, by runs of bytes. */
  #replace(lo: number, hi: number): void {
    const i = this.#cut(lo, hi)
    this.#splice(i, 0, { lo, hi, buffer: slabs.take(hi - lo).fill(0) })
  }

  /** Covers the gap `[lo, hi)` before run `i`: chunks that `written` covers in part start with their stored bytes. */
  #add(
    i: number,
    lo: number,
    hi: number,
    base: ReadonlyMap<number, Uint8Array>,
    written: { readonly lo: number; readonly hi: number },
  ): void {
    let run = this.#runs[i - 1]
    const isAppended = run?.buffer !== undefined && run.hi === lo
    if (isAppended && run?.buffer !== undefined && run.buffer.length >= hi - run.lo) {
      this.#sizeBytes += hi - run.hi
      run.hi = hi
    } else {
      const room = isAppended && run !== undefined ? Math.min(MAX_ROOM_BYTES, 2 * (run.hi - run.lo)) : 0
      const limit = (this.#runs[i]?.lo ?? this.#blksize) - lo
      run = { lo, hi, buffer: slabs.take(Math.max(hi - lo, Math.min(room, limit))) }
      this.#splice(i, 0, run)
    }
    const last = chunkDown(hi - 1)
    if (written.lo > lo || written.hi < Math.min(lo + CHUNK_BYTES, hi)) this.#fill(run, lo, base)
    if (last !== lo && written.hi < hi) this.#fill(run, last, base)
  }

  /** Fills a chunk of a run with its stored bytes, or zeros. */
  #fill({ lo, hi, buffer }: GrowingRun, chunk: number, base: ReadonlyMap<number, Uint8Array>): void {
    buffer?.fill(0, chunk - lo, Math.min(chunk + CHUNK_BYTES, hi) - lo)
    const bytes = base.get(chunk)
    if (bytes !== undefined) buffer?.set(bytes, chunk - lo)
  }

  /** Releases its memory. It must not be used afterwards. */
  release(): void {
    for (const { buffer } of this.#splice(0, this.#runs.length))
      if (buffer !== undefined) slabs.release(buffer)
  }

  /** Uncovers `[lo, hi)`. Returns the index for a run that covers it. */
  #cut(lo: number, hi: number): number {
    const i = this.#firstAfter(lo)
    let end = i
    const kept: GrowingRun[] = []
    for (let run = this.#runs[end]; run !== undefined && run.lo < hi; run = this.#runs[++end]) {
      if (run.lo < lo) kept.push(partOf(run, run.lo, lo))
      if (run.hi > hi) kept.push(partOf(run, hi, run.hi))
    }
    for (const { buffer } of kept) if (buffer !== undefined) slabs.hold(buffer)
    for (const { buffer } of this.#splice(i, end - i, ...kept))
      if (buffer !== undefined) slabs.release(buffer)
    return i + (kept[0] !== undefined && kept[0].lo < lo ? 1 : 0)
  }

  /** Replaces `count` runs by others; returns the removed ones. */
  #splice(i: number, count: number, ...runs: readonly GrowingRun[]): GrowingRun[] {
    const removed = this.#runs.splice(i, count, ...runs)
    for (const run of removed) this.#sizeBytes -= memoryOf(run)
    for (const run of runs) this.#sizeBytes += memoryOf(run)
    return removed
  }

  /** The first run that ends after `off`. */
  #firstAfter(off: number): number {
    let lo = 0
    let hi = this.#runs.length
    while (lo < hi) {
      const middle = (lo + hi) >>> 1
      if ((this.#runs[middle]?.hi ?? 0) <= off) lo = middle + 1
      else hi = middle
    }
    return lo
  }

  #ceil(off: number): number {
    return Math.min(this.#blksize, chunkUp(off))
  }
}

const memoryOf = ({ lo, hi, buffer, slice }: GrowingRun): number =>
  buffer !== undefined ? hi - lo : slice !== undefined ? SHARED_RUN_BYTES : 0

const partOf = ({ lo: start, buffer, slice }: GrowingRun, lo: number, hi: number): GrowingRun => ({
  lo,
  hi,
  buffer: buffer?.subarray(lo - start, hi - start),
  slice: slice && cutSlice(slice, lo - start, hi - start),
})

/** Bytes `[lo, hi)` of a slice as a slice; undefined if the slice ends earlier. */
function cutSlice({ oid, tid, off, len }: RecordSlice, lo: number, hi: number): RecordSlice | undefined {
  return lo < len ? { oid, tid, off: off + lo, len: Math.min(hi, len) - lo } : undefined
}
