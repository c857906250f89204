/** Reads the tables of a SQLite database in pages (index-scan.ts). Each call is one statement or few. */
import type { Database, Statement } from 'better-sqlite3'
import type { Added, Sums } from '../capabilities.ts'
import type { RowSeal } from '../encryption/row-seal.ts'
import { CorruptRecordError, StoreError } from '../errors.ts'
import type { StoredRevision } from '../stored-revisions.ts'
import { legibleIds, TID_MAX, type Tid } from '../ids.ts'
import type { BulkRange } from '../indexed/bulk.ts'
import { unitsOf } from '../indexed/frame.ts'
import type {
  EntryKey,
  IndexEnd,
  IndexScan,
  IndexSpace,
  PackedTransaction,
  ScannedRow,
} from '../indexed/index-scan.ts'
import { keptOf, minus, NO_SUMS, NO_TOTALS, type Totals } from './totals.ts'
import { FINISHED } from './parts.ts'
import {
  asReals,
  revisionRow,
  selectRevisions,
  selectTotals,
  totalsOf,
  type DroppedCells,
  type RevisionCells,
  type TotalsCells,
} from './rows.ts'

type EntryRow = [
  oid: number,
  tid: bigint,
  isTombstone: number,
  inline: number,
  pos: number | null,
  len: number,
]
const ENTRY = `CAST(oid AS REAL), tid, CAST(head IS NULL AS REAL),
  CAST(ifnull(length(head), 0) + ifnull(length(tail), 0) AS REAL), CAST(pos AS REAL), CAST(len AS REAL)`
const BY_OID = 'FROM revision INDEXED BY revision_by_oid'

export class SqliteIndexScan implements IndexScan {
  readonly #db: Database
  readonly #seal: RowSeal | undefined
  readonly #end: Statement<[], [bigint, bigint, bigint]>
  readonly #note: Statement<[string], string>
  readonly #rest: Statement<[number, bigint, number], EntryRow>
  readonly #upTo: Statement<[number, bigint, number], EntryRow>
  readonly #following: Statement<[number, number], EntryRow>
  readonly #oids: Statement<[number, number], number>
  readonly #restRows: Statement<[number, bigint, bigint, number], RevisionCells>
  readonly #rows: Statement<[number, number, bigint, number], RevisionCells>
  readonly #exists: Statement<[number, bigint], number>
  readonly #used: Statement<[bigint], BulkRange>
  readonly #transactions: Statement<[bigint, bigint, number], [tid: bigint, objects: bigint]>
  readonly #totals: Statement<[bigint], TotalsCells>
  readonly #bulkEnd: Statement<[bigint], number>
  readonly #dropped: Statement<[], DroppedCells>

