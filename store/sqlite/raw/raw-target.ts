/**
 * Receives a raw stream (store/raw-stream.ts) into a copy of an encrypted database, without its key. The copy has the id and the keys of
 * its source, and its rows and frames at the same tids and positions.
 *
 * All rows of a stream become visible in one SQLite transaction, after its frames are on disk. An interrupted stream leaves the copy as it
 * was; the frames that had arrived are discarded by the next one. Frames that no row refers to any more are released after that.
 */
import Database from 'better-sqlite3'
import { parseKeySlots, ENCRYPTION } from '../../encryption/key-slots.ts'
import { CannotOpenError, CorruptRecordError, LockedError, StoreError } from '../../errors.ts'
import { formatTid, knownOid, knownTid, TID_NONE, type Tid } from '../../ids.ts'
import { isDatabaseId } from '../../indexed/database-id.ts'
import { KEPT_MOMENTS, parseKeptMoments } from '../../indexed/kept-moments-note.ts'
import { damagedTransaction, ROW_DIFFERS, rowSum } from '../../indexed/row-sums.ts'
import { isKept, type KeptMoments } from '../../kept-moments.ts'
import { otherFormat } from '../../other-format.ts'
import {
  decodeEnd,
  decodeHeader,
  NO_POINT,
  RAW,
  type RawEnd,
  type RawHeader,
  type RawPart,
  type RawPoint,
  type RawReceived,
  type RawReceiving,
} from '../../raw-stream.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { StoredFrameAppender } from '../../segment-files/stored-frames.ts'
import { sqliteName } from '../../sqlite-name.ts'
import { readIntents, waitingIntents } from '../intents/intent-file.ts'
import { lastLogEnd, lastTidOf, logFilesOf } from '../log.ts'
import { asCannotOpen, explain } from '../open/cannot-open.ts'
import { createFile } from '../open/create-file.ts'
import { DATABASE_ID, readDatabaseId } from '../open/database-id.ts'
import { checkFormat, checkLog, findFile } from '../open/open-sqlite-store.ts'
import { assertPlainFiles } from '../open/plain-files.ts'
import { pinnedMoments } from '../open/reader-pin.ts'
import { WriterLock } from '../open/writer-lock.ts'
import { assertWhole } from '../open/writing-mark.ts'
import { SqliteParts } from '../parts.ts'
import { isIntact, selectTransactions, TOTALS, type RevisionCells, type TransactionCells } from '../rows.ts'
import { ENCRYPTED_FORMAT } from '../schema.ts'
import { storeError } from '../sqlite-errors.ts'
import { Checkpoints } from '../writer/checkpoints.ts'
import { Guard } from '../writer/guard.ts'
import { KeptMerge } from './kept-merge.ts'
import { isLocalNote } from './local-notes.ts'
import { releaseUnused } from './release-unused.ts'
import { hasAllRevisions } from './all-revisions.ts'
import { decodeKept, decodeNotes, decodeRevisions, decodeTransactions } from './rows.ts'

const BUSY_TIMEOUT_MS = 5000
/** SQLite's page cache, for the rows of a whole database. */
const CACHE_KIB = 64 << 10
const DROPPED = [
  'objects',
  'revisions',
  'row_bytes',
  'bulk_bytes',
  'past_revisions',
  'past_row_bytes',
  'past_bulk_bytes',
]

const unsound = (reason: string): StoreError =>
  new StoreError(`this is not a sound stream: ${reason}`, { code: 'bad-stream' })

/** What a stream begins with. @throws StoreError */
export function headerOf(part: RawPart): RawHeader {
  const header = part.kind === RAW.begin ? decodeHeader(part.payload) : undefined
  if (header === undefined || !isDatabaseId(header.databaseId)) throw unsound('it does not begin as one')
  if (header.format !== ENCRYPTED_FORMAT) throw otherFormat('the stream', header.format, ENCRYPTED_FORMAT)
  parseKeySlots(header.keys)
  return header
}

