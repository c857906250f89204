/**
 * The positions of a FileStorage's records, in a SQLite database: memory in use does not grow with the file.
 *
 * | table                                              | contents                                                 |
 * |----------------------------------------------------|----------------------------------------------------------|
 * | `file(identity)`                                   | which file this is about, one row                        |
 * | `txn(seq, tid, pos, length, objects, bytes)`       | whole transactions, numbered from 1 in the file's order  |
 * | `record(oid, seq, pos, length)`                    | an object's record in a transaction; length 0: indirect  |
 *
 * Records are found by `seq`, not by tid, because small integers make a smaller and quicker tree. A transaction's
 * row is written after its records, in the same SQLite transaction or a later one: records whose `seq` is above
 * {@link PositionIndex.last} do not count.
 *
 * Several processes may extend one index: each write begins by reading the last indexed transaction.
 */
import Database from 'better-sqlite3'
import { sqliteName } from '../sqlite-name.ts'
import { type Oid, type Tid, knownTid } from '../ids.ts'
import { TID_NONE } from '../ids.ts'
import { MAGIC_LENGTH, POINTER_LENGTH } from './format.ts'

/** The version of the index; an index of another version is rebuilt. */
const VERSION = 1

/** A whole transaction of the indexed part of a file. */
export interface IndexedTransaction {
  readonly seq: number
  readonly tid: Tid
  readonly pos: number
  readonly length: number
}

export interface TransactionRow extends IndexedTransaction {
  readonly objects: number
  readonly bytes: number
}

/** The position of a record. */
export interface RecordPosition {
  readonly oid: Oid
  readonly pos: number
  readonly length: number
}

/** An object's record, and the number of the transaction that wrote it. */
export interface FoundRecord {
  readonly seq: number
  readonly pos: number
  readonly length: number
}

interface RawTransaction {
  readonly seq: bigint
  readonly tid: bigint
  readonly pos: bigint
  readonly length: bigint
  readonly objects: bigint
  readonly bytes: bigint
}

const NOTHING: IndexedTransaction = { seq: 0, tid: TID_NONE, pos: MAGIC_LENGTH, length: -POINTER_LENGTH }

/** Maximum number of transaction ids kept in memory. */
const MAX_TIDS = 4096

/** Oids at most this far apart are neighbours; at least this many of them are found by one query... */
const MAX_OID_GAP = 4
const MIN_RUN = 4
/** ...unless they have more revisions than this on average. */
const ROWS_PER_OID = 4

/** How long a statement waits for another process, blocking this one. */
const BUSY_TIMEOUT_MS = 2000

const SCHEMA = `
  CREATE TABLE file (identity TEXT NOT NULL);
  CREATE TABLE txn (
    seq INTEGER PRIMARY KEY, tid INTEGER NOT NULL UNIQUE, pos INTEGER NOT NULL, length INTEGER NOT NULL,
    objects INTEGER NOT NULL, bytes INTEGER NOT NULL
  );
  CREATE TABLE record (
    oid INTEGER NOT NULL, seq INTEGER NOT NULL, pos INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (oid, seq)
  ) WITHOUT ROWID;
  PRAGMA user_version = ${VERSION};
`

function prepare(db: Database.Database) {
  const columns = 'seq, tid, pos, length, objects, bytes'
  return {
    identity: db.prepare<[], string>('SELECT identity FROM file').pluck(),
    last: db
      .prepare<[], RawTransaction>(`SELECT ${columns} FROM txn ORDER BY seq DESC LIMIT 1`)
      .safeIntegers(),
    upTo: db
      .prepare<[bigint], number>('SELECT seq FROM txn WHERE tid <= ? ORDER BY tid DESC LIMIT 1')
      .pluck(),
    tid: db.prepare<[number], Tid>('SELECT tid FROM txn WHERE seq = ?').pluck().safeIntegers(),
    ascending: db
      .prepare<[number, number, number], RawTransaction>(
        `SELECT ${columns} FROM txn WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?`,
      )
      .safeIntegers(),
    descending: db
      .prepare<[number, number, number], RawTransaction>(
        `SELECT ${columns} FROM txn WHERE seq > ? AND seq <= ? ORDER BY seq DESC LIMIT ?`,
      )
      .safeIntegers(),
    record: db.prepare<[number, number], FoundRecord>(
      'SELECT seq, pos, length FROM record WHERE oid = ? AND seq <= ? ORDER BY seq DESC LIMIT 1',
    ),
    /** The first and the last oid, seq, limit. */
    range: db
      .prepare<[number, number, number, number], [oid: number, seq: number, pos: number, length: number]>(
        'SELECT oid, seq, pos, length FROM record WHERE oid >= ? AND oid <= ? AND seq <= ? ORDER BY oid, seq LIMIT ?',
      )
      .raw(),
    revisions: db
      .prepare<[number, number, number], number>(
        'SELECT seq FROM record WHERE oid = ? AND seq > ? AND seq <= ? ORDER BY seq DESC',
      )
      .pluck(),
    addTransaction: db.prepare(`INSERT INTO txn (${columns}) VALUES (?, ?, ?, ?, ?, ?)`),
    addRecord: db.prepare('INSERT OR REPLACE INTO record (oid, seq, pos, length) VALUES (?, ?, ?, ?)'),
  }
}

export class PositionIndex {
  readonly #db: Database.Database
  readonly #sql: ReturnType<typeof prepare>
  readonly #tids = new Map<number, Tid>()
  #last: IndexedTransaction

