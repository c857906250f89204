/**
 * Checks a database below the level of objects: by SQLite's own checks, and by the checksums and counts of the format. SQLite's pages have no checksums, so a changed bit may lose or move rows without an error:
 *
 * | damage                                    | found by                                                      |
 * |-------------------------------------------|---------------------------------------------------------------|
 * | a row's content or key                    | the row's sum, which covers its key                           |
 * | a row is missing (a cell count, pointer)  | `txn.objects` and `txn.bytes`, compared with a full scan      |
 * | a row is misplaced, or duplicated         | the order of the scan, and SQLite's integrity check           |
 * | an index disagrees with the table         | SQLite's integrity check, and the search for lost revisions   |
 * | the schema                                | its text, compared with a new database's                      |
 * | bytes of the log                          | the sums of its units                                         |
 * | a log file is missing, foreign, truncated | the ranges that revisions point to, compared with the files   |
 * | the sums over all revisions               | a count of all revisions                                      |
 * | the intent log                            | the sums of its entries: intact ones after a damaged one      |
 *
 * A full scan reads the table itself, not an index, so it finds rows that no look-up finds. Rows are streamed, and the
 * state of the check is in a temporary database: memory is bounded. Each scan reads one snapshot, so a writer may be
 * active. The log has no snapshots: space that a pack frees meanwhile is not damage, so a revision whose bytes are
 * missing is looked up again, in the current state.
 */
import type { VerifiedBytes } from '../../check-memory.ts'
import Database from 'better-sqlite3'
import { formatOid, formatTid, legibleIds, type Tid } from '../../ids.ts'
import type { FoundIntents, Progress, StorageCheckOptions, StorageDamage, Sums } from '../../capabilities.ts'
import type { Opener } from '../../encryption/seals.ts'
import { BulkDamageError } from '../../indexed/bulk.ts'
import { BulkGaps, lostBytes, POSITIONS_MAX } from '../../indexed/check/bulk-gaps.ts'
import { UNIT_BYTES } from '../../indexed/frame.ts'
import { ROW_DIFFERS, rowSum } from '../../indexed/row-sums.ts'
import { DATABASE_ID, readDatabaseId } from '../open/database-id.ts'
import { pathOf } from '../open/immutable.ts'
import { filesToCheck } from './files-to-check.ts'
import { readIntents } from '../intents/intent-file.ts'
import { lastTidOf } from '../log.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { SEGMENT_BYTES } from '../../segment-files/log-layout.ts'
import { LogReader } from '../../segment-files/log-reader.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import { openScratch } from '../../scratch.ts'
import {
  cellsOf,
  selectNamedTransactions,
  sumOfNamed,
  TOTALS,
  totalsOfRow,
  type NamedTransactionRow,
} from '../rows.ts'
import { createSchema } from '../schema.ts'
import { forgedRow, isForgedTransaction } from './forged-rows.ts'
import { SqliteIndexScan } from '../sqlite-index-scan.ts'
import { recount } from './recount.ts'
import { isSameSums } from '../totals.ts'

/** A row of `revision` without its id, in the order of its columns: oid, tid, sum, head, pos, len, tail. */
export type RevisionCells = [bigint, bigint, bigint, Buffer | null, bigint | null, bigint, Buffer | null]

/** Maximum number of findings of SQLite's check. */
const STRUCTURE_MAX = 1000
const FLUSH_ENTRIES = 100_000
const UNITS_PER_SEGMENT = SEGMENT_BYTES / UNIT_BYTES
const PROGRESS_ROWS = 5000

