/** Small operations on bytes that the object database shares. */

/** The pieces one after the other; a single piece as it is. */
export function joinBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const filled = pieces.filter(({ length }) => length > 0)
  const [only] = filled
  if (only !== undefined && filled.length === 1) return only
  return Buffer.concat(filled)
}

/** A buffer's length without the zeros that it ends with. */
export function trimmedLength(bytes: Uint8Array): number {
  let end = bytes.length
  if (end > 0 && bytes[end - 1] !== 0) return end
  for (const zeros of [ZEROS, FEW_ZEROS])
    while (end >= zeros.length && zeros.compare(bytes, end - zeros.length, end) === 0) end -= zeros.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return end
}

const ZEROS = Buffer.alloc(1024)
const FEW_ZEROS = ZEROS.subarray(0, 64)
