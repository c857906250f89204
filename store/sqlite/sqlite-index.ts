/**
 * The read side of the index (record-index.ts) in the tables of a SQLite database, over one connection. Calls are
 * synchronous: reading what SQLite or the kernel has in memory takes microseconds, less than switching threads.
 *
 * Neighbouring oids are looked up with one query. SQLite's pages have no checksums, so each row is verified, and the
 * newest revision is compared with the last transaction wherever the loss of a `txn` row could go undetected.
 */
import type { Database, Statement } from 'better-sqlite3'
import {
  oid as toOid,
  tid as toTid,
  TID_MAX,
  TID_NONE,
  type Oid,
  type Tid,
  knownOid,
  knownTid,
} from '../ids.ts'
import type { RowSeal } from '../encryption/row-seal.ts'
import type { Index, RevisionKey, RevisionRow } from '../indexed/record-index.ts'
import { damagedTransaction } from '../indexed/row-sums.ts'
import type { TransactionInfo } from '../store.ts'
import { UNFINISHED } from './parts.ts'
import {
  intactTransaction,
  revisionRow,
  selectRevisions,
  selectTransactions,
  transactionInfo,
  type RevisionCells,
  type TransactionCells,
} from './rows.ts'

/** Minimum number of neighbours for a range query. */
const RANGE_OIDS = 4

/** Maximum number of rows of other moments that a range query may read. */
const OTHER_ROWS = 64

export class SqliteIndex implements Index {
  readonly #db: Database
  readonly #seal: RowSeal | undefined
  readonly #point: Statement<[number, bigint], RevisionCells>
  readonly #range: Statement<[number, number, number], RevisionCells>
  readonly #revisions: Statement<[number, bigint, bigint], Tid>
  readonly #last: Statement<[], Tid>
  readonly #newest: Statement<[bigint], Tid>
  readonly #changes: Statement<[bigint, number, bigint, number], [tid: bigint, oid: number]>
  readonly #oldestTransactions: Statement<[bigint, bigint, number], TransactionCells>
  readonly #newestTransactions: Statement<[bigint, bigint, number], TransactionCells>
  readonly #unfinished: Statement<[], bigint | null>
  readonly #begin: Statement
  readonly #end: Statement