  /** Opens the index of `file` in the SQLite file `path`, or creates it there; '' is a nameless temporary file. */
  constructor(path: string, file: string) {
    // SQLite stores no other text.
    const identity = file.toWellFormed()
    this.#db = new Database(sqliteName(path), { timeout: BUSY_TIMEOUT_MS })
    try {
      if (path !== '') this.#db.pragma('journal_mode = WAL')
      this.#db.pragma('synchronous = NORMAL')
      if (this.#version() === 0) this.#create(identity)
      if (this.#version() !== VERSION) throw new Error('the index has another version')
      this.#sql = prepare(this.#db)
      if (this.#sql.identity.get() !== identity) throw new Error('the index belongs to another file')
      this.#last = this.#readLast()
    } catch (error) {
      this.#db.close()
      throw error
    }
  }

  /** The last indexed transaction; `seq` is 0 if there is none. */
  get last(): IndexedTransaction {
    return this.#last
  }

  /** The position at which indexing continues. */
  get end(): number {
    return this.#last.pos + this.#last.length + POINTER_LENGTH
  }

  /** The number of the newest transaction with `tid <= at`; 0 if there is none. */
  seqUpTo(at: Tid): number {
    return at >= this.#last.tid ? this.#last.seq : (this.#sql.upTo.get(at) ?? 0)
  }

  /** The tid of the transaction with that number. */
  tidOf(seq: number): Tid {
    const known = this.#tids.get(seq)
    if (known !== undefined) return known
    const tid = this.#sql.tid.get(seq)
    if (tid === undefined) throw new Error(`the index has no transaction ${seq}`)
    if (this.#tids.size === MAX_TIDS) this.#tids.clear()
    this.#tids.set(seq, tid)
    return tid
  }

  /** Transactions numbered `(after, upTo]`. */
  transactions(after: number, upTo: number, reverse: boolean, limit: number): TransactionRow[] {
    const statement = reverse ? this.#sql.descending : this.#sql.ascending
    return statement.all(after, upTo, limit).map(transactionRow)
  }

  /** Each object's newest record of the transactions up to number `seq`; `oids` ascend. May include other objects. */
  find(oids: readonly Oid[], seq: number): Map<number, FoundRecord> {
    const found = new Map<number, FoundRecord>()
    for (let first = 0; first < oids.length;) first = this.#findRun(oids, first, seq, found)
    return found
  }

  /** The numbers in `(after, upTo]` of the transactions that hold a record of the object, newest first. */
  revisions(oid: Oid, after: number, upTo: number): readonly number[] {
    return this.#sql.revisions.all(oid, after, upTo)
  }

  /** Takes the write lock until {@link commit} or {@link rollback}; false if another connection has it. */
  begin(): boolean {
    // Waiting here would block the event loop, and with it another connection of this process.
    this.#db.pragma('busy_timeout = 0')
    try {
      this.#db.exec('BEGIN IMMEDIATE')
    } catch (error) {
      if (isBusy(error)) return false
      throw error
    } finally {
      this.#db.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`)
    }
    this.#last = this.#readLast()
    return true
  }

  /** Adds records to transaction `seq`. They count once the transaction itself has been added. */
  addRecords(seq: number, records: RecordPosition[]): void {
    // Ascending oids touch each page of the tree once.
    records.sort((a, b) => a.oid - b.oid || a.pos - b.pos)
    for (const { oid, pos, length } of records) this.#sql.addRecord.run(oid, seq, pos, length)
  }

  addTransaction(row: TransactionRow): void {
    this.#sql.addTransaction.run(row.seq, row.tid, row.pos, row.length, row.objects, row.bytes)
    this.#last = row
  }

  commit(): void {
    this.#db.exec('COMMIT')
  }

  rollback(): void {
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK')
    this.#last = this.#readLast()
  }

  close(): void {
    this.#db.close()
  }

  #version(): unknown {
    return this.#db.pragma('user_version', { simple: true })
  }

  #create(identity: string): void {
    const create = this.#db.transaction(() => {
      if (this.#version() !== 0) return
      this.#db.exec(SCHEMA)
      this.#db.prepare('INSERT INTO file (identity) VALUES (?)').run(identity)
    })
    create.immediate()
  }

  /** Finds neighbours by one query; returns the index of the first oid after them. */
  #findRun(oids: readonly Oid[], first: number, seq: number, found: Map<number, FoundRecord>): number {
    const firstOid = oids[first] ?? 0
    let end = first
    let lastOid = firstOid
    for (let oid = oids[end]; oid !== undefined && oid - lastOid <= MAX_OID_GAP; oid = oids[++end])
      lastOid = oid
    if (end - first < MIN_RUN) {
      for (const oid of oids.slice(first, end)) this.#findOne(oid, seq, found)
      return end
    }
    const limit = (end - first) * ROWS_PER_OID
    const rows = this.#sql.range.all(firstOid, lastOid, seq, limit)
    for (const [oid, seq, pos, length] of rows) found.set(oid, { seq, pos, length })
    const cutOff = rows[limit - 1]?.[0]
    if (cutOff === undefined) return end
    // Long histories: this object may have more revisions. Look it up alone; the oids after it are another run.
    this.#findOne(cutOff, seq, found)
    for (end = first; (oids[end] ?? Infinity) <= cutOff;) end++
    return end
  }

  #findOne(oid: number, seq: number, found: Map<number, FoundRecord>): void {
    const record = this.#sql.record.get(oid, seq)
    if (record !== undefined) found.set(oid, record)
  }

  #readLast(): IndexedTransaction {
    const row = this.#sql.last.get()
    return row === undefined ? NOTHING : transactionRow(row)
  }
}

/** Whether another connection holds SQLite's lock. */
export function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_BUSY'
}

function transactionRow(raw: RawTransaction): TransactionRow {
  return {
    seq: Number(raw.seq),
    tid: knownTid(raw.tid),
    pos: Number(raw.pos),
    length: Number(raw.length),
    objects: Number(raw.objects),
    bytes: Number(raw.bytes),
  }
}