export class RawTarget implements RawReceiving {
  readonly #path: string
  readonly #lock: WriterLock
  readonly #db: Database.Database
  readonly #files: LogFiles
  readonly #guard: Guard
  readonly #checkpoints: Checkpoints

  private constructor(path: string, lock: WriterLock, db: Database.Database) {
    this.#path = path
    this.#lock = lock
    this.#db = db
    this.#checkpoints = new Checkpoints(db)
    this.#checkpoints.truncate()
    this.#files = logFilesOf(db, 'write', undefined, () => lock.place.held)
    this.#guard = new Guard(lock.place.name, lock.place.fd, db, this.#files, this.#checkpoints)
  }

  /**
   * Opens the copy for streams that begin like this one; makes it if there is none.
   * @throws LockedError if another process writes it; CannotOpenError; StoreError `other-database`
   */
  static async open(path: string, header: RawHeader): Promise<RawTarget> {
    const file = findFile(path, true)
    const lock = explain(file, () => WriterLock.take(file, 'receiving a raw stream'))
    let db: Database.Database | undefined
    try {
      await createFile(lock, async () => header.keys, header.databaseId)
      assertPlainFiles(lock.place)
      assertWhole(lock.place, false)
      db = new Database(sqliteName(lock.place.held), { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
      checkFormat(db, file)
      checkLog(db, file)
      assertCopy(db, file, header)
      db.pragma('journal_mode = WAL')
      db.pragma('synchronous = FULL')
      db.pragma(`cache_size = -${CACHE_KIB}`)
      return new RawTarget(file, lock, db)
    } catch (error) {
      db?.close()
      lock.release()
      throw asCannotOpen(error, file)
    }
  }

  headerOf(begin: RawPart): RawHeader {
    const header = headerOf(begin)
    assertCopy(this.#db, this.#path, header)
    return header
  }

  async receive(
    header: RawHeader,
    parts: AsyncIterable<RawPart>,
    onReceived: (bytes: number) => void,
  ): Promise<RawReceived> {
    try {
      const last = this.#last()
      if (header.base.tid !== last.tid) return await this.#skip(header, parts, last)
      if (header.base.sum !== last.sum) throw diverged(this.#path, last.tid)
      this.#guard.beforeChange()
      new SqliteParts(this.#db).drop()
      const stream = new ReceivedStream(this.#db, new StoredFrameAppender(this.#files), header)
      this.#db.exec('BEGIN IMMEDIATE')
      try {
        for await (const part of parts) onReceived(stream.add(part))
        stream.assertComplete()
        if (stream.hasDropped) this.#assertNotRead()
        this.#db.exec('COMMIT')
      } catch (error) {
        if (this.#db.inTransaction) this.#db.exec('ROLLBACK')
        throw error
      }
      if (stream.hasDropped) {
        releaseUnused(this.#db, this.#files, lastLogEnd(this.#db))
        this.#db.pragma('incremental_vacuum')
      }
      this.#checkpoints.afterCommit()
      return stream.received
    } catch (error) {
      throw storeError(error, this.#path)
    }
  }

  close(): void {
    this.#guard.close()
    this.#files.close()
    this.#db.close()
    this.#lock.release()
  }

  #last(): RawPoint {
    const cells = selectTransactions<[]>(this.#db, 'ORDER BY tid DESC LIMIT 1').get()
    return cells === undefined ? NO_POINT : { tid: knownTid(cells[0]), sum: sumOf(cells) }
  }

  /** Reads a stream that does not begin after the last transaction: all of it must be here. */
  async #skip(header: RawHeader, parts: AsyncIterable<RawPart>, last: RawPoint): Promise<RawReceived> {
    const { base, upTo } = header
    if (last.tid === TID_NONE || base.tid > last.tid || upTo > last.tid)
      throw otherBase(this.#path, base.tid, last)
    let end: RawEnd | undefined
    for await (const { kind, payload } of parts) if (kind === RAW.end) end = decodeEnd(payload)
    if (end === undefined || end.last.tid > last.tid) throw otherBase(this.#path, base.tid, last)
    const found = selectTransactions<[bigint]>(this.#db, 'WHERE tid = ?').get(end.last.tid)
    // A later stream may have dropped it, as packs of the source had.
    const isSame = found === undefined ? !isKept(this.#kept(), end.last.tid) : sumOf(found) === end.last.sum
    if (!isSame) throw diverged(this.#path, end.last.tid)
    return { transactions: 0, bytes: 0, upTo: last.tid }
  }

  #kept(): KeptMoments {
    const note = this.#db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck()
    return parseKeptMoments(note.get(KEPT_MOMENTS))
  }

  /** A reader that pins a moment between this and the commit may find that it has been dropped. */
  #assertNotRead(): void {
    const kept = this.#kept()
    if (pinnedMoments(this.#lock.place.held).some(moment => !isKept(kept, moment)))
      throw new LockedError(this.#path, 'a process that reads a moment which the source has dropped')
  }
}

/** @throws CannotOpenError if a database is no copy of the source, or was not closed. */
function assertCopy(db: Database.Database, path: string, { databaseId, keys }: RawHeader): void {
  const note = db.prepare<[string], string>('SELECT value FROM meta WHERE name = ?').pluck()
  const ownKeys = note.get(ENCRYPTION)
  const isCopy = readDatabaseId(db) === databaseId && ownKeys !== undefined
  if (!isCopy || parseKeySlots(ownKeys).id !== parseKeySlots(keys).id || note.get('branch') !== undefined)
    throw new CannotOpenError(
      `${path} is no raw copy of the database that the stream is from: name another one`,
      {
        code: 'other-database',
        path,
      },
    )
  const last = lastTidOf(db)
  const waiting = readIntents(path, databaseId, last).entries.length
  if (waiting > 0) throw new CannotOpenError(waitingIntents(path, last, waiting), { path })
}

/** The sum of a row of `txn`. */
const sumOf = (cells: TransactionCells): number => cells[17]

const otherBase = (path: string, base: Tid, last: RawPoint): StoreError =>
  new StoreError(
    base === TID_NONE
      ? `the stream has everything, but ${path} has transactions already: name a new database`
      : last.tid === TID_NONE
        ? `the stream continues after ${formatTid(base)}, but ${path} is new: begin with a stream of everything`
        : `the stream continues after ${formatTid(base)}, but ${path} ends with ${formatTid(last.tid)}`,
    { code: 'other-base' },
  )

const diverged = (path: string, tid: Tid): StoreError =>
  new StoreError(`${path} has not the transaction ${formatTid(tid)} of the source: it was written to`, {
    code: 'diverged',
  })

/** Stores the parts of a stream, in a SQLite transaction of the caller. */
class ReceivedStream {
  /** Whether rows were dropped that packs of the source have dropped. */
  hasDropped = false
  readonly #db: Database.Database
  readonly #frames: StoredFrameAppender
  readonly #header: RawHeader
  readonly #merge: KeptMerge
  #end: RawEnd | undefined
  #hasNotes = false
  #transactions = 0
  #bytes = 0
  readonly #insertRevision
  readonly #insertTransaction

  constructor(db: Database.Database, frames: StoredFrameAppender, header: RawHeader) {
    this.#db = db
    this.#frames = frames
    this.#header = header
    this.#merge = new KeptMerge(db)
    this.#insertRevision = db.prepare<RevisionCells>(
      'INSERT INTO revision (oid, tid, sum, head, pos, len, tail) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#insertTransaction = db.prepare<TransactionCells>(
      `INSERT INTO txn (tid, user, description, extension, objects, bytes, next_oid, log_end, stored, ${TOTALS.join(', ')}, sum)
       VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ${Array.from({ length: 7 + TOTALS.length }, () => '?').join(', ')})`,
    )
    frames.begin(lastLogEnd(db))
  }

  get received(): RawReceived {
    return { transactions: this.#transactions, bytes: this.#bytes, upTo: this.#end?.last.tid ?? TID_NONE }
  }

  /** Returns the number of bytes. @throws StoreError `bad-stream` */
  add({ kind, payload }: RawPart): number {
    if (this.#end !== undefined) throw unsound('it continues after its end')
    if (kind < RAW.kept && (this.hasDropped || this.#hasNotes)) throw unsound('its parts are out of order')
    switch (kind) {
      case RAW.frames:
        this.#frames.append(payload)
        break
      case RAW.revisions:
        for (const cells of decodeRevisions(payload)) this.#addRevision(cells)
        break
      case RAW.transactions:
        for (const cells of decodeTransactions(payload)) this.#addTransaction(cells)
        break
      case RAW.kept:
        this.hasDropped = true
        for (const entry of decodeKept(payload)) this.#merge.add(entry)
        break
      case RAW.notes:
        this.#replaceNotes(payload)
        break
      case RAW.end:
        this.#finish(decodeEnd(payload))
        break
      default:
        throw unsound(`it has a part of an unknown kind, ${kind}`)
    }
    this.#bytes += payload.length
    return payload.length
  }

  /** @throws StoreError `cut-stream` */
  assertComplete(): void {
    if (this.#end === undefined) throw new StoreError('the stream ends early', { code: 'cut-stream' })
  }

  #addRevision(cells: RevisionCells): void {
    const [oid, tid, sum, ...rest] = cells
    if (tid <= this.#header.base.tid) throw unsound('it has a revision from before its base')
    if (rowSum(oid, tid, ...rest) !== sum)
      throw new CorruptRecordError(knownOid(oid), knownTid(tid), ROW_DIFFERS)
    this.#insertRevision.run(...cells)
  }

  #addTransaction(cells: TransactionCells): void {
    if (cells[0] <= this.#header.base.tid) throw unsound('it has a transaction from before its base')
    if (!isIntact(cells)) throw damagedTransaction(knownTid(cells[0]))
    this.#insertTransaction.run(...cells)
    this.#transactions++
  }

  #replaceNotes(payload: Buffer): void {
    if (!this.#hasNotes) {
      const names = this.#db.prepare<[], string>('SELECT name FROM meta').pluck().all()
      const remove = this.#db.prepare<[string]>('DELETE FROM meta WHERE name = ?')
      for (const name of names) if (!isLocalNote(name)) remove.run(name)
    }
    this.#hasNotes = true
    const insert = this.#db.prepare<[string, string | Buffer]>('INSERT INTO meta (name, value) VALUES (?, ?)')
    for (const { name, value } of decodeNotes(payload)) {
      if (isLocalNote(name)) throw unsound('it has a note that describes a file')
      insert.run(name, value)
    }
  }

  /** Makes the log durable, and compares what has arrived with what the source has. */
  #finish(end: RawEnd | undefined): void {
    if (end === undefined || !this.#hasNotes) throw unsound('its end is malformed, or out of order')
    if (this.hasDropped) this.#merge.end(end.last.tid)
    const own = this.#db.prepare<[], number>('SELECT revisions FROM dropped').pluck().get() ?? 0
    if (own > (end.dropped[1] ?? 0))
      throw new StoreError('the copy was packed by itself, and lacks what its source has kept', {
        code: 'diverged',
      })
    const set = DROPPED.map(column => `${column} = ?`).join(', ')
    this.#db.prepare<number[]>(`UPDATE dropped SET ${set}`).run(...end.dropped)
    const note = this.#db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck()
    const keys = note.get(ENCRYPTION)
    const hasKeys = typeof keys === 'string' && parseKeySlots(keys).id === parseKeySlots(this.#header.keys).id
    if (note.get(DATABASE_ID) !== this.#header.databaseId || !hasKeys)
      throw unsound('its notes are incomplete')
    const last = selectTransactions<[]>(this.#db, 'ORDER BY tid DESC LIMIT 1').get()
    const isLast = last?.[0] === end.last.tid && sumOf(last) === end.last.sum && last[7] === end.bulkEnd
    if (!isLast || this.#transactions !== end.transactions) throw unsound('its transactions are incomplete')
    if (!hasAllRevisions(this.#db, last, end.dropped)) throw unsound('its revisions are incomplete')
    this.#frames.finish(end.bulkEnd)
    this.#end = end
  }
}
