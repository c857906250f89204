/**
 * Where the bytes of the log lie: in a directory of segments of {@link SEGMENT_BYTES} positions, each a file named by
 * its index.
 *
 * | in a segment | is                                                                  |
 * |--------------|---------------------------------------------------------------------|
 * | 4096 bytes   | the header: the database's id and the segment's index (segment-header.ts) |
 * | the rest     | frames (frame.ts), the last one of them perhaps not whole           |
 *
 * A position is never used again, so units are written once. A transaction's bytes begin at a unit and fill the last one,
 * so a unit belongs to one transaction. A page of checksums may be shared: the later transaction writes its own entries
 * behind the earlier one's, and a disk that writes the whole page for that writes the other entries again as they are.
 * That a power failure leaves these intact is what SQLite assumes of a disk as well ("powersafe overwrite").
 *
 * Bytes behind the end that the last transaction names are left over from a transaction that failed, or from a process that
 * died; they are cut off or overwritten. Ranges that no revision points to are holes in the files; a segment that has
 * nothing else is removed.
 */
import { join } from 'node:path'
import { FRAME_BYTES, GROUP_BYTES, sumAt, UNIT_BYTES, unitDown } from '../indexed/frame.ts'

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

/** Where the byte at a position lies in its segment. */
export function offsetOf(pos: number): number {
  const within = pos % SEGMENT_BYTES
  return UNIT_BYTES + Math.floor(within / GROUP_BYTES) * FRAME_BYTES + UNIT_BYTES + (within % GROUP_BYTES)
}

/** Where the checksum of the unit at a position lies in its segment. */
export function sumOffsetOf(pos: number): number {
  const within = pos % SEGMENT_BYTES
  return UNIT_BYTES + Math.floor(within / GROUP_BYTES) * FRAME_BYTES + sumAt(unitDown(pos))
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
 * The ranges of a segment's file that are no longer needed when no revision points to its whole units `[lo, hi)`: these
 * units, and the checksums of groups that are released as a whole.
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
