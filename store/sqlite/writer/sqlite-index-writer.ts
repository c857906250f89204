/** The write side of the index (record-index.ts) in the tables of a SQLite database. */
import type { Database, Statement } from 'better-sqlite3'
import { ConflictError, StoreError } from '../../errors.ts'
import { formatTid, knownTid, TID_NONE, type Tid } from '../../ids.ts'
import type {
  IndexTransaction,
  IndexWriter,
  RevisionKey,
  RevisionRow,
  TransactionRow,
} from '../../indexed/record-index.ts'
import { rowSum, transactionSum } from '../../indexed/row-sums.ts'
import { isIntact, selectTransactions, unverifiedTransactionRow, type TransactionCells } from '../rows.ts'
import { isFull } from '../sqlite-errors.ts'
import { SqliteIndex } from '../sqlite-index.ts'
import { SqliteParts } from '../parts.ts'

export class SqliteIndexWriter implements IndexWriter {
  readonly #db: Database
  readonly #index: SqliteIndex
  readonly #newest: Statement<[number], bigint>
  readonly #insertRevision: Statement<
    [number, bigint, number, Uint8Array | null, number | null, number, Uint8Array | null]
  >
  readonly #insertTransaction: Statement<
    [bigint, string, string, Uint8Array, number, number, number, number, number, number]
  >
  readonly #removeRevision: Statement<[number, bigint], number>
  readonly #parts: SqliteParts
  /** Whether rows of parts may be there. */
  #hasParts = true
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #rollback: Statement

  /** @param db a writable connection. */
  constructor(db: Database) {
    this.#db = db
    this.#index = new SqliteIndex(db)
    this.#newest = db
      .prepare<[number], bigint>('SELECT tid FROM revision INDEXED BY revision_by_oid WHERE oid = ? LIMIT 1')
      .safeIntegers()
      .pluck()
    this.#insertRevision = db.prepare(
      'INSERT INTO revision (oid, tid, sum, head, pos, len, tail) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#removeRevision = db
      .prepare<[number, bigint], number>(
        `DELETE FROM revision WHERE oid = ? AND tid = ?
         RETURNING ifnull(length(head), 0) + len + ifnull(length(tail), 0)`,
      )
      .pluck()
    this.#parts = new SqliteParts(db)
    this.#insertTransaction = db.prepare(
      `INSERT INTO txn (tid, user, description, extension, objects, bytes, next_oid, log_end, stored, sum)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#begin = db.prepare('BEGIN IMMEDIATE')
    this.#commit = db.prepare('COMMIT')
    this.#rollback = db.prepare('ROLLBACK')
  }

  last(): TransactionRow | undefined {
    const cells = selectTransactions<[]>(this.#db, 'ORDER BY tid DESC LIMIT 1').get()
    const row = cells === undefined ? undefined : unverifiedTransactionRow(cells)
    this.#checkEnds(cells, row?.tid ?? TID_NONE, row?.nextOid ?? 1)
    return row
  }

  /** Compares the last transaction with the revisions: reusing an oid or a position would destroy data. */
  #checkEnds(cells: TransactionCells | undefined, lastTid: Tid, nextOid: number): void {
    const ends = this.#db
      .prepare<[], { readonly tid: number; readonly oid: number }>(
        `SELECT coalesce((SELECT max(tid) FROM revision), 0) <= ${lastTid} AS tid,
           coalesce((SELECT max(oid) FROM revision), 0) < ${nextOid} AS oid`,
      )
      .get()
    const isSummed = cells === undefined || isIntact(cells)
    const rights = Object.entries({ ...ends, checksum: isSummed ? 1 : 0 })
    const wrong = rights.find(([, isRight]) => isRight !== 1)
    if (wrong !== undefined)
      throw new StoreError(
        `the last transaction, ${formatTid(lastTid)}, is damaged (its ${wrong[0]} is wrong)`,
        { code: 'damaged-index' },
      )
  }

  find(keys: readonly RevisionKey[]): readonly (RevisionRow | undefined)[] {
    return keys.map(({ oid, tid }) => {
      const row = this.#index.newestOf(oid, tid)
      return row?.tid === tid ? row : undefined
    })
  }

  dropParts(): void {
    if (this.#hasParts) this.#parts.drop()
    this.#hasParts = false
  }

  begin(isPart = false): IndexTransaction {
    // Parts are made durable by the commit that completes them.
    if (isPart) this.#db.pragma('synchronous = NORMAL')
    this.#begin.run()
    let isInDoubt = false
    return {
      expect: bases => {
        for (const { oid, base } of bases) {
          const current = knownTid(this.#newest.get(oid) ?? TID_NONE)
          if (current > base) throw new ConflictError(oid, base, current)
        }
      },
      add: ({ oid, tid, head, pos, len, tail }) => {
        this.#insertRevision.run(oid, tid, rowSum(oid, tid, head, pos, len, tail), head, pos, len, tail)
      },
      removeParts: (oids, tid) => oids.map(oid => this.#removeRevision.get(oid, tid)),
      keep: tid => {
        this.#parts.note(tid)
        this.#hasParts = true
        this.#commit.run()
        this.#db.pragma('synchronous = FULL')
      },
      commit: row => {
        this.#insert(row)
        if (this.#hasParts) this.#parts.clear()
        try {
          this.#commit.run()
        } catch (error) {
          // If the disk is full, nothing of the transaction is in the WAL.
          isInDoubt = !isFull(error)
          throw error
        }
        this.#hasParts = false
      },
      get isInDoubt() {
        return isInDoubt
      },
      rollback: () => {
        // After some errors SQLite has already rolled back, and a second ROLLBACK would fail.
        if (this.#db.inTransaction) this.#rollback.run()
        if (isPart) this.#db.pragma('synchronous = FULL')
      },
    }
  }

  #insert(row: TransactionRow): void {
    const { tid, user, description, extension, objects, bytes, nextOid, bulkEnd, stored } = row
    this.#insertTransaction.run(
      tid,
      user,
      description,
      extension,
      objects,
      bytes,
      nextOid,
      bulkEnd,
      stored,
      transactionSum(row),
    )
  }
}