  /** @param seal undefined for a database that is not encrypted, and where no row is read. */
  constructor(db: Database, seal?: RowSeal) {
    this.#db = db
    this.#seal = seal
    this.#end = db
      .prepare<[], [bigint, bigint, bigint]>(
        `SELECT max(ifnull((SELECT max(tid) FROM txn), 0),
           ifnull((SELECT max(tid) FROM revision INDEXED BY revision_by_tid
             WHERE ${FINISHED}), 0)),
           ifnull((SELECT next_oid FROM txn ORDER BY tid DESC LIMIT 1), 0),
           ifnull((SELECT log_end FROM txn ORDER BY tid DESC LIMIT 1), 0)`,
      )
      .safeIntegers()
      .raw(true)
    this.#note = db.prepare<[string], string>('SELECT value FROM meta WHERE name = ?').pluck()
    const entries = <P extends unknown[]>(where: string): Statement<P, EntryRow> =>
      db.prepare<P, EntryRow>(`SELECT ${ENTRY} ${BY_OID} WHERE ${where}`).safeIntegers().raw(true)
    this.#rest = entries('oid = ? AND tid < ? ORDER BY oid, tid DESC LIMIT ?')
    this.#upTo = entries('oid = ? AND tid <= ? ORDER BY oid, tid DESC LIMIT ?')
    this.#following = entries('oid > ? ORDER BY oid, tid DESC LIMIT ?')
    this.#restRows = selectRevisions(
      db,
      'INDEXED BY revision_by_oid WHERE oid = ? AND tid < ? AND tid <= ? ORDER BY oid, tid DESC LIMIT ?',
    )
    this.#rows = selectRevisions(
      db,
      'INDEXED BY revision_by_oid WHERE oid > ? AND oid < ? AND tid <= ? ORDER BY oid, tid DESC LIMIT ?',
    )
    this.#oids = db
      .prepare<[number, number], number>(`SELECT DISTINCT oid ${BY_OID} WHERE oid > ? ORDER BY oid LIMIT ?`)
      .pluck()
    this.#exists = db
      .prepare<[number, bigint], number>(
        `SELECT head IS NOT NULL ${BY_OID} WHERE oid = ? AND tid <= ? LIMIT 1`,
      )
      .pluck()
    this.#used = selectUsedSince(db)
    this.#transactions = db
      .prepare<[bigint, bigint, number], [bigint, bigint]>(
        'SELECT tid, objects FROM txn WHERE tid > ? AND tid < ? ORDER BY tid LIMIT ?',
      )
      .safeIntegers()
      .raw(true)
    this.#totals = selectTotals(db)
    this.#bulkEnd = db
      .prepare<[bigint], number>(
        'SELECT CAST(log_end AS REAL) FROM txn WHERE tid <= ? ORDER BY tid DESC LIMIT 1',
      )
      .pluck()
    this.#dropped = selectDropped(db)
  }

  end(): IndexEnd {
    const [lastTid, nextOid, bulkEnd] = this.#end.get() ?? [0n, 0n, 0n]
    return { lastTid, nextOid: Number(nextOid), bulkEnd: Number(bulkEnd) }
  }

  note(name: string): string | undefined {
    return this.#note.get(name)
  }

  oids(after: number, limit: number): readonly number[] {
    return this.#oids.all(after, limit)
  }

  revisionsOf(oids: readonly number[], upTo: bigint, limit: number): readonly StoredRevision[] {
    const found: StoredRevision[] = []
    for (const oid of oids) {
      for (const row of this.#upTo.all(oid, upTo, limit - found.length)) found.push(revisionOf(row))
      if (found.length >= limit) break
    }
    return found
  }

  entries(after: EntryKey | undefined, limit: number): readonly StoredRevision[] {
    const rest = after === undefined ? [] : this.#rest.all(after.oid, after.tid, limit)
    const left = limit - rest.length
    const rows = left === 0 ? rest : [...rest, ...this.#following.all(after?.oid ?? -1, left)]
    return rows.map(revisionOf)
  }

  rows(after: EntryKey, end: number, upTo: bigint, limit: number): readonly ScannedRow[] {
    const rest = this.#restRows.all(after.oid, after.tid, upTo, limit)
    const left = limit - rest.length
    const rows = left === 0 ? rest : [...rest, ...this.#rows.all(after.oid, end, upTo, left)]
    return rows.map(row => scannedRow(row, this.#seal))
  }

  exist(oids: readonly number[], at: Tid): readonly boolean[] {
    return oids.map(oid => this.#exists.get(oid, at) === 1)
  }

  usedSince(tid: bigint): readonly BulkRange[] {
    return this.#used.all(tid)
  }

  packedTransactions(after: bigint, before: bigint, limit: number): readonly PackedTransaction[] {
    return this.#transactions
      .all(after, before, limit)
      .map(([tid, objects]) => ({ tid, isUsed: objects > 0n }))
  }

  added(after: Tid, upTo: Tid): Added {
    return this.#db.transaction(() => {
      const [before, until] = [this.totals(after), this.totals(upTo)]
      const { rowBytes, bulkBytes } = minus(until.past, before.past)
      return {
        storedBytes: until.storedBytes - before.storedBytes,
        revisions: until.all.revisions - before.all.revisions,
        replacedBytes: rowBytes + bulkBytes,
      }
    })()
  }

  bulkEndAt(upTo: Tid): number {
    return this.#bulkEnd.get(upTo) ?? 0
  }

  /** The totals of the newest transaction up to `upTo`; zeros if there is none. */
  totals(upTo: Tid): Totals {
    const cells = this.#totals.get(upTo)
    return cells === undefined ? NO_TOTALS : totalsOf(cells)
  }

  sums(): Sums {
    return this.#db.transaction(() => {
      const dropped = this.#dropped.get()
      return keptOf(this.totals(TID_MAX), dropped === undefined ? NO_SUMS : droppedSums(dropped))
    })()
  }

  space(): IndexSpace {
    const pragma = (name: string): number => Number(this.#db.pragma(name, { simple: true }))
    const pageBytes = pragma('page_size')
    return { totalBytes: pragma('page_count') * pageBytes, freeBytes: pragma('freelist_count') * pageBytes }
  }
}

function scannedRow(cells: RevisionCells, seal: RowSeal | undefined): ScannedRow {
  try {
    return revisionRow(cells, seal)
  } catch (error) {
    if (error instanceof CorruptRecordError) return error
    if (!(error instanceof StoreError) || error.code === 'key-needed') throw error
    const { oid, tid } = legibleIds(cells[0], cells[1])
    return new CorruptRecordError(oid, tid, error.message, { cause: error })
  }
}

export const selectDropped = (db: Database): Statement<[], DroppedCells> =>
  db
    .prepare<[], DroppedCells>(
      `SELECT ${asReals(['objects', 'revisions', 'row_bytes', 'bulk_bytes', 'past_revisions', 'past_row_bytes', 'past_bulk_bytes'])}
       FROM dropped`,
    )
    .raw(true)

function droppedSums(cells: DroppedCells): Sums {
  const [objects, revisions, rowBytes, bulkBytes, pastRevisions, pastRowBytes, pastBulkBytes] = cells
  return {
    objects,
    all: { revisions, rowBytes, bulkBytes },
    past: { revisions: pastRevisions, rowBytes: pastRowBytes, bulkBytes: pastBulkBytes },
  }
}

/** Prepares the query for the bulk ranges that revisions after a transaction point to. */
export const selectUsedSince = (db: Database): Statement<[bigint], BulkRange> =>
  db
    .prepare<[bigint], BulkRange>(
      'SELECT pos, pos + len FROM revision INDEXED BY revision_by_tid WHERE tid > ? AND pos IS NOT NULL',
    )
    .raw(true)

function revisionOf([oid, tid, isTombstone, ownBytes, pos, len]: EntryRow): StoredRevision {
  const { unitLo, unitHi } = unitsOf(pos, len)
  return { oid, tid, isTombstone: isTombstone !== 0, ownBytes, unitLo, unitHi }
}
