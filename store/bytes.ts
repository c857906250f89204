/** An empty array. Sharing it is safe: nothing can be written to it. */
export const NO_BYTES = new Uint8Array(0)
