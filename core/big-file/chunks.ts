/** Chunks: the unit in which blocks are cut. */

/** Writers cut chunks at multiples of this many bytes. */
export const CHUNK_BYTES = 4096

/** The start of the chunk that an offset lies in. */
export const chunkDown = (off: number): number => off - (off % CHUNK_BYTES)

/** An offset, or a length, rounded up to whole chunks. */
export const chunkUp = (off: number): number => Math.ceil(off / CHUNK_BYTES) * CHUNK_BYTES
