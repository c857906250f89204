/**
 * Sends an encrypted SQLite database as it is stored (store/raw-stream.ts), beside its writer.
 *
 * The frames of the log and the rows since the base are read first, in statements that are short, so that the WAL does not grow meanwhile.
 * What was stored since then, the state that packs have left, and the notes are read in one SQLite transaction, the closing one: they
 * belong to one moment, the last transaction of the stream.
 *
 * **Packs.** A pack drops rows, then releases the frames that no row refers to. A frame that was released before the closing transaction
 * began is referred to by no row of it. If a pack drops rows between the begin of the closing transaction and the last frame that is read
 * in it, then another closing transaction begins. A damaged frame matters only if a row of the closing transaction refers to it.
 */
import type Database from 'better-sqlite3'
import { CorruptRecordError, StoreError } from '../../errors.ts'
import { formatTid, knownOid, knownTid, TID_NONE, type Tid } from '../../ids.ts'
import { ENCRYPTION } from '../../encryption/key-slots.ts'
import { lossName } from '../../indexed/check/losses.ts'
import { damagedTransaction, ROW_DIFFERS, rowSum } from '../../indexed/row-sums.ts'
import {
  encodeEnd,
  encodeHeader,
  NO_POINT,
  RAW,
  type RawPart,
  type RawPoint,
  type RawSending,
  type RawState,
} from '../../raw-stream.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { storedFrames } from '../../segment-files/stored-frames.ts'
import { logFilesOf } from '../log.ts'
import { readDatabaseId } from '../open/database-id.ts'
import { connectReadOnly } from '../open/immutable.ts'
import { isIntact, selectRevisions, selectTransactions, type TransactionCells } from '../rows.ts'
import { ENCRYPTED_FORMAT } from '../schema.ts'
import { storeError } from '../sqlite-errors.ts'
import { selectDropped } from '../sqlite-index-scan.ts'
import { hasAllRevisions } from './all-revisions.ts'
import { isLocalNote } from './local-notes.ts'
import { encodeKept, encodeNote, encodeRevision, encodeTransaction, type OidRun } from './rows.ts'

const BUSY_TIMEOUT_MS = 5000
/** Rows of one statement, and about the length of a part with rows. */
const BATCH_ROWS = 1000
const PART_BYTES = 1 << 20
const CLOSINGS_MAX = 10

/** A range of positions that cannot be read. */
type Range = readonly [lo: number, hi: number]

export class RawSource implements RawSending {
  readonly #path: string

  /** @param path of an encrypted database. */
  constructor(path: string) {
    this.#path = path
  }

