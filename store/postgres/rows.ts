/** Rows of the tables of schema.ts, verified and turned into those of store/indexed. */
import type { RowSeal } from '../encryption/row-seal.ts'
import { CorruptRecordError } from '../errors.ts'
import { knownOid, knownTid, legibleIds, tid as toTid } from '../ids.ts'
import type { RevisionRow, TransactionRow } from '../indexed/record-index.ts'
import { damagedTransaction, ROW_DIFFERS, rowSum, transactionSum } from '../indexed/row-sums.ts'
import { textOf } from '../os-text.ts'
import type { TransactionInfo } from '../store.ts'
import type { Cells } from './session.ts'
import { bigintOf, bytesOf, numberOf } from './values.ts'

/** The columns of {@link revisionRow}. @param table the name or alias of `revision`. */
export const revisionColumns = (table: string): string =>
  ['oid', 'tid', 'sum', 'head', 'pos', 'len', 'tail'].map(column => `${table}.${column}`).join(', ')

/** The columns of {@link transactionRow}. */
export const TRANSACTION_COLUMNS =
  'tid, author, description, extension, objects, bytes, next_oid, bulk_end, stored, sum'

/** A checksum as an unsigned number. */
export const sumOf = (text: string | null | undefined): number => numberOf(text) >>> 0

/** A row of `revision`, and whether it is intact. */
export interface FoundRevision {
  readonly row: RevisionRow
  readonly isIntact: boolean
}

/** @throws StoreError if a value is of another type. */
export function foundRevision([oid, tid, sum, head, pos, len, tail]: Cells): FoundRevision {
  const row = {
    oid: knownOid(numberOf(oid)),
    tid: knownTid(bigintOf(tid)),
    head: head === null ? null : bytesOf(head),
    pos: pos === null ? null : numberOf(pos),
    len: numberOf(len),
    tail: tail === null ? null : bytesOf(tail),
  }
  return {
    row,
    isIntact: rowSum(row.oid, row.tid, row.head, row.pos, row.len, row.tail) === sumOf(sum),
  }
}

/**
 * @param seal undefined for a database that is not encrypted.
 * @throws CorruptRecordError if the row is damaged; StoreError as {@link foundRevision}.
 */
export function revisionRow(cells: Cells, seal: RowSeal | undefined): RevisionRow {
  const { row, isIntact } = foundRevision(cells)
  if (isIntact) return seal === undefined ? row : seal.open(row)
  const { oid, tid } = legibleIds(row.oid, row.tid)
  throw new CorruptRecordError(oid, tid, ROW_DIFFERS)
}

/** A row of `txn`, and whether it is intact. */
export interface FoundTransaction {
  readonly row: TransactionRow
  readonly isIntact: boolean
}

export function transactionRow(cells: Cells): FoundTransaction {
  const [tid, author, description, extension, objects, bytes, nextOid, bulkEnd, stored, sum] = cells
  const row: TransactionRow = {
    tid: toTid(bigintOf(tid)),
    user: textOf(bytesOf(author)),
    description: textOf(bytesOf(description)),
    extension: bytesOf(extension),
    objects: numberOf(objects),
    bytes: numberOf(bytes),
    nextOid: numberOf(nextOid),
    bulkEnd: numberOf(bulkEnd),
    stored: numberOf(stored),
  }
  return { row, isIntact: transactionSum(row) === sumOf(sum) }
}

/** @param seal as for {@link revisionRow}. @throws StoreError if the row is damaged. */
export function transactionInfo(
  { row, isIntact }: FoundTransaction,
  seal: RowSeal | undefined,
): TransactionInfo {
  if (!isIntact) throw damagedTransaction(row.tid)
  const { tid, user, description, extension, objects, bytes } = seal?.openTexts(row) ?? row
  return { tid, user, description, extension, objects, bytes }
}
