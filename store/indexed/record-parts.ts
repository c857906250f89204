/** The parts of a record: which bytes are in its row, and which in the bulk. */
import { NO_BYTES } from '../bytes.ts'
import { CorruptRecordError } from '../errors.ts'
import { recordShortLived } from '../gc-pacing.ts'
import type { BulkRead } from './bulk.ts'
import type { RevisionRow } from './record-index.ts'

/** The length of an allocation shared by short records, and so the memory that one retained record can retain. */
const SLAB_BYTES = 32_768

/** A bulk read for a record. */
export interface RecordRead extends BulkRead {
  readonly row: RevisionRow
}

/** Reads a row; returns the error of a damaged one. */
export function rowOrDamage(read: () => RevisionRow): RevisionRow | CorruptRecordError {
  try {
    return read()
  } catch (error) {
    if (error instanceof CorruptRecordError) return error
    throw error
  }
}

/** A record's total length in bytes. */
export const recordSize = ({ head, len, tail }: RevisionRow): number =>
  (head?.length ?? 0) + len + (tail?.length ?? 0)

/**
 * Copies the part of the record's bytes `[off, off + into.length)` that is in its row to `into`, and adds the read of
 * the rest to `reads`. The range must lie within the record.
 */
export function planRead(row: RevisionRow, off: number, into: Uint8Array, reads: RecordRead[]): void {
  const head = row.head ?? NO_BYTES
  const end = off + into.length
  if (off < head.length) into.set(head.subarray(off, end))
  const tailStart = head.length + row.len
  const lo = Math.max(off, head.length)
  const hi = Math.min(end, tailStart)
  if (row.pos !== null && lo < hi)
    reads.push({ row, pos: row.pos + lo - head.length, into: into.subarray(lo - off, hi - off) })
  if (row.tail !== null && end > tailStart) {
    const from = Math.max(off, tailStart)
    into.set(row.tail.subarray(from - tailStart, end - tailStart), from - off)
  }
}

/** The length of the bytes `[off, off + len)` of a record, cut at its end. */
export const partLength = (row: RevisionRow, off: number, len: number): number =>
  Math.max(0, Math.min(off + len, recordSize(row)) - off)

/** Uninitialised memory for a part of a record. */
export function newBytes(length: number): Buffer<ArrayBuffer> {
  recordShortLived(length)
  return Buffer.allocUnsafeSlow(length)
}

/**
 * Memory for the records of one call. Short ones share an allocation: a block has many chunks, which are dropped
 * together.
 */
export class RecordMemory {
  #left: number
  #slab: Uint8Array = NO_BYTES

  constructor(rows: readonly (RevisionRow | undefined)[]) {
    this.#left = 0
    for (const row of rows) if (row !== undefined) this.#left += recordSize(row)
  }

  /** A whole record whose bulk bytes are still to be read; undefined if the object does not exist. */
  plan(row: RevisionRow | undefined, reads: RecordRead[]): Uint8Array | undefined {
    if (row === undefined || row.head === null) return undefined
    if (row.pos === null && row.tail === null) return row.head
    const bytes = this.#take(recordSize(row))
    planRead(row, 0, bytes, reads)
    return bytes
  }

  #take(length: number): Uint8Array {
    if (length > this.#slab.length) this.#slab = newBytes(Math.max(length, Math.min(SLAB_BYTES, this.#left)))
    const bytes = this.#slab.subarray(0, length)
    this.#slab = this.#slab.subarray(length)
    this.#left -= length
    return bytes
  }
}