  // oxlint-disable-next-line require-await -- errors must reject, not throw
  async state(): Promise<RawState> {
    return this.#ask(session => ({
      databaseId: session.databaseId(),
      keys: session.keys(),
      last: session.last().point,
    }))
  }

  // oxlint-disable-next-line require-await -- errors must reject, not throw
  async pointAt(tid: Tid): Promise<RawPoint | undefined> {
    return this.#ask(session => session.endAt(tid)?.point)
  }

  #ask<T>(ask: (session: Session) => T): T {
    const session = new Session(this.#path)
    try {
      return ask(session)
    } catch (error) {
      throw storeError(error, this.#path)
    } finally {
      session.close()
    }
  }

  async *parts(base: RawPoint = NO_POINT, dropped?: readonly number[]): AsyncGenerator<RawPart> {
    const session = new Session(this.#path)
    try {
      yield* session.parts(base, dropped)
    } catch (error) {
      throw storeError(error, this.#path)
    } finally {
      session.close()
    }
  }
}

/** A transaction as the end of what was sent. */
interface End {
  readonly point: RawPoint
  readonly bulkEnd: number
}

const NO_END: End = { point: NO_POINT, bulkEnd: 0 }

const endOf = (cells: TransactionCells): End => ({
  point: { tid: knownTid(cells[0]), sum: cells[17] },
  bulkEnd: cells[7],
})

class Session {
  readonly #db: Database.Database
  /** Sees the present while the other connection is in a transaction. */
  readonly #present: Database.Database
  readonly #files: LogFiles
  readonly #unreadable: Range[] = []
  #sent = 0

  constructor(path: string) {
    this.#db = connectReadOnly(path, BUSY_TIMEOUT_MS)
    try {
      this.#present = connectReadOnly(path, BUSY_TIMEOUT_MS)
      this.#files = logFilesOf(this.#db, 'read')
    } catch (error) {
      this.#db.close()
      throw error
    }
  }

  close(): void {
    this.#files.close()
    this.#present.close()
    this.#db.close()
  }

  databaseId(): string {
    const id = readDatabaseId(this.#db)
    if (id === undefined) throw new StoreError("the database's id is damaged", { code: 'damaged-id' })
    return id
  }

  keys(): string {
    const keys = this.#db
      .prepare<[string], string>('SELECT value FROM meta WHERE name = ?')
      .pluck()
      .get(ENCRYPTION)
    if (keys === undefined) throw new StoreError('the note of its keys is missing', { code: 'damaged' })
    return keys
  }

  /** A transaction; undefined if it is not there. */
  endAt(tid: Tid): End | undefined {
    const cells = selectTransactions<[bigint]>(this.#db, 'WHERE tid = ?').get(tid)
    return cells && endOf(cells)
  }

  last(): End {
    const cells = this.#lastCells()
    return cells === undefined ? NO_END : endOf(cells)
  }

  #lastCells(): TransactionCells | undefined {
    return selectTransactions<[]>(this.#db, 'ORDER BY tid DESC LIMIT 1').get()
  }

  *parts(base: RawPoint, droppedThere: readonly number[] | undefined): Generator<RawPart> {
    const droppedFirst = this.#dropped(this.#db)
    let sent = this.#baseEnd(base)
    yield this.#begin(sent)
    yield* this.#added(sent, (sent = this.last()))
    for (let closing = 1; ; closing++) {
      this.#db.exec('BEGIN')
      try {
        const dropped = this.#dropped(this.#db)
        yield* this.#added(sent, (sent = this.last()))
        if (isSame(dropped, this.#dropped(this.#present))) {
          this.#assertReadable(sent.point.tid)
          const isPacked = !isSame(dropped, droppedFirst) || !isSame(dropped, droppedThere ?? [])
          const mayHaveDropped = base.tid !== TID_NONE || !isSame(dropped, droppedFirst)
          if (isPacked && mayHaveDropped) yield* this.#kept(sent.point.tid)
          yield* packed(RAW.notes, this.#notes())
          yield this.#end(dropped)
          return
        }
      } finally {
        this.#db.exec('COMMIT')
      }
      if (closing === CLOSINGS_MAX)
        throw new StoreError(`${this.#db.name} is being packed: send it again when the pack has ended`, {
          code: 'pack-running',
        })
    }
  }

  #baseEnd(base: RawPoint): End {
    const end = base.tid === TID_NONE ? NO_END : this.endAt(base.tid)
    if (end?.point.sum === base.sum) return end
    throw new StoreError(`there is no transaction ${formatTid(base.tid)}, or another one`, {
      code: 'no-transaction',
    })
  }

  #begin({ point, bulkEnd }: End): RawPart {
    const last = this.last()
    const payload = encodeHeader({
      databaseId: this.databaseId(),
      format: ENCRYPTED_FORMAT,
      base: point,
      baseBulkEnd: bulkEnd,
      upTo: last.point.tid,
      bytes: last.bulkEnd - bulkEnd,
      keys: this.keys(),
    })
    return { kind: RAW.begin, payload }
  }

  /** What the transactions after `from`, up to `to`, have added: frames, revisions, transactions. */
  *#added(from: End, to: End): Generator<RawPart> {
    const { tid } = to.point
    if (from.point.tid === tid) return
    const frames = storedFrames(this.#files, from.bulkEnd, to.bulkEnd, (...range) =>
      this.#unreadable.push(range),
    )
    for (const payload of frames) yield { kind: RAW.frames, payload }
    yield* packed(RAW.revisions, this.#revisions(from.point.tid, tid))
    yield* packed(RAW.transactions, this.#transactions(from.point.tid, tid))
  }

  *#revisions(from: Tid, to: Tid): Generator<Buffer> {
    const select = selectRevisions<[bigint, number, bigint, number]>(
      this.#db,
      'INDEXED BY revision_by_tid WHERE (tid, oid) > (?, ?) AND tid <= ? ORDER BY tid, oid LIMIT ?',
    )
    // Every oid of `from` is less.
    for (let after: readonly [bigint, number] = [from, Number.MAX_SAFE_INTEGER]; ;) {
      const rows = select.all(...after, to, BATCH_ROWS)
      for (const row of rows) {
        const [oid, tid, sum, ...rest] = row
        if (rowSum(oid, tid, ...rest) !== sum)
          throw new CorruptRecordError(knownOid(oid), knownTid(tid), ROW_DIFFERS)
        yield encodeRevision(row)
        after = [tid, oid]
      }
      if (rows.length < BATCH_ROWS) return
    }
  }

  *#transactions(from: bigint, to: Tid): Generator<Buffer> {
    const select = selectTransactions<[bigint, bigint, number]>(
      this.#db,
      'WHERE tid > ? AND tid <= ? ORDER BY tid LIMIT ?',
    )
    for (;;) {
      const rows = select.all(from, to, BATCH_ROWS)
      for (const row of rows) {
        if (!isIntact(row)) throw damagedTransaction(knownTid(row[0]))
        this.#sent++
        yield encodeTransaction(row)
        from = row[0]
      }
      if (rows.length < BATCH_ROWS) return
    }
  }

  /** Which revisions the transactions up to `to` still have. */
  *#kept(to: Tid): Generator<RawPart> {
    const transactions = this.#db
      .prepare<[bigint, bigint, number], [tid: bigint, objects: number, bytes: number]>(
        'SELECT tid, CAST(objects AS REAL), CAST(bytes AS REAL) FROM txn WHERE tid > ? AND tid <= ? ORDER BY tid LIMIT ?',
      )
      .safeIntegers()
      .raw()
    const oids = this.#db
      .prepare<[bigint, number, number], number>(
        'SELECT CAST(oid AS REAL) FROM revision INDEXED BY revision_by_tid WHERE tid = ? AND oid > ? ORDER BY oid LIMIT ?',
      )
      .pluck()
    function* entries(): Generator<Buffer> {
      for (let from: bigint = TID_NONE; ;) {
        const rows = transactions.all(from, to, BATCH_ROWS)
        for (const [tid, objects, bytes] of rows) {
          from = tid
          for (let after = -1; ;) {
            const batch = oids.all(tid, after, BATCH_ROWS)
            yield encodeKept({ tid, objects, bytes, runs: runsOf(batch) })
            after = batch.at(-1) ?? after
            if (batch.length < BATCH_ROWS) break
          }
        }
        if (rows.length < BATCH_ROWS) return
      }
    }
    yield* packed(RAW.kept, entries())
  }

  *#notes(): Generator<Buffer> {
    const rows = this.#db.prepare<[], [name: string, value: unknown]>('SELECT name, value FROM meta').raw()
    for (const [name, value] of rows.all())
      if (!isLocalNote(name) && (typeof value === 'string' || Buffer.isBuffer(value)))
        yield encodeNote({ name, value })
  }

  #end(dropped: readonly number[]): RawPart {
    const cells = this.#lastCells()
    if (cells === undefined)
      throw new StoreError('the database has no transaction yet', { code: 'no-transaction' })
    if (!hasAllRevisions(this.#db, cells, dropped))
      throw new StoreError(`${this.#db.name} has not the revisions that its transactions count`, {
        code: 'damaged',
      })
    const { point, bulkEnd } = endOf(cells)
    return { kind: RAW.end, payload: encodeEnd({ last: point, bulkEnd, transactions: this.#sent, dropped }) }
  }

  #dropped(db: Database.Database): readonly number[] {
    return selectDropped(db).get() ?? []
  }

  /** @throws StoreError if a row refers to what cannot be read, unless its loss was accepted (docs/format.md, R11). */
  #assertReadable(to: Tid): void {
    if (this.#unreadable.length === 0) return
    const referring = this.#db
      .prepare<[bigint, number, number], [oid: number, tid: bigint]>(
        `SELECT CAST(oid AS REAL), tid FROM revision WHERE tid <= ? AND pos < ? AND pos + len > ?`,
      )
      .safeIntegers()
      .raw()
    const accepted = this.#db.prepare<[string], number>('SELECT 1 FROM meta WHERE name = ?').pluck()
    for (const [lo, hi] of this.#unreadable)
      for (const [oid, tid] of referring.all(to, hi, lo)) {
        const [object, transaction] = [knownOid(oid), knownTid(tid)]
        if (accepted.get(lossName(object, transaction)) === undefined)
          throw new CorruptRecordError(object, transaction, 'its bytes in the log are missing or damaged')
      }
  }
}

const isSame = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((value, index) => value === b[index])

function runsOf(oids: readonly number[]): readonly OidRun[] {
  const runs: { start: number; length: number }[] = []
  for (const oid of oids) {
    const last = runs.at(-1)
    if (last !== undefined && last.start + last.length === oid) last.length++
    else runs.push({ start: oid, length: 1 })
  }
  return runs
}

/** Parts of about {@link PART_BYTES}. */
function* packed(kind: number, rows: Iterable<Buffer>): Generator<RawPart> {
  let gathered: Buffer[] = []
  let bytes = 0
  for (const row of rows) {
    gathered.push(row)
    bytes += row.length
    if (bytes < PART_BYTES) continue
    yield { kind, payload: Buffer.concat(gathered) }
    gathered = []
    bytes = 0
  }
  if (bytes > 0) yield { kind, payload: Buffer.concat(gathered) }
}
