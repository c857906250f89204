/** Rows of the tables of schema.ts as better-sqlite3 returns them, verified and turned into those of store/indexed. */
import { textOf } from '../os-text.ts'
import type { Database, Statement } from 'better-sqlite3'
import type { RowSeal } from '../encryption/row-seal.ts'
import { CorruptRecordError, StoreError } from '../errors.ts'
import { knownOid, knownTid } from '../ids.ts'
import type { RevisionRow, TransactionRow } from '../indexed/record-index.ts'
import type { Totals } from './totals.ts'
import type { TransactionInfo } from '../store.ts'
import { damagedTransaction, ROW_DIFFERS, rowSum, transactionSum } from '../indexed/row-sums.ts'

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
  user: Buffer,
  description: Buffer,
  extension: Buffer,
  objects: number,
  bytes: number,
  nextOid: number,
  bulkEnd: number,
  stored: number,
  ...totals: TotalsCells,
  sum: number,
]

/** The totals in a row of `txn`: the bytes added, the objects, the sums of all revisions and of those that were replaced. */
export type TotalsCells = [
  storedBytes: number,
  objects: number,
  revisions: number,
  rowBytes: number,
  bulkBytes: number,
  pastRevisions: number,
  pastRowBytes: number,
  pastBulkBytes: number,
]

const REVISION = 'CAST(oid AS REAL), tid, CAST(sum AS REAL), head, CAST(pos AS REAL), CAST(len AS REAL), tail'

/** The columns of {@link TotalsCells}. */
export const TOTALS = [
  'all_stored',
  'all_objects',
  'all_revisions',
  'all_row_bytes',
  'all_bulk_bytes',
  'past_revisions',
  'past_row_bytes',
  'past_bulk_bytes',
] as const

/** The totals in a row whose columns are named, as bigints. */
export type TotalsRow = { readonly [Column in (typeof TOTALS)[number]]: bigint }

export const totalsOfRow = (row: TotalsRow): Totals =>
  totalsOf(TOTALS.map(column => Number(row[column])) as TotalsCells)

/** Decodes a text of `txn`. A damaged row may hold values of any type; an empty text then differs from the row's sum. */
const storedText = (cell: unknown): string => (Buffer.isBuffer(cell) ? textOf(cell) : '')

/** A row of `txn`: all its columns, named, as SQLite has them. */
export interface NamedTransactionRow extends TotalsRow {
  readonly tid: bigint
  readonly user: Buffer
  readonly description: Buffer
  readonly extension: Buffer
  readonly objects: bigint
  readonly bytes: bigint
  readonly next_oid: bigint
  readonly log_end: bigint
  readonly stored: bigint
  readonly sum: bigint
}

/** The sum of a row with these totals. */
export function sumOfNamed(row: NamedTransactionRow, totals: TotalsCells): number {
  const [nextOid, bulkEnd, stored] = [Number(row.next_oid), Number(row.log_end), Number(row.stored)]
  const { tid, extension } = row
  const texts = { user: storedText(row.user), description: storedText(row.description) }
  return transactionSum({ tid, ...texts, extension, nextOid, bulkEnd, stored }, totals)
}

/** Prepares the query for the totals of the newest transaction up to one. */
export const selectTotals = (db: Database): Statement<[bigint], TotalsCells> =>
  db
    .prepare<[bigint], TotalsCells>(
      `SELECT ${asReals(TOTALS)} FROM txn WHERE tid <= ? ORDER BY tid DESC LIMIT 1`,
    )
    .raw(true)

/** Columns of integers, as SQLite's REAL. */
export const asReals = (columns: readonly string[]): string =>
  columns.map(column => `CAST(${column} AS REAL)`).join(', ')

/** As bytes: SQLite keeps text of any bytes, but better-sqlite3 decodes what is not UTF-8 to U+FFFD. */
const TEXTS = 'CAST(user AS BLOB) AS user, CAST(description AS BLOB) AS description'

const TRANSACTION = `tid, ${TEXTS}, extension,
  ${asReals(['objects', 'bytes', 'next_oid', 'log_end', 'stored', ...TOTALS, 'sum'])}`

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

/** Prepares a query for whole rows of `txn`. @param rest what follows `FROM txn`. */
export const selectNamedTransactions = <Parameters extends unknown[]>(
  db: Database,
  rest: string,
): Statement<Parameters, NamedTransactionRow> =>
  db
    .prepare<Parameters, NamedTransactionRow>(
      `SELECT tid, ${TEXTS}, extension, objects, bytes, next_oid, log_end, stored, ${TOTALS.join(', ')}, sum
       FROM txn ${rest}`,
    )
    .safeIntegers()