export class StorageCheck {
  readonly #db: Database.Database
  readonly #marks = openScratch(`
    CREATE TABLE counted (tid INTEGER PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL);
    CREATE TABLE wrong (tid INTEGER PRIMARY KEY);
    CREATE TABLE present (tid INTEGER, oid INTEGER, PRIMARY KEY (tid, oid)) WITHOUT ROWID;
  `)
  readonly #now: Database.Database
  readonly #upTo: bigint
  readonly #progress: Progress
  readonly #verified: VerifiedBytes | undefined
  readonly #opener: Opener | undefined
  /** The bytes of the log that cannot be read. */
  readonly #gaps = new BulkGaps()

  /**
   * @param db a separate connection, for reading. @param now another, to look up the current state of a revision.
   * @param opener undefined for a database that is not encrypted.
   */
  constructor(
    db: Database.Database,
    now: Database.Database,
    { upTo, progress, verified }: Pick<StorageCheckOptions, 'upTo' | 'progress' | 'verified'>,
    opener?: Opener,
  ) {
    this.#opener = opener
    this.#db = db
    this.#now = now
    this.#upTo = upTo
    this.#progress = progress
    this.#verified = verified
  }

  close(): void {
    this.#gaps.close()
    this.#marks.close()
  }

  /** Runs the whole check. With `data` it reads every byte of the log. */
  async *run(data: boolean): AsyncGenerator<StorageDamage> {
    // One snapshot: if a mount packs meanwhile, a second one would have other revisions.
    this.#db.exec('BEGIN')
    try {
      yield* this.#guard(this.#structure())
      yield* this.#guard(this.#log(data))
      yield* this.#guard(this.#revisions())
      yield* this.#guard(this.#transactions())
      yield* this.#guard(this.#lost())
      yield* this.#guard(this.#sums())
      yield* this.#guard(this.#intents())
    } finally {
      if (this.#db.inTransaction) this.#db.exec('COMMIT')
    }
  }

  /** Reports an error of SQLite as damage; the next scan may still find more. */
  async *#guard(
    damages: Generator<StorageDamage> | AsyncGenerator<StorageDamage>,
  ): AsyncGenerator<StorageDamage> {
    try {
      yield* damages
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error
      yield { kind: 'structure', reason: `SQLite cannot read further: ${error.message}` }
    }
  }

  *#structure(): Generator<StorageDamage> {
    for (const check of ['quick_check', 'integrity_check']) {
      this.#progress(`SQLite's ${check}`, 0, 1)
      const table = check === 'quick_check' ? STRUCTURE_MAX : "'revision'"
      const lines = this.#db.pragma(`${check}(${table})`) as Record<string, string>[]
      let found = 0
      for (const line of lines) {
        const reason = String(Object.values(line)[0])
        if (reason === 'ok') continue
        found++
        yield { kind: 'structure', reason }
      }
      if (found > 0) break
    }
    const schema = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name'
    const wanted = new Database(':memory:')
    createSchema(wanted)
    const expected = JSON.stringify(wanted.prepare(schema).all())
    wanted.close()
    if (JSON.stringify(this.#db.prepare(schema).all()) !== expected)
      yield { kind: 'structure', reason: 'its schema differs from that of its format' }
  }

  async *#log(data: boolean): AsyncGenerator<StorageDamage> {
    if (readDatabaseId(this.#db) === undefined)
      yield { kind: 'structure', reason: `its row of meta '${DATABASE_ID}' is damaged` }
    const used = this.#usedUnits()
    const files = filesToCheck(this.#db)
    try {
      yield* this.#headers(files, used)
      const total = this.#number('SELECT coalesce(max(log_end), 0) FROM txn')
      const report = (pos: number): void => this.#progress('the log', pos, Math.max(total, pos))
      await this.#gaps.find(new LogReader(files, this.#opener?.frames), used, data, report, this.#verified)
    } finally {
      files.close()
      used.close()
    }
  }

  /** The units that revisions point to. */
  #usedUnits(): PagedBitmap {
    const used = new PagedBitmap()
    const rows = this.#db
      .prepare<[], [pos: number, len: number]>(
        `SELECT pos, len FROM revision NOT INDEXED
         WHERE typeof(pos) = 'integer' AND typeof(len) = 'integer' AND pos >= 0 AND pos < ${POSITIONS_MAX}
           AND len BETWEEN 1 AND 4294967295`,
      )
      .raw()
    for (const [pos, len] of rows.iterate())
      used.addRange(Math.floor(pos / UNIT_BYTES), Math.ceil((pos + len) / UNIT_BYTES))
    return used
  }

  /** Checks the headers of segments in use: one without a revision may be a leftover, or about to be removed. */
  *#headers(files: LogFiles, used: PagedBitmap): Generator<StorageDamage> {
    for (const index of files.indexes()) {
      const end = (index + 1) * UNITS_PER_SEGMENT
      if (used.find(true, index * UNITS_PER_SEGMENT, end) === end) continue
      try {
        if (files.hasHeader(index)) continue
        yield { kind: 'structure', reason: `the header of log file ${index} is damaged` }
      } catch (error) {
        if (!(error instanceof BulkDamageError)) throw error
        yield { kind: 'structure', reason: error.message }
      }
    }
  }

  *#revisions(): Generator<StorageDamage> {
    const total = this.#number('SELECT coalesce(sum(objects), 0) FROM txn')
    let counts = new Map<bigint, { objects: number; bytes: number }>()
    let before = -1n
    let done = 0
    for (const [id, ...row] of this.#scan()) {
      const [oid, tid, , head, pos, len, tail] = row
      if (++done % PROGRESS_ROWS === 0) this.#progress('revisions', done, total)
      if (tid > this.#upTo && isGoodRow(row)) continue
      if (!isGoodRow(row)) {
        yield { kind: 'revision', ...legibleIds(oid, tid), reason: ROW_DIFFERS }
        continue
      }
      const forged = forgedRow(this.#opener, row)
      if (forged !== undefined) {
        yield { kind: 'revision', ...legibleIds(oid, tid), reason: forged }
        continue
      }
      if (id <= before) yield { kind: 'structure', reason: `${nameOf(oid, tid)} is out of order` }
      before = id
      const count = counts.get(tid) ?? { objects: 0, bytes: 0 }
      counts.set(tid, count)
      count.objects++
      count.bytes += (head?.length ?? 0) + Number(len) + (tail?.length ?? 0)
      if (counts.size >= FLUSH_ENTRIES) {
        this.#flush(counts)
        counts = new Map()
      }
      const headBytes = (head?.length ?? 0) - (this.#opener?.rows.extraBytes ?? 0)
      if (pos !== null) yield* this.#missing(oid, tid, headBytes, Number(pos), Number(len))
    }
    this.#flush(counts)
  }

  /** The bytes of a record that are not intact in the log. */
  *#missing(
    oid: bigint,
    tid: bigint,
    headLength: number,
    pos: number,
    len: number,
  ): Generator<StorageDamage> {
    const gaps = this.#gaps.within(pos, len)
    if (gaps.length > 0 && !this.#isThere(oid, tid, pos)) return
    for (const gap of gaps)
      yield { kind: 'data', ...legibleIds(oid, tid), ...lostBytes(gap, headLength, pos, len) }
  }

  /** Whether a revision still exists, that is, was not packed away since the check began. */
  #isThere(oid: bigint, tid: bigint, pos: number): boolean {
    const row = 'SELECT 1 FROM revision INDEXED BY revision_by_oid WHERE oid = ? AND tid = ? AND pos = ?'
    return this.#now.prepare(row).get(oid, tid, pos) !== undefined
  }

  *#transactions(): Generator<StorageDamage> {
    const counted = this.#marks
      .prepare<[bigint], { objects: number; bytes: number }>('SELECT * FROM counted WHERE tid = ?')
      .safeIntegers(false)
    const drop = this.#marks.prepare('DELETE FROM counted WHERE tid = ?')
    const rows = selectNamedTransactions<[]>(this.#db, 'NOT INDEXED')
    let before = -1n
    for (const row of rows.iterate()) {
      const { tid } = row
      if (!isTransaction(row)) {
        yield { kind: 'transaction', reason: 'an entry has values of the wrong types' }
        continue
      }
      if (tid > this.#upTo) continue
      const sum = sumOfNamed(row, cellsOf(totalsOfRow(row)))
      if (sum !== Number(row.sum))
        yield { kind: 'transaction', tid: tidOf(tid), reason: 'the checksum of its entry differs' }
      else if (isForgedTransaction(this.#opener, row))
        yield {
          kind: 'transaction',
          tid: tidOf(tid),
          reason: 'its entry was not encrypted with the key of this database',
        }
      if (tid <= before) yield { kind: 'structure', reason: `transaction ${hex(tid)} is out of order` }
      before = tid
      const { objects, bytes } = counted.get(tid) ?? { objects: 0, bytes: 0 }
      drop.run(tid)
      if (objects === Number(row.objects) && bytes === Number(row.bytes)) continue
      this.#wrong(tid)
      const what = `it has ${objects} objects with ${bytes} bytes, but should have ${row.objects} with ${row.bytes}`
      yield { kind: 'transaction', tid: tidOf(tid), reason: what }
    }
    const left = this.#marks.prepare<[], bigint>('SELECT tid FROM counted').pluck().safeIntegers()
    for (const tid of left.iterate()) {
      yield { kind: 'transaction', tid: tidOf(tid), reason: 'its entry is missing, its objects are present' }
    }
  }

  /** Names the revisions that transactions have lost, if the index by transaction still has them. */
  *#lost(): Generator<StorageDamage> {
    if (this.#marks.prepare('SELECT 1 FROM wrong').get() === undefined) return
    const isWrong = this.#marks.prepare('SELECT 1 FROM wrong WHERE tid = ?')
    const note = this.#marks.prepare('INSERT OR IGNORE INTO present (tid, oid) VALUES (?, ?)')
    for (const [, ...row] of this.#scan())
      if (isWrong.get(row[1]) !== undefined && isGoodRow(row)) note.run(row[1], row[0])
    const indexed = this.#db
      .prepare<[], [bigint, bigint]>(
        'SELECT oid, tid FROM revision INDEXED BY revision_by_tid ORDER BY tid, oid',
      )
      .raw()
      .safeIntegers()
    const isPresent = this.#marks.prepare('SELECT 1 FROM present WHERE tid = ? AND oid = ?')
    for (const [oid, tid] of indexed.iterate())
      if (isWrong.get(tid) !== undefined && isPresent.get(tid, oid) === undefined)
        yield { kind: 'revision', ...legibleIds(oid, tid), reason: 'its index entry is lost' }
  }

  *#sums(): Generator<StorageDamage> {
    this.#progress('sums', 0, 1)
    const [kept, counted] = [new SqliteIndexScan(this.#db).sums(), recount(this.#db)]
    if (isSameSums(kept, counted)) return
    const described = ({ objects, all, past }: Sums): string =>
      `${objects} objects with ${all.revisions} states of ${all.rowBytes + all.bulkBytes} bytes, ${past.revisions} of them past`
    const reason = `its sums are wrong: they say ${described(kept)}, but there are ${described(counted)}`
    yield { kind: 'transaction', reason }
  }

  /** Reads twice: if a mount is active, an entry may be being written, but not both times. */
  *#intents(): Generator<StorageDamage> {
    const id = readDatabaseId(this.#now)
    if (id === undefined) return
    const look = (): FoundIntents => readIntents(pathOf(this.#now), id, lastTidOf(this.#now))
    if (!look().isDamaged) return
    const { entries, isDamaged } = look()
    if (isDamaged)
      yield {
        kind: 'structure',
        reason: `the intent log is damaged: synced changes after its first ${entries.length} entries are lost`,
      }
  }

  #scan(): IterableIterator<[id: bigint, ...RevisionCells]> {
    return this.#db
      .prepare<[], [bigint, ...RevisionCells]>(
        'SELECT id, oid, tid, sum, head, pos, len, tail FROM revision NOT INDEXED',
      )
      .raw()
      .safeIntegers()
      .iterate()
  }

  #wrong(tid: bigint): void {
    this.#marks.prepare('INSERT OR IGNORE INTO wrong (tid) VALUES (?)').run(tid)
  }

  #flush(counts: ReadonlyMap<bigint, { readonly objects: number; readonly bytes: number }>): void {
    const add = this.#marks.prepare(
      `INSERT INTO counted (tid, objects, bytes) VALUES (?, ?, ?) ON CONFLICT (tid)
       DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes`,
    )
    for (const [tid, { objects, bytes }] of counts) add.run(tid, objects, bytes)
  }

  #number(query: string): number {
    return Number(this.#db.prepare<[], bigint>(query).pluck().safeIntegers().get() ?? 0n)
  }
}

/** Whether a row, including its key, is intact. */
export function isGoodRow([oid, tid, sum, head, pos, len, tail]: RevisionCells): boolean {
  const isBlob = (cell: unknown): boolean => cell === null || Buffer.isBuffer(cell)
  if (![oid, tid, sum, pos ?? 0n, len].every(cell => typeof cell === 'bigint')) return false
  if (!isBlob(head) || !isBlob(tail)) return false
  const length = Number(len)
  if (oid < 0n || oid > BigInt(Number.MAX_SAFE_INTEGER) || length < 0 || length > 0xffff_ffff) return false
  return rowSum(Number(oid), tid, head, pos === null ? null : Number(pos), length, tail) === Number(sum)
}

/** Whether a row's values have the types of their columns: on a damaged page they may not. */
function isTransaction(row: NamedTransactionRow): boolean {
  const { tid, user, description, extension, objects, bytes, next_oid, log_end, stored, sum } = row
  return (
    [tid, objects, bytes, next_oid, log_end, stored, sum, ...TOTALS.map(column => row[column])].every(
      value => typeof value === 'bigint',
    ) && [user, description, extension].every(value => Buffer.isBuffer(value))
  )
}

const tidOf = (tid: bigint): Tid => legibleIds(0, tid).tid
const hex = (tid: bigint): string => formatTid(tidOf(tid))
const nameOf = (oid: bigint, tid: bigint): string =>
  `object ${formatOid(legibleIds(oid, tid).oid)} of transaction ${hex(tid)}`
