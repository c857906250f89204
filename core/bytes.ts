/** Small operations on bytes, shared by the object database. */
import { recordShortLived } from '../store/gc-pacing.ts'

/** Concatenates pieces; returns a single piece itself. */
export function joinBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const filled = pieces.filter(({ length }) => length > 0)
  const [only] = filled
  if (only !== undefined && filled.length === 1) return only
  return Buffer.concat(filled)
}

/** Uninitialised memory for bytes that are used only briefly. */
export function shortLivedBytes(length: number): Uint8Array {
  recordShortLived(length)
  return Buffer.allocUnsafeSlow(length)
}

/** A buffer's length without trailing zeros. */
export function trimmedLength(bytes: Uint8Array): number {
  let end = bytes.length
  if (end > 0 && bytes[end - 1] !== 0) return end
  for (const zeros of [ZEROS, FEW_ZEROS])
    while (end >= zeros.length && zeros.compare(bytes, end - zeros.length, end) === 0) end -= zeros.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return end
}

/** Adds `count` bytes of zeros, which must not be changed. */
export function pushZeros(pieces: Uint8Array[], count: number): void {
  for (let left = count; left > 0; left -= MANY_ZEROS.length)
    pieces.push(left >= MANY_ZEROS.length ? MANY_ZEROS : MANY_ZEROS.subarray(0, left))
}

const MANY_ZEROS = new Uint8Array(64 << 10)
const ZEROS = Buffer.alloc(1024)
const FEW_ZEROS = ZEROS.subarray(0, 64)
