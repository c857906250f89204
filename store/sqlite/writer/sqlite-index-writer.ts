/** The write side of the index (record-index.ts) in the tables of a SQLite database. */
import { pathOf } from '../../os-text.ts'
import type { Database, Statement } from 'better-sqlite3'
import type { Seals } from '../../encryption/seals.ts'
import { ConflictError, StoreError } from '../../errors.ts'
import { formatTid, knownTid, TID_MAX, TID_NONE, type Tid } from '../../ids.ts'
import type {
  ExpectedBase,
  IndexTransaction,
  IndexWriter,
  RevisionKey,
  RevisionRow,
  TransactionRow,
} from '../../indexed/record-index.ts'
import { rowSum, transactionSum } from '../../indexed/row-sums.ts'
import {
  cellsOf,
  deleteRevision,
  isIntact,
  selectNewestSize,
  selectTotals,
  selectTransactions,
  TOTALS,
  totalsOf,
  unverifiedTransactionRow,
  type SizeCells,
  type TotalsCells,
  type TransactionCells,
} from '../rows.ts'
import { NO_TOTALS, plusTotals, sumsOf, TotalsDraft, type Totals } from '../totals.ts'
import { isFull } from '../sqlite-errors.ts'
import { SqliteIndex } from '../sqlite-index.ts'
import { SqliteParts } from '../parts.ts'
import { storeEpochs } from '../epoch-rows.ts'

export class SqliteIndexWriter implements IndexWriter {
  readonly extraRowBytes: number
  readonly #db: Database
  readonly #seals: Seals | undefined
  readonly #index: SqliteIndex
  readonly #newest: Statement<[number], SizeCells>
  readonly #totals: Statement<[bigint], TotalsCells>
  readonly #insertRevision: Statement<
    [number, bigint, number, Uint8Array | null, number | null, number, Uint8Array | null]
  >
  readonly #insertTransaction: Statement<
    [
      tid: bigint,
      user: string | Buffer,
      description: string | Buffer,
      extension: Uint8Array,
      ...counts: [number, number, number, number, number],
      ...totals: TotalsCells,
      sum: number,
    ]
  >
  readonly #removeRevision: Statement<[number, bigint], [rowBytes: number, bulkBytes: number]>
  readonly #parts: SqliteParts
  /** Whether rows of parts may be there. */
  #hasParts = true
  /** What the parts add to the totals. */
  #partTotals: Totals = NO_TOTALS
  #partsOf: Tid | undefined
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #rollback: Statement

  /** @param db a writable connection. @param seals undefined for a database that is not encrypted. */
  constructor(db: Database, seals?: Seals) {
    this.#db = db
    this.#seals = seals
    this.extraRowBytes = seals?.rows.extraBytes ?? 0
    this.#index = new SqliteIndex(db, seals?.rows)
    this.#newest = selectNewestSize(db)
    this.#totals = selectTotals(db)
    this.#insertRevision = db.prepare(
      'INSERT INTO revision (oid, tid, sum, head, pos, len, tail) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#removeRevision = deleteRevision(db)
    this.#parts = new SqliteParts(db)
    this.#insertTransaction = db.prepare(
      `INSERT INTO txn (tid, user, description, extension, objects, bytes, next_oid, log_end, stored, ${TOTALS.join(', ')}, sum)
       VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ${Array.from({ length: 7 + TOTALS.length }, () => '?').join(', ')})`,
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
    this.#partTotals = NO_TOTALS
    this.#partsOf = undefined
  }

  begin(isPart = false): IndexTransaction {
    if (isPart) this.#beginPart()
    else this.#begin.run()
    let isInDoubt = false
    const draft = new TotalsDraft()
    return {
      expect: bases => this.#expect(bases, draft),
      add: added => {
        const row = this.#seals?.rows.seal(added) ?? added
        const { oid, tid, head, pos, len, tail } = row
        draft.add(sumsOf(row))
        this.#insertRevision.run(oid, tid, rowSum(oid, tid, head, pos, len, tail), head, pos, len, tail)
      },
      removeParts: (oids, tid) =>
        oids.map(oid => {
          const removed = this.#removeRevision.get(oid, tid)
          if (removed === undefined) return undefined
          const [rowBytes, bulkBytes] = removed
          draft.remove({ revisions: 1, rowBytes, bulkBytes })
          return rowBytes + bulkBytes
        }),
      keep: tid => {
        this.#parts.note(tid)
        this.#hasParts = true
        this.#storeEpochs()
        this.#commit.run()
        this.#seals?.epochs.stored()
        this.#partTotals = plusTotals(this.#partTotals, draft.totals)
        this.#partsOf = tid
        this.#db.pragma('synchronous = FULL')
      },
      commit: row => {
        this.#insert(this.#seals?.rows.sealTexts(row) ?? row, plusTotals(this.#partTotals, draft.totals))
        if (this.#hasParts) this.#parts.clear()
        this.#storeEpochs()
        try {
          this.#commit.run()
        } catch (error) {
          // If the disk is full, nothing of the transaction is in the WAL.
          isInDoubt = !isFull(error)
          throw error
        }
        this.#seals?.epochs.stored()
        this.#hasParts = false
        this.#partTotals = NO_TOTALS
        this.#partsOf = undefined
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

  #storeEpochs(): void {
    if (this.#seals !== undefined) storeEpochs(this.#db, this.#seals.epochs)
  }

  /** Parts are made durable by the commit that completes them. */
  #beginPart(): void {
    this.#db.pragma('synchronous = NORMAL')
    try {
      this.#begin.run()
    } catch (error) {
      this.#db.pragma('synchronous = FULL')
      throw error
    }
  }

  #expect(bases: readonly ExpectedBase[], draft: TotalsDraft): void {
    for (const { oid, base } of bases) {
      const newest = this.#newest.get(oid)
      if (newest === undefined) continue
      const [current, rowBytes, bulkBytes] = newest
      if (current > base) throw new ConflictError(oid, base, knownTid(current))
      draft.replace({ revisions: 1, rowBytes, bulkBytes }, current === this.#partsOf)
    }
  }

  #insert(row: TransactionRow, added: Totals): void {
    const last = this.#totals.get(TID_MAX)
    const totals = plusTotals(last === undefined ? NO_TOTALS : totalsOf(last), added)
    const cells = cellsOf({ ...totals, storedBytes: totals.storedBytes + row.stored })
    const { tid, user, description, extension, objects, bytes, nextOid, bulkEnd, stored } = row
    this.#insertTransaction.run(
      tid,
      pathOf(user),
      pathOf(description),
      extension,
      objects,
      bytes,
      nextOid,
      bulkEnd,
      stored,
      ...cells,
      transactionSum(row, cells),
    )
  }
}
