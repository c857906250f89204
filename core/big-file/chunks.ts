/** Chunks: the unit into which blocks are divided. */

/** Length of a chunk in bytes; chunks begin at multiples of it. */
export const CHUNK_BYTES = 4096

/** The start of the chunk that contains an offset. */
export const chunkDown = (off: number): number => off - (off % CHUNK_BYTES)

/** An offset, or a length, rounded up to whole chunks. */
export const chunkUp = (off: number): number => Math.ceil(off / CHUNK_BYTES) * CHUNK_BYTES
