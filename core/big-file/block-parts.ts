import type { Extent } from './blocks.ts'

/** A part of the block at index `blk`. */
export interface BlockPart extends Extent {
  readonly blk: number
}

/** The block that has the byte at `off`, and the byte's position in it. */
export function positionOf(off: bigint, blksize: number): [blk: number, from: number] {
  // Divisions of big integers allocate.
  if (off <= Number.MAX_SAFE_INTEGER) {
    const at = Number(off)
    return [Math.floor(at / blksize), at % blksize]
  }
  const size = BigInt(blksize)
  return [Number(off / size), Number(off % size)]
}

/** The parts of blocks that have the bytes `[off, off + len)`. */
export function blockParts(off: bigint, len: number, blksize: number): BlockPart[] {
  const parts: BlockPart[] = []
  let [blk, lo] = positionOf(off, blksize)
  for (let left = len; left > 0; blk++, lo = 0) {
    const hi = Math.min(blksize, lo + left)
    parts.push({ blk, lo, hi })
    left -= hi - lo
  }
  return parts
}