  /** @param seal undefined for a database that is not encrypted. */
  constructor(db: Database, seal?: RowSeal) {
    this.#db = db
    this.#seal = seal
    // The index is ordered newest first: an explicit ORDER BY would double the time of a look-up.
    this.#point = selectRevisions(db, 'INDEXED BY revision_by_oid WHERE oid = ? AND tid <= ? LIMIT 1')
    this.#range = selectRevisions(
      db,
      'INDEXED BY revision_by_oid WHERE oid >= ? AND oid <= ? ORDER BY oid, tid DESC LIMIT ?',
    )
    this.#revisions = db
      .prepare<[number, bigint, bigint], Tid>(
        `SELECT tid FROM revision INDEXED BY revision_by_oid
         WHERE oid = ? AND tid > ? AND tid <= ? AND tid IS NOT ${UNFINISHED} ORDER BY tid DESC`,
      )
      .safeIntegers()
      .pluck()
    this.#last = db.prepare<[], Tid>('SELECT max(tid) FROM txn').safeIntegers().pluck()
    this.#newest = db
      .prepare<[bigint], Tid>('SELECT max(tid) FROM revision INDEXED BY revision_by_tid WHERE tid <= ?')
      .safeIntegers()
      .pluck()
    this.#changes = db
      .prepare<[bigint, number, bigint, number], [bigint, number]>(
        `SELECT tid, CAST(oid AS REAL) FROM revision INDEXED BY revision_by_tid
         WHERE (tid, oid) > (?, ?) AND tid <= ? AND tid IS NOT ${UNFINISHED} ORDER BY tid, oid LIMIT ?`,
      )
      .safeIntegers()
      .raw(true)
    this.#oldestTransactions = selectTransactions(db, 'WHERE tid > ? AND tid <= ? ORDER BY tid LIMIT ?')
    this.#newestTransactions = selectTransactions(db, 'WHERE tid > ? AND tid <= ? ORDER BY tid DESC LIMIT ?')
    this.#unfinished = db.prepare<[], bigint | null>(`SELECT ${UNFINISHED}`).safeIntegers().pluck()
    this.#begin = db.prepare('BEGIN')
    this.#end = db.prepare('COMMIT')
  }

  newest(oids: readonly Oid[], at: Tid): readonly (RevisionRow | undefined)[] {
    // A single query needs no transaction for a consistent snapshot.
    const [first] = oids
    return oids.length === 1 && first !== undefined
      ? [this.newestOf(first, at)]
      : this.#inOneState(() => this.#newestOfMany(oids, at))
  }

  /** As {@link SqliteIndex.newest}, for one object. */
  newestOf(oid: Oid, at: Tid): RevisionRow | undefined {
    const cells = this.#point.get(oid, at)
    return cells === undefined ? undefined : revisionRow(cells, this.#seal)
  }

  find(keys: readonly RevisionKey[]): readonly (RevisionRow | undefined)[] {
    const find = ({ oid, tid }: RevisionKey): RevisionRow | undefined => {
      const row = this.newestOf(oid, tid)
      return row?.tid === tid ? row : undefined
    }
    return keys.length === 1 ? keys.map(find) : this.#inOneState(() => keys.map(find))
  }

  revisions(oid: Oid, after: Tid, upTo: Tid): readonly Tid[] {
    return this.#revisions.all(oid, after, upTo)
  }

  lastTid(): Tid {
    return this.#inOneState(() => {
      const last = this.#last.get() ?? TID_NONE
      this.#checkNewest(last, TID_MAX)
      return last
    })
  }

  transactions(after: Tid, upTo: Tid, reverse: boolean, limit: number): readonly TransactionInfo[] {
    return this.#inOneState(() => {
      const page = reverse ? this.#newestTransactions : this.#oldestTransactions
      const cells = page.all(after, upTo, limit)
      if (reverse) this.#checkNewest(knownTid(cells[0]?.[0] ?? after), upTo)
      const found: TransactionInfo[] = []
      for (const row of cells) {
        const info = intactTransaction(row, this.#seal)
        // What precedes a damaged row can be read.
        if (info === undefined && found.length > 0) break
        found.push(info ?? transactionInfo(row, this.#seal))
      }
      return found
    })
  }

  changes(after: RevisionKey, upTo: Tid, limit: number): readonly RevisionKey[] {
    return this.#changes
      .all(after.tid, after.oid, upTo, limit)
      .map(([tid, oid]) => ({ tid: knownTid(tid), oid: knownOid(oid) }))
  }

  /** Detects a damaged entry of the last transaction, instead of returning an earlier moment. */
  #checkNewest(found: Tid, upTo: Tid): void {
    const newest = this.#newest.get(upTo) ?? TID_NONE
    if (newest <= found) return
    if (newest !== this.#unfinished.get()) throw damagedTransaction(newest)
    this.#checkNewest(found, toTid(newest - 1n))
  }

  #newestOfMany(oids: readonly Oid[], at: Tid): readonly (RevisionRow | undefined)[] {
    const found: (RevisionRow | undefined)[] = oids.map(() => undefined)
    for (let start = 0, end = 0; start < oids.length; start = end) {
      const first = oids[start] ?? toOid(0)
      end = start + 1
      while (end < oids.length && oids[end] === first + end - start) end++
      if (end - start < RANGE_OIDS)
        for (let index = start; index < end; index++) found[index] = this.newestOf(oids[index] ?? first, at)
      else this.#newestOfRange(first, end - start, at, start, found)
    }
    return found
  }

  /**
   * Looks up `count` neighbouring oids by reading their newest rows. If most of these belong to other moments, as in a
   * long history, the rest is looked up one by one, which costs less.
   */
  #newestOfRange(
    first: Oid,
    count: number,
    at: Tid,
    index: number,
    found: (RevisionRow | undefined)[],
  ): void {
    const limit = count + OTHER_ROWS
    const rows = this.#range.all(first, first + count - 1, limit)
    let next: number = first
    for (const cells of rows) {
      const [oid, tid] = cells
      if (oid < next || tid > at) continue
      found[index + oid - first] = revisionRow(cells, this.#seal)
      next = oid + 1
    }
    if (rows.length < limit) return
    for (; next < first + count; next++) found[index + next - first] = this.newestOf(toOid(next), at)
  }

  #inOneState<T>(read: () => T): T {
    this.#begin.run()
    try {
      return read()
    } finally {
      // Some errors end the transaction; ending it again would hide them.
      if (this.#db.inTransaction) this.#end.run()
    }
  }
}
