/** Releases the frames of a log that no row refers to, after rows were dropped from a copy. */
import type { Database } from 'better-sqlite3'
import { FRAME_BYTES } from '../../indexed/frame-codec.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { SEGMENT_BYTES } from '../../segment-files/log-layout.ts'
import { releaseRanges } from '../../segment-files/release.ts'

const BATCH_ROWS = 10_000

/** @param end of the log. @returns the number of bytes released. */
export function releaseUnused(db: Database, files: LogFiles, end: number): number {
  const used = usedFrames(db)
  let bytes = 0
  for (const index of files.indexes()) {
    const base = index * SEGMENT_BYTES
    for (let lo = base, hi = base; lo < Math.min(end, base + SEGMENT_BYTES); lo = hi) {
      while (hi < base + SEGMENT_BYTES && !used.has(hi / FRAME_BYTES)) hi += FRAME_BYTES
      if (hi > lo) bytes += releaseRanges(files, [[lo, hi]], end)
      while (hi < base + SEGMENT_BYTES && used.has(hi / FRAME_BYTES)) hi += FRAME_BYTES
    }
  }
  return bytes
}

/** The numbers of the frames that rows refer to. */
function usedFrames(db: Database): PagedBitmap {
  const select = db
    .prepare<[bigint, number], [id: bigint, pos: bigint, len: bigint]>(
      'SELECT id, pos, len FROM revision WHERE id > ? AND len > 0 ORDER BY id LIMIT ?',
    )
    .safeIntegers()
    .raw()
  const used = new PagedBitmap()
  for (let after = 0n; ;) {
    const rows = select.all(after, BATCH_ROWS)
    for (const [id, pos, len] of rows) {
      after = id
      const [first, last] = [Number(pos), Number(pos + len - 1n)].map(at => Math.floor(at / FRAME_BYTES))
      used.addRange(first ?? 0, (last ?? 0) + 1)
    }
    if (rows.length < BATCH_ROWS) return used
  }
}
