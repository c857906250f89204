/**
 * ZODB's FileStorage format (`Data.fs`), read and written. Integers are big-endian.
 *
 * | at          | bytes                                                                                            |
 * |-------------|--------------------------------------------------------------------------------------------------|
 * | file        | magic:4 (`FS30` from Python 3, `FS21` from Python 2), then transactions                          |
 * | transaction | tid:8 tlen:8 status:1 ulen:2 dlen:2 elen:2, user, description, extension, records, tlen:8        |
 * | record      | oid:8 tid:8 prev:8 tpos:8 vlen:2 plen:8, then plen bytes, or a back pointer:8 where plen is 0    |
 *
 * - `tlen` is the transaction's length without the second `tlen`. `tpos` is the transaction's position.
 * - `prev` is the position of the object's previous record, 0 if there is none or a pack has dropped it.
 * - A back pointer is the position of the earlier record whose data this one shares (an undo); 0 means that
 *   the object does not exist (the undo of its creation).
 * - Status: ' ' committed, 'p' committed and packed, 'u' undone (as if absent), 'c' not finished (the end of
 *   what can be read).
 *
 * Source: the head of ZODB's `FileStorage/format.py`.
 */
import { CannotOpenError } from '../errors.ts'

export const MAGIC = 'FS30'
export const MAGIC_PYTHON_2 = 'FS21'
export const MAGIC_LENGTH = 4
export const TRANSACTION_HEADER_LENGTH = 23
export const RECORD_HEADER_LENGTH = 42
/** The length of the second `tlen`, and of a back pointer. */
export const POINTER_LENGTH = 8

export interface TransactionHeader {
  /** Its position in the file. */
  readonly pos: number
  readonly tid: bigint
  /** `tlen`: the position of the second `tlen`, counted from `pos`. */
  readonly length: number
  readonly status: string
  readonly userLength: number
  readonly descriptionLength: number
  readonly extensionLength: number
}

export interface RecordHeader {
  /** Its position in the file. */
  readonly pos: number
  /** A double: inexact from 2^53 on, but then still beyond the largest safe integer. */
  readonly oid: number
  readonly tid: bigint
  /** `prev`. */
  readonly previous: number
  /** `tpos`: the position of the record's transaction. */
  readonly transaction: number
  readonly versionLength: number
  /** The data's length; 0 if a back pointer follows instead. */
  readonly length: number
}

/** A 64-bit position or length as a double; beyond 2^53 it is inexact, and larger than any file. */
export function readPosition(bytes: Buffer, off: number): number {
  return bytes.readUInt32BE(off) * 2 ** 32 + bytes.readUInt32BE(off + 4)
}

/** Decodes a transaction's header (23 bytes at `off`) whose position in the file is `pos`. */
export function decodeTransactionHeader(bytes: Buffer, off: number, pos: number): TransactionHeader {
  return {
    pos,
    tid: bytes.readBigUInt64BE(off),
    length: readPosition(bytes, off + 8),
    status: String.fromCharCode(bytes.readUInt8(off + 16)),
    userLength: bytes.readUInt16BE(off + 17),
    descriptionLength: bytes.readUInt16BE(off + 19),
    extensionLength: bytes.readUInt16BE(off + 21),
  }
}

/** The inverse of {@link decodeTransactionHeader}: 23 bytes. */
export function encodeTransactionHeader(header: TransactionHeader): Buffer {
  const bytes = Buffer.alloc(TRANSACTION_HEADER_LENGTH)
  bytes.writeBigUInt64BE(header.tid, 0)
  bytes.writeBigUInt64BE(BigInt(header.length), 8)
  bytes.write(header.status, 16, 'latin1')
  bytes.writeUInt16BE(header.userLength, 17)
  bytes.writeUInt16BE(header.descriptionLength, 19)
  bytes.writeUInt16BE(header.extensionLength, 21)
  return bytes
}

/** The length of a transaction's header and of the texts after it. */
export function preambleLength(header: TransactionHeader): number {
  return TRANSACTION_HEADER_LENGTH + header.userLength + header.descriptionLength + header.extensionLength
}

/** Decodes a record's header (42 bytes at `off`) whose position in the file is `pos`. */
export function decodeRecordHeader(bytes: Buffer, off: number, pos: number): RecordHeader {
  return {
    pos,
    oid: readPosition(bytes, off),
    tid: bytes.readBigUInt64BE(off + 8),
    previous: readPosition(bytes, off + 16),
    transaction: readPosition(bytes, off + 24),
    versionLength: bytes.readUInt16BE(off + 32),
    length: readPosition(bytes, off + 34),
  }
}

/** The inverse of {@link decodeRecordHeader}: 42 bytes. */
export function encodeRecordHeader(header: RecordHeader): Buffer {
  const bytes = Buffer.alloc(RECORD_HEADER_LENGTH)
  bytes.writeBigUInt64BE(BigInt(header.oid), 0)
  bytes.writeBigUInt64BE(header.tid, 8)
  bytes.writeBigUInt64BE(BigInt(header.previous), 16)
  bytes.writeBigUInt64BE(BigInt(header.transaction), 24)
  bytes.writeUInt16BE(header.versionLength, 32)
  bytes.writeBigUInt64BE(BigInt(header.length), 34)
  return bytes
}

/** The error for a damaged file. */
export function damaged(path: string, pos: number, reason: string): CannotOpenError {
  return new CannotOpenError(
    `${path} is damaged at byte ${pos}: ${reason}. Restore it from a backup, or salvage it with ZODB's fsrecover`,
  )
}
