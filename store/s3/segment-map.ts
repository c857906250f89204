/**
 * The contract of a segment map: which positions of a Bulk are in which segment (segment.ts). It belongs to the index, whose
 * transactions change it: an upload counts once a commit has named it.
 *
 * An **extent** is a range of positions whose units are in one segment. Extents do not overlap. A pack cuts and moves them;
 * positions stay. A segment without extents is **released**: its object is deleted later.
 */
import type { Awaitable } from '../awaitable.ts'
import type { BulkRange } from '../indexed/bulk.ts'
import type { Segment, SegmentId } from './segment.ts'

export interface Extent {
  readonly pos: number
  readonly len: number
  readonly segment: SegmentId
}

/** Maximum length of an extent. */
export const EXTENT_MAX_BYTES = 16 << 20

export interface SegmentMap {
  /** The extents that overlap ranges, ascending, each once. Ranges ascend and are disjoint. */
  find(ranges: readonly BulkRange[]): Awaitable<readonly Extent[]>

  /** Segments by id, in any order; absent ones are left out. @throws StoreError for a damaged one. */
  segments(ids: readonly SegmentId[]): Awaitable<readonly Segment[]>

  /** The windows of `windowBytes` in which extents begin, by number, ascending. */
  windows(windowBytes: number): Awaitable<readonly number[]>

  /** The sum of the lengths of the segments that are not released. */
  bytes(): Awaitable<number>
}

/** A segment with few live bytes, and its extents. */
export interface SparseSegment {
  readonly segment: SegmentId
  readonly extents: readonly Extent[]
}

/** A segment of the bucket that the map does not name. */
export interface UnnamedSegment {
  readonly segment: SegmentId
  /**
   * Whether its transaction failed: this state of the database knows of a later segment of its epoch, or of the epoch's end. Otherwise
   * the segment may be part of a later state, of which this one is a copy.
   */
  readonly isOrphan: boolean
}

/** The changes of the writer. Each is one durable transaction of the index, unless it says otherwise. */
export interface SegmentMapWriter {
  /** Adds uploaded segments with their extents, as a part of the transaction in progress. */
  add(segments: readonly Segment[], extents: readonly Extent[]): void

  /** Removes ranges from the extents, and releases segments without any; returns the number of bytes removed. */
  release(ranges: readonly BulkRange[]): Awaitable<number>

  /**
   * Replaces extents by the same positions in a new segment, and releases segments without any.
   * @returns false if one of them has changed: then nothing was done.
   */
  move(extents: readonly Extent[], segment: Segment): Awaitable<boolean>

  /**
   * Replaces rows of bulk bytes (store/postgres/postgres-bulk.ts) by the same positions in a new segment.
   * @returns false if one of them has changed: then nothing was done.
   */
  replaceRows(rows: readonly BulkRange[], segment: Segment): Awaitable<boolean>

  /** Rows of bulk bytes of committed transactions, ascending, of at least `maxBytes` together unless there are fewer. */
  rows(maxBytes: number): Awaitable<readonly BulkRange[]>

  /** Segments of which less than `fraction` is live, at most `limit`. */
  sparse(fraction: number, limit: number): Awaitable<readonly SparseSegment[]>

  /** At most `limit` segments that were released more than `ageMs` ago. */
  releasedBefore(ageMs: number, limit: number): Awaitable<readonly SegmentId[]>

  /** Forgets released segments, whose objects were deleted. */
  forget(ids: readonly SegmentId[]): Awaitable<void>

  /** Those of `ids` that the map does not name, not even as released. */
  unnamed(ids: readonly SegmentId[]): Awaitable<readonly UnnamedSegment[]>

  /** Records that the writer has assigned no later id than `last`, and that none of its uploads is in progress. */
  endEpoch(last: SegmentId): Awaitable<void>
}
