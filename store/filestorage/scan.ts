/**
 * Scans a FileStorage from front to back: its transactions and their records' headers, without the data.
 *
 * Each transaction is verified: its length is the same at both ends, its id is later than the previous one, and its
 * records fill it exactly and carry its id. Anything else is damage, and an error. A transaction that is unfinished, or
 * cut off by the end of the file, is the **tail**: a crash left it, or another process is still writing it. The tail
 * and everything after it is skipped.
 */
import { CannotOpenError } from '../errors.ts'
import { TID_MAX } from '../ids.ts'
import {
  damaged,
  decodeRecordHeader,
  decodeTransactionHeader,
  MAGIC,
  MAGIC_LENGTH,
  MAGIC_PYTHON_2,
  POINTER_LENGTH,
  preambleLength,
  readPosition,
  RECORD_HEADER_LENGTH,
  TRANSACTION_HEADER_LENGTH,
  type RecordHeader,
  type TransactionHeader,
} from './format.ts'
import type { Window } from './window.ts'

/** A file being scanned. */
export interface ScannedFile {
  readonly path: string
  readonly fd: number
  readonly window: Window
  /** The end of the scan. */
  readonly size: number
}

/** Bytes `[pos, size)` that are not a whole transaction. */
export interface Tail {
  readonly pos: number
  readonly bytes: number
  readonly reason: string
}

/** @throws CannotOpenError if the file does not begin as a FileStorage does. */
export function checkMagic(file: ScannedFile): void {
  const magic = file.window.read(0, MAGIC_LENGTH)?.toString('latin1')
  if (magic !== MAGIC && magic !== MAGIC_PYTHON_2)
    throw new CannotOpenError(
      `${file.path} is not a FileStorage: it does not begin with ${MAGIC} or ${MAGIC_PYTHON_2}`,
    )
}

/**
 * The transaction at `pos`, the tail, or undefined at the file's end. `lastTid` is the previous transaction's.
 * @throws CannotOpenError if the file is damaged.
 */
export function readTransaction(
  { path, window, size }: ScannedFile,
  pos: number,
  lastTid: bigint,
): { readonly header: TransactionHeader } | { readonly tail: Tail } | undefined {
  if (pos >= size) return undefined
  const tail = (reason: string) => ({ tail: { pos, bytes: size - pos, reason } })
  const bytes = window.read(pos, TRANSACTION_HEADER_LENGTH)
  if (bytes === undefined || pos + TRANSACTION_HEADER_LENGTH > size)
    return tail("a transaction's header is cut off")
  if (bytes.every(byte => byte === 0)) return tail('there are zeros in place of a transaction')
  const header = decodeTransactionHeader(bytes, 0, pos)
  if (header.status === 'c') return tail('a transaction is unfinished')
  if (![' ', 'p', 'u'].includes(header.status))
    throw damaged(path, pos, `a transaction's status is ${JSON.stringify(header.status)}`)
  if (header.length < preambleLength(header))
    throw damaged(path, pos, 'a transaction is shorter than its head')
  if (pos + header.length + POINTER_LENGTH > size) return tail('a transaction is cut off')
  if (header.tid <= lastTid || header.tid > TID_MAX)
    throw damaged(path, pos, 'a transaction id is not later than the one before')
  const second = window.peek(pos + header.length, POINTER_LENGTH)
  if (second === undefined) return tail('a transaction is cut off')
  if (readPosition(second, 0) !== header.length)
    throw damaged(path, pos, "a transaction's lengths at its two ends differ")
  return { header }
}

/**
 * The headers of a transaction's records, in the file's order.
 * @throws CannotOpenError if the file is damaged or has ids or records that zblkfs does not support.
 */
export function* readRecords(
  { path, window }: ScannedFile,
  transaction: TransactionHeader,
): Generator<RecordHeader, void, undefined> {
  const end = transaction.pos + transaction.length
  let pos = transaction.pos + preambleLength(transaction)
  while (pos < end) {
    const bytes = pos + RECORD_HEADER_LENGTH <= end ? window.read(pos, RECORD_HEADER_LENGTH) : undefined
    if (bytes === undefined) throw damaged(path, pos, "a record's header does not fit its transaction")
    const record = decodeRecordHeader(bytes, 0, pos)
    checkRecord(path, transaction, record)
    yield record
    pos += RECORD_HEADER_LENGTH + (record.length || POINTER_LENGTH)
  }
}

function checkRecord(path: string, transaction: TransactionHeader, record: RecordHeader): void {
  const { pos, oid, length } = record
  if (record.transaction !== transaction.pos || record.tid !== transaction.tid)
    throw damaged(path, pos, 'a record carries the id of another transaction')
  if (record.versionLength !== 0)
    throw new CannotOpenError(
      `${path} holds a record of a ZODB "version" at byte ${pos}, which ZODB itself gave up with 3.9: ` +
        'pack the versions away with an older ZODB first',
    )
  if (pos + RECORD_HEADER_LENGTH + (length || POINTER_LENGTH) > transaction.pos + transaction.length)
    throw damaged(path, pos, 'a record does not fit its transaction')
  if (!Number.isSafeInteger(oid))
    throw new CannotOpenError(
      `${path} holds an object whose id is beyond 2^53 (about ${oid.toExponential(3)}, at byte ${pos}): zblkfs cannot name it`,
    )
}
