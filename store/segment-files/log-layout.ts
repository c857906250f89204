/**
 * The layout of the log: a directory of segments of {@link SEGMENT_BYTES} positions, each a file named by its index.
 *
 * | in a segment | is                                                                  |
 * |--------------|---------------------------------------------------------------------|
 * | 4096 bytes   | the header: the database's id and the segment's index (segment-header.ts) |
 * | the rest     | frames (frame.ts), the last one may be incomplete                 |
 *
 * Positions are never reused, so each unit is written once. A transaction's bytes are whole units, so a unit belongs to
 * one transaction. A page of checksums may be shared: the later transaction writes its own entries after the earlier
 * one's, and the disk rewrites the whole page with the other entries unchanged. That these survive a power failure is
 * what SQLite assumes of a disk too ("powersafe overwrite").
 *
 * Bytes after the end that the last transaction records are left from a failed transaction or a dead process; they are
 * removed or overwritten. Ranges that no revision points to are holes in the files; a segment that has nothing else is
 * removed.
 */
import { join } from 'node:path'
import { STORED_GROUP_BYTES, GROUP_BYTES, sumAt, UNIT_BYTES, unitDown } from '../indexed/frame.ts'

/** The positions of a segment: a multiple of {@link GROUP_BYTES}. */
export const SEGMENT_BYTES = 2 ** 30

const NAME_DIGITS = 8

/** @param directory the log's. */
export const segmentPath = (directory: string, index: number): string =>
  join(directory, String(index).padStart(NAME_DIGITS, '0'))

/** The index in a segment's file name; undefined for any other name. */
export const segmentIndex = (name: string): number | undefined =>
  /^\d{8,}$/.test(name) ? Number(name) : undefined

export const segmentOf = (pos: number): number => Math.floor(pos / SEGMENT_BYTES)

/** The offset in its segment of the byte at a position. */
export function offsetOf(pos: number): number {
  const within = pos % SEGMENT_BYTES
  return (
    UNIT_BYTES + Math.floor(within / GROUP_BYTES) * STORED_GROUP_BYTES + UNIT_BYTES + (within % GROUP_BYTES)
  )
}

/** The offset in its segment of the checksum of the unit at a position. */
export function sumOffsetOf(pos: number): number {
  const within = pos % SEGMENT_BYTES
  return UNIT_BYTES + Math.floor(within / GROUP_BYTES) * STORED_GROUP_BYTES + sumAt(unitDown(pos))
}

/** The segment of the last byte before `end`, and the length of its file if it ends there. */
export const tailOf = (end: number): { readonly index: number; readonly length: number } => ({
  index: segmentOf(end - 1),
  length: offsetOf(end - 1) + 1,
})

/** A range of a segment's file. */
export interface FileRange {
  readonly offset: number
  readonly end: number
}

/**
 * The ranges of a segment's file that can be freed if no revision points to its whole units `[lo, hi)`: these units, and
 * the checksums of groups that are released whole.
 */
export function fileRangesOf(lo: number, hi: number): readonly FileRange[] {
  const ranges: FileRange[] = []
  for (let at = lo; at < hi;) {
    const groupEnd = at - (at % GROUP_BYTES) + GROUP_BYTES
    const end = Math.min(groupEnd, hi)
    const isWhole = at % GROUP_BYTES === 0 && end === groupEnd
    const offset = offsetOf(at) - (isWhole ? UNIT_BYTES : 0)
    const last = ranges.at(-1)
    const joins = last?.end === offset
    if (joins) ranges.pop()
    ranges.push({ offset: joins ? last.offset : offset, end: offsetOf(end - 1) + 1 })
    at = end
  }
  return ranges
}
