/**
 * The checksums of the format: XXH64, over the bytes of the log unit by unit, over a revision's row, and over a
 * transaction's. Each covers where it belongs, so that what turns up elsewhere is found out: a row's its key, a
 * unit's its position in the log, which is the seed.
 */
import xxhash from 'xxhash-wasm'
import { INLINE_BYTES, UNIT_BYTES } from './schema.ts'

const SUM_BYTES = 8

const hash = await xxhash()

/** Eight bytes, little-endian, for each unit of an extent that begins at `pos`. */
export function extentSums(bytes: Uint8Array, pos: number): Uint8Array {
  const units = Math.ceil(bytes.length / UNIT_BYTES)
  const sums = Buffer.allocUnsafe(units * SUM_BYTES)
  for (let unit = 0; unit < units; unit++) {
    sums.writeBigUInt64LE(
      hash.h64Raw(
        bytes.subarray(unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES),
        BigInt(pos + unit * UNIT_BYTES),
      ),
      unit * SUM_BYTES,
    )
  }
  return sums
}

/** Whether `bytes`, which begin with unit `firstUnit` of the extent at `pos`, are what `sums` say. */
export function unitsAreIntact(bytes: Uint8Array, sums: Buffer, firstUnit: number, pos: number): boolean {
  const start = pos + firstUnit * UNIT_BYTES
  let at = firstUnit * SUM_BYTES
  for (let off = 0; off < bytes.length; off += UNIT_BYTES, at += SUM_BYTES) {
    if (at + SUM_BYTES > sums.length) return false
    const unit = off === 0 && bytes.length <= UNIT_BYTES ? bytes : bytes.subarray(off, off + UNIT_BYTES)
    if (sums.readBigUInt64LE(at) !== hash.h64Raw(unit, BigInt(start + off))) return false
  }
  return true
}

/** One call over gathered bytes costs less than one for each part. */
const KEY_BYTES = 32
const scratch = new Uint8Array(KEY_BYTES + 4 * INLINE_BYTES)
const key = new DataView(scratch.buffer)

/** What the sum of a `txn` row covers: all that a pack leaves as it is. */
export interface SummedTransaction {
  readonly tid: bigint
  readonly user: string
  readonly description: string
  readonly extension: Uint8Array
  readonly nextOid: number
}

/** The sum of a `txn` row: the low 32 bits of the hash. */
export function transactionSum(row: SummedTransaction): number {
  // A damaged row may hold values of any type.
  if (typeof row.user !== 'string' || !(row.extension instanceof Uint8Array)) return -1
  const fields = [row.tid, row.nextOid, row.user.length, row.user, row.description].join('\0')
  const bytes = Buffer.concat([Buffer.from(fields), row.extension])
  return Number(BigInt.asUintN(32, hash.h64Raw(bytes)))
}

const isBlob = (value: unknown): boolean => value === null || value instanceof Uint8Array

/** The sum of a `revision` row: the low 32 bits of the hash. */
export function rowSum(
  oid: number,
  tid: bigint,
  head: Uint8Array | null,
  pos: number | null,
  len: number,
  tail: Uint8Array | null,
): number {
  // A damaged row may hold values of any type.
  if (!isBlob(head) || !isBlob(tail)) return -1
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
  return Number(BigInt.asUintN(32, hash.h64Raw(scratch.subarray(0, end))))
}
