/** Rows of the tables of schema.ts as better-sqlite3 returns them, verified and turned into those of store/indexed. */
import type { Database, Statement } from 'better-sqlite3'
import { CorruptRecordError, StoreError } from '../errors.ts'
import { formatTid, type Tid, knownOid, knownTid } from '../ids.ts'
import type { RevisionRow, TransactionRow } from '../indexed/record-index.ts'
import type { TransactionInfo } from '../store.ts'
import { rowSum, transactionSum } from '../indexed/row-sums.ts'

/** A row of `revision`, numbers as SQLite's REAL so that only the tid becomes a bigint. */
export type RevisionCells = [
  oid: number,
  tid: bigint,
  sum: number,
  head: Buffer | null,
  pos: number | null,
  len: number,
  tail: Buffer | null,
]

/** A row of `txn`, numbers as in {@link RevisionCells}. */
export type TransactionCells = [
  tid: bigint,
  user: string,
  description: string,
  extension: Buffer,
  objects: number,
  bytes: number,
  nextOid: number,
  bulkEnd: number,
  stored: number,
  sum: number,
]

const REVISION = 'CAST(oid AS REAL), tid, CAST(sum AS REAL), head, CAST(pos AS REAL), CAST(len AS REAL), tail'
const TRANSACTION = `tid, user, description, extension, CAST(objects AS REAL), CAST(bytes AS REAL),
  CAST(next_oid AS REAL), CAST(log_end AS REAL), CAST(stored AS REAL), CAST(sum AS REAL)`

/** Prepares a query for rows of `revision`. @param rest what follows `FROM revision`. */
export const selectRevisions = <Parameters extends unknown[]>(
  db: Database,
  rest: string,
): Statement<Parameters, RevisionCells> =>
  db.prepare<Parameters, RevisionCells>(`SELECT ${REVISION} FROM revision ${rest}`).safeIntegers().raw(true)

/** Prepares a query for rows of `txn`. @param rest what follows `FROM txn`. */
export const selectTransactions = <Parameters extends unknown[]>(
  db: Database,
  rest: string,
): Statement<Parameters, TransactionCells> =>
  db.prepare<Parameters, TransactionCells>(`SELECT ${TRANSACTION} FROM txn ${rest}`).safeIntegers().raw(true)

/** @throws CorruptRecordError if the row differs from what was written; StoreError if not even its key is legible. */
export function revisionRow([oid, tid, sum, head, pos, len, tail]: RevisionCells): RevisionRow {
  if (typeof tid !== 'bigint' || typeof oid !== 'number')
    throw new StoreError('an entry of the index has no object and transaction', { code: 'damaged' })
  const [rowOid, rowTid] = [knownOid(oid), knownTid(tid)]
  if (rowSum(oid, tid, head, pos, len, tail) !== sum)
    throw new CorruptRecordError(rowOid, rowTid, 'the checksum of its index entry differs')
  return { oid: rowOid, tid: rowTid, head, pos, len, tail }
}

/** @throws StoreError if the row differs from what was written. */
export function transactionInfo(cells: TransactionCells): TransactionInfo {
  const { tid, user, description, extension, objects, bytes } = unverifiedTransactionRow(cells)
  if (!isIntact(cells)) throw damagedTransaction(tid)
  return { tid, user, description, extension, objects, bytes }
}

export function unverifiedTransactionRow(cells: TransactionCells): TransactionRow {
  const [tid, user, description, extension, objects, bytes, nextOid, bulkEnd, stored] = cells
  return { tid: knownTid(tid), user, description, extension, objects, bytes, nextOid, bulkEnd, stored }
}

export const isIntact = (cells: TransactionCells): boolean =>
  transactionSum(unverifiedTransactionRow(cells)) === cells[9]

export const damagedTransaction = (tid: Tid): StoreError =>
  new StoreError(`the entry of transaction ${formatTid(tid)} is damaged`, { code: 'damaged' })
