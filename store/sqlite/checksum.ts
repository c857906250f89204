/**
 * The checksums of the format: CRC-32 (zlib's), over the bytes of the log unit by unit, and over a revision's row.
 * A row's sum covers its key too, so that a row which turns up under another oid or tid is found out.
 */
import { crc32 } from 'node:zlib'
import { INLINE_BYTES, UNIT_BYTES } from './schema.ts'

/** Four bytes, little-endian, for each unit of an extent. */
export function extentSums(bytes: Uint8Array): Uint8Array {
  const units = Math.ceil(bytes.length / UNIT_BYTES)
  const sums = Buffer.allocUnsafe(units * 4)
  for (let unit = 0; unit < units; unit++) {
    sums.writeUInt32LE(crc32(bytes.subarray(unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES)), unit * 4)
  }
  return sums
}

/** Whether `bytes`, which begin with unit `firstUnit` of an extent, are what `sums` say. */
export function unitsAreIntact(bytes: Uint8Array, sums: Buffer, firstUnit: number): boolean {
  let at = firstUnit * 4
  for (let off = 0; off < bytes.length; off += UNIT_BYTES, at += 4) {
    if (at + 4 > sums.length) return false
    const unit = off === 0 && bytes.length <= UNIT_BYTES ? bytes : bytes.subarray(off, off + UNIT_BYTES)
    if (sums.readUInt32LE(at) !== crc32(unit)) return false
  }
  return true
}

/** One call over gathered bytes costs less than one for each part. */
const KEY_BYTES = 32
const scratch = new Uint8Array(KEY_BYTES + 4 * INLINE_BYTES)
const key = new DataView(scratch.buffer)

/** The sum of a `revision` row. */
export function rowSum(
  oid: number,
  tid: bigint,
  head: Uint8Array | null,
  pos: number | null,
  len: number,
  tail: Uint8Array | null,
): number {
  key.setFloat64(0, oid)
  key.setBigInt64(8, tid)
  key.setFloat64(16, pos ?? -1)
  key.setUint32(24, len)
  key.setInt32(28, head === null ? -1 : head.length)
  const headEnd = KEY_BYTES + (head?.length ?? 0)
  const end = headEnd + (tail?.length ?? 0)
  // A row that was damaged may be longer than any that was written.
  if (end > scratch.length) return -1
  if (head !== null) scratch.set(head, KEY_BYTES)
  if (tail !== null) scratch.set(tail, headEnd)
  return crc32(scratch.subarray(0, end))
}