export type SizeCells = [tid: bigint, rowBytes: number, bulkBytes: number]

/** Prepares the query for the size of the newest revision of an object. @param condition for the revision. */
export const selectNewestSize = (db: Database, condition = 'TRUE'): Statement<[number], SizeCells> =>
  db
    .prepare<[number], SizeCells>(
      `SELECT tid, CAST(ifnull(length(head), 0) + ifnull(length(tail), 0) AS REAL), CAST(len AS REAL)
       FROM revision INDEXED BY revision_by_oid WHERE oid = ? AND ${condition} LIMIT 1`,
    )
    .safeIntegers()
    .raw(true)

/** Prepares the removal of a revision, which returns its lengths. */
export const deleteRevision = (
  db: Database,
): Statement<[oid: number, tid: bigint], [rowBytes: number, bulkBytes: number]> =>
  db
    .prepare<[number, bigint], [number, number]>(
      `DELETE FROM revision WHERE oid = ? AND tid = ?
       RETURNING ifnull(length(head), 0) + ifnull(length(tail), 0), len`,
    )
    .raw(true)

/**
 * @param seal undefined for a database that is not encrypted.
 * @throws CorruptRecordError if the row differs from what was written; StoreError if not even its key is legible.
 */
export function revisionRow(
  [oid, tid, sum, head, pos, len, tail]: RevisionCells,
  seal: RowSeal | undefined,
): RevisionRow {
  if (typeof tid !== 'bigint' || typeof oid !== 'number')
    throw new StoreError('an entry of the index has no object and transaction', { code: 'damaged' })
  const [rowOid, rowTid] = [knownOid(oid), knownTid(tid)]
  if (rowSum(oid, tid, head, pos, len, tail) !== sum)
    throw new CorruptRecordError(rowOid, rowTid, ROW_DIFFERS)
  const row = { oid: rowOid, tid: rowTid, head, pos, len, tail }
  return seal === undefined ? row : seal.open(row)
}

/** @param seal as for {@link revisionRow}. @throws StoreError if the row differs from what was written. */
export function transactionInfo(cells: TransactionCells, seal: RowSeal | undefined): TransactionInfo {
  const info = intactTransaction(cells, seal)
  if (info === undefined) throw damagedTransaction(unverifiedTransactionRow(cells).tid)
  return info
}

/** As {@link transactionInfo}; undefined if the row differs from what was written. */
export function intactTransaction(
  cells: TransactionCells,
  seal: RowSeal | undefined,
): TransactionInfo | undefined {
  const row = unverifiedTransactionRow(cells)
  if (transactionSum(row, totalsCells(cells)) !== cells.at(-1)) return undefined
  const { tid, user, description, extension, objects, bytes } = seal?.openTexts(row) ?? row
  return { tid, user, description, extension, objects, bytes }
}

export function unverifiedTransactionRow(cells: TransactionCells): TransactionRow {
  const [tid, user, description, extension, objects, bytes, nextOid, bulkEnd, stored] = cells
  const texts = { user: storedText(user), description: storedText(description) }
  return { tid: knownTid(tid), ...texts, extension, objects, bytes, nextOid, bulkEnd, stored }
}

const totalsCells = (cells: TransactionCells): readonly number[] => cells.slice(9, -1) as number[]

export function totalsOf(cells: readonly [...TotalsCells, ...unknown[]]): Totals {
  const [storedBytes, objects, revisions, rowBytes, bulkBytes, ...past] = cells
  const [pastRevisions, pastRowBytes, pastBulkBytes] = past
  return {
    objects,
    storedBytes,
    all: { revisions, rowBytes, bulkBytes },
    past: { revisions: pastRevisions, rowBytes: pastRowBytes, bulkBytes: pastBulkBytes },
  }
}

/** The inverse of {@link totalsOf}. */
export const cellsOf = (totals: Totals): TotalsCells => [totals.storedBytes, ...droppedCells(totals)]

/** A row of `dropped`: the totals of what packs have dropped, without the bytes added. */
export type DroppedCells = TotalsCells extends [number, ...infer Rest] ? Rest : never

export const droppedCells = ({ objects, all, past }: Omit<Totals, 'storedBytes'>): DroppedCells => [
  objects,
  all.revisions,
  all.rowBytes,
  all.bulkBytes,
  past.revisions,
  past.rowBytes,
  past.bulkBytes,
]

export const isIntact = (cells: TransactionCells): boolean =>
  transactionSum(unverifiedTransactionRow(cells), totalsCells(cells)) === cells.at(-1)
