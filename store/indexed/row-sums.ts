/**
 * The checksums of an index's rows: of a revision's row and of a transaction's. SQLite's pages have none. Each covers the row's
 * key, so that a row stored under another key is detected.
 */
import { shortSum } from '../checksum.ts'
import { bytesOf } from '../os-text.ts'
import { StoreError } from '../errors.ts'
import { formatTid, type Tid } from '../ids.ts'
import type { TransactionRow } from './record-index.ts'
import { ROW_BYTES_MAX } from './placement.ts'

/** One hash over the gathered bytes is cheaper than one per part. */
const KEY_BYTES = 32
const scratch = new Uint8Array(KEY_BYTES + ROW_BYTES_MAX)
const key = new DataView(scratch.buffer)

/** The columns that the sum of a `txn` row covers: all but the counts, which a pack changes. */
export type SummedTransaction = Omit<TransactionRow, 'tid' | 'objects' | 'bytes'> & { readonly tid: bigint }

/** The sum of a `txn` row: the low 32 bits of the hash. @param others further fields of an index. */
export function transactionSum(row: SummedTransaction, others: readonly number[] = []): number {
  // A damaged row may hold values of any type.
  if (typeof row.user !== 'string' || !(row.extension instanceof Uint8Array)) return -1
  const { tid, nextOid, bulkEnd, stored, user, description } = row
  const fields = [tid, nextOid, bulkEnd, stored, ...others, user.length, user, description].join('\0')
  const bytes = Buffer.concat([bytesOf(fields), row.extension])
  return shortSum(bytes)
}

/** The reason that a revision whose row does not match its sum is reported with. */
export const ROW_DIFFERS = 'the checksum of its index entry differs'

export const damagedTransaction = (tid: Tid): StoreError =>
  new StoreError(`the entry of transaction ${formatTid(tid)} is damaged`, { code: 'damaged' })

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
  // A damaged row may be longer than any valid one.
  if (end > scratch.length) return -1
  if (head !== null) scratch.set(head, KEY_BYTES)
  if (tail !== null) scratch.set(tail, headEnd)
  return shortSum(scratch.subarray(0, end))
}
