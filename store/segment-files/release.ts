/** Gives ranges of a log back to its filesystem. */
import { BulkDamageError, type BulkRange } from '../indexed/bulk.ts'
import type { LogFiles } from './log-files.ts'
import { SEGMENT_BYTES, segmentOf } from './log-layout.ts'

/** As {@link BulkWriter.release}. */
export function releaseRanges(files: LogFiles, ranges: readonly BulkRange[], end: number): number {
  let bytes = 0
  for (const range of ranges) bytes += releaseRange(files, range, end)
  return bytes
}

/** The last segment stays: it is appended to, and shows that the log is there. */
function releaseRange(files: LogFiles, [lo, hi]: BulkRange, end: number): number {
  const index = segmentOf(lo)
  if (hi - lo < SEGMENT_BYTES || index >= segmentOf(end - 1)) return files.punch(lo, hi)
  try {
    return files.remove(index)
  } catch (error) {
    // The segment is gone, or another database's: there is nothing to give back.
    if (error instanceof BulkDamageError) return 0
    throw error
  }
}
