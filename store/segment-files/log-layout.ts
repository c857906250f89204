/**
 * Where the bytes of the log lie: in `DATABASE-log/`, a directory beside the database, in segments of
 * {@link SEGMENT_BYTES} of its positions, each a file named by its index.
 *
 * | in a segment              | is                                                                                  |
 * |---------------------------|-------------------------------------------------------------------------------------|
 * | 4096 bytes                | the header: whose segment it is, and which (segment-header.ts)                      |
 * | then, again and again:    |                                                                                     |
 * | 4096 bytes                | the checksums of the 512 units that follow, 8 bytes little-endian each: XXH64,      |
 * |                           | seeded by the unit's position (checksum.ts)                                         |
 * | 512 * 4096 bytes          | the units: a group. A position is never used again, so they are written once        |
 *
 * A transaction's bytes begin at a unit and fill the last one, so a unit belongs to one transaction. A page of
 * checksums may be shared: the later transaction writes its own entries behind the earlier one's, and where a disk
 * writes the whole page for that, it writes the same bytes again for the rest. That a power failure then leaves
 * these as they were is what SQLite assumes of a disk as well ("powersafe overwrite").
 *
 * Bytes behind the end that the last transaction names are left over from one that failed or died; they are cut off
 * or overwritten. Ranges that nothing points to are holes in the files; a segment without any other is removed.
 */
import { join } from 'node:path'
import { UNIT_BYTES } from '../sqlite/schema.ts'

/** The length of a checksum. */
export const SUM_BYTES = 8

/** The units whose checksums fill a page. */
export const GROUP_BYTES = (UNIT_BYTES / SUM_BYTES) * UNIT_BYTES

/** So many positions of the log, a multiple of {@link GROUP_BYTES}, are a segment. */
export const SEGMENT_BYTES = 2 ** 30

const STRIDE_BYTES = UNIT_BYTES + GROUP_BYTES
const NAME_DIGITS = 8

export const logDirectory = (database: string): string => `${database}-log`

export const segmentPath = (database: string, index: number): string =>
  join(logDirectory(database), String(index).padStart(NAME_DIGITS, '0'))

/** Where the intent log is (intent-log.ts). */
export const intentsPath = (database: string): string => join(logDirectory(database), 'intents')

/** The index that a file's name is; undefined where it is none. */
export const segmentIndex = (name: string): number | undefined =>
  /^\d{8,}$/.test(name) ? Number(name) : undefined

export const segmentOf = (pos: number): number => Math.floor(pos / SEGMENT_BYTES)

/** Where the byte at a position lies in its segment. */
export function offsetOf(pos: number): number {
  const within = pos % SEGMENT_BYTES
  return UNIT_BYTES + Math.floor(within / GROUP_BYTES) * STRIDE_BYTES + UNIT_BYTES + (within % GROUP_BYTES)
}

/** Where the checksum of the unit at a position lies in its segment. */
export function sumOffsetOf(pos: number): number {
  const within = pos % SEGMENT_BYTES
  return (
    UNIT_BYTES +
    Math.floor(within / GROUP_BYTES) * STRIDE_BYTES +
    Math.floor((within % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES
  )
}

/** The segment that has the last byte before `end`, and how long it is when it ends there. */
export const tailOf = (end: number): { readonly index: number; readonly length: number } => ({
  index: segmentOf(end - 1),
  length: offsetOf(end - 1) + 1,
})

/** The end of the last whole unit before `pos`. */
export const unitDown = (pos: number): number => pos - (pos % UNIT_BYTES)

/** A range of a segment's file. */
export interface FileRange {
  readonly offset: number
  readonly end: number
}

/**
 * What of a segment's file is of no use any more when nothing points to the whole units `[lo, hi)` of it: these, and
 * the checksums of groups that are gone as a whole.
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
