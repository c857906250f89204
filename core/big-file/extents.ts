import type { Extent } from './blocks.ts'
import { chunkDown, chunkUp } from './chunks.ts'
import type { Segment } from './overlay.ts'

/** The data of a block in whole chunks: overlaid, or stored where the overlay leaves it. @param stored in bytes, ascending. */
export function dataExtents(
  segments: readonly Segment[],
  stored: readonly Extent[],
  blksize: number,
): Extent[] {
  const extents: { lo: number; hi: number }[] = []
  const add = (lo: number, hi: number): void => {
    const last = extents.at(-1)
    if (last !== undefined && last.hi >= lo) last.hi = Math.max(last.hi, hi)
    else if (lo < hi) extents.push({ lo, hi })
  }
  for (const segment of segments) {
    if (segment.kind === 'bytes' || segment.kind === 'shared') add(segment.lo, segment.hi)
    else if (segment.kind === 'stored')
      for (const { lo, hi } of stored) {
        const start = chunkDown(lo)
        const end = Math.min(blksize, chunkUp(hi))
        if (start < segment.hi && end > segment.lo)
          add(Math.max(start, segment.lo), Math.min(end, segment.hi))
      }
  }
  return extents
}
