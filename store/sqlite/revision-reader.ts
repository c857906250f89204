/**
 * Reads revisions for work that goes through a whole database, over a connection of its own. Each call is one
 * statement or few: no read lasts long enough to keep the WAL from being emptied.
 */
import type Database from 'better-sqlite3'
import type { RecordStart, RevisionReader, StoredRevision } from '../capabilities.ts'
import { CorruptRecordError } from '../errors.ts'
import { oid as toOid, TID_NONE, tid as toTid, type Oid, type Tid } from '../ids.ts'
import type { KeptMoments } from '../kept-moments.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import type { LogFiles } from '../segment-files/log-files.ts'
import { readKeptMoments } from './kept-moments.ts'
import { logFilesOf } from './log.ts'
import { recordSize } from '../indexed/record-parts.ts'
import { RecordReader } from './record-reader.ts'
import { connectReadOnly } from './open/immutable.ts'
import { storeError } from './sqlite-errors.ts'

const BATCH_ROWS = 1024
const CACHE_BYTES = 4 << 20
const BUSY_TIMEOUT_MS = 5000

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

/** Opens the log's files of a database; {@link SqliteRevisionReader.close} closes them. */
type OpenFiles = (db: Database.Database) => LogFiles

export class SqliteRevisionReader implements RevisionReader {
  readonly unitBytes = UNIT_BYTES
  protected readonly db: Database.Database
  protected readonly path: string
  protected readonly files: LogFiles
  readonly #reader: RecordReader
  readonly #rest: Database.Statement<[number, bigint, number], EntryRow>
  readonly #following: Database.Statement<[number, number], EntryRow>
  readonly #oids: Database.Statement<[number, number], number>
  readonly #exists: Database.Statement<[number, bigint], number>

  /** @param cacheSizeBytes SQLite's page cache. */
  constructor(
    path: string,
    openFiles: OpenFiles = db => logFilesOf(db, 'read'),
    cacheSizeBytes: number = CACHE_BYTES,
  ) {
    this.db = connectReadOnly(path, BUSY_TIMEOUT_MS)
    this.db.pragma(`cache_size = -${cacheSizeBytes >> 10}`)
    this.path = path
    this.files = openFiles(this.db)
    this.#reader = new RecordReader(this.db, this.files)
    const entries = <P extends unknown[]>(where: string): Database.Statement<P, EntryRow> =>
      this.db.prepare<P, EntryRow>(`SELECT ${ENTRY} ${BY_OID} WHERE ${where}`).safeIntegers().raw(true)
    this.#rest = entries('oid = ? AND tid < ? ORDER BY oid, tid DESC LIMIT ?')
    this.#following = entries('oid > ? ORDER BY oid, tid DESC LIMIT ?')
    this.#oids = this.db
      .prepare<[number, number], number>(`SELECT DISTINCT oid ${BY_OID} WHERE oid > ? ORDER BY oid LIMIT ?`)
      .pluck()
    this.#exists = this.db
      .prepare<[number, bigint], number>(
        `SELECT head IS NOT NULL ${BY_OID} WHERE oid = ? AND tid <= ? LIMIT 1`,
      )
      .pluck()
  }

  close(): void {
    this.files.close()
    this.db.close()
  }

  async totals(): Promise<{ readonly lastTid: Tid; readonly nextOid: number }> {
    return this.reading(() => {
      const [lastTid, nextOid] = this.db
        .prepare<[], [bigint, bigint]>(
          `SELECT max(ifnull((SELECT max(tid) FROM txn), 0),
             ifnull((SELECT max(tid) FROM revision INDEXED BY revision_by_tid), 0)),
             ifnull((SELECT next_oid FROM txn ORDER BY tid DESC LIMIT 1), 0)`,
        )
        .safeIntegers()
        .raw(true)
        .get() ?? [TID_NONE, 0n]
      return { lastTid: toTid(lastTid), nextOid: Number(nextOid) }
    })
  }

  async kept(): Promise<KeptMoments> {
    return this.reading(() => readKeptMoments(this.db))
  }

  async *oids(): AsyncGenerator<readonly Oid[]> {
    for (let last = -1; ;) {
      const batch: Oid[] = []
      for (const found of this.reading(() => this.#oids.all(last, BATCH_ROWS))) {
        // A damaged index may lead back, or to a value that is not an oid.
        if (!Number.isSafeInteger(found) || found <= last) break
        batch.push(toOid(found))
        last = found
      }
      if (batch.length === 0) return
      yield batch
    }
  }

  async *revisions(oids: readonly number[], upTo: bigint): AsyncGenerator<readonly StoredRevision[]> {
    let batch: StoredRevision[] = []
    for (const oid of oids) {
      for (let before = upTo + 1n; ;) {
        const rows = this.reading(() => this.#rest.all(oid, before, BATCH_ROWS))
        for (const row of rows) batch.push(revisionOf(row))
        const last = rows.at(-1)
        if (batch.length >= BATCH_ROWS) {
          yield batch
          batch = []
        }
        if (last === undefined || rows.length < BATCH_ROWS) break
        before = last[1]
      }
    }
    if (batch.length > 0) yield batch
  }

  async exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]> {
    return this.reading(() => oids.map(oid => this.#exists.get(oid, at) === 1))
  }

  async records(
    revisions: readonly { readonly oid: number; readonly tid: bigint }[],
    limit: number = Number.POSITIVE_INFINITY,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]> {
    return this.reading(() => revisions.map(({ oid, tid }) => this.#record(oid, tid, limit)))
  }

  #record(oid: number, tid: bigint, limit: number): RecordStart | CorruptRecordError | undefined {
    try {
      const found = this.#reader.find(toOid(oid), toTid(tid))
      if (found === undefined || found.tid !== tid || found.head === null) return undefined
      const size = recordSize(found)
      return { size, bytes: this.#reader.readPart(found, 0, Math.min(limit, size)) }
    } catch (error) {
      if (error instanceof CorruptRecordError) return error
      throw error
    }
  }

  /** All revisions in the order of oids, of each oid the newest first; those that come meanwhile may be missed. */
  protected *batches(): Generator<readonly StoredRevision[]> {
    let oid = -1
    let tid = 0n
    for (;;) {
      const rest = oid < 0 ? [] : this.#rest.all(oid, tid, BATCH_ROWS)
      const left = BATCH_ROWS - rest.length
      const rows = left === 0 ? rest : [...rest, ...this.#following.all(oid, left)]
      const last = rows.at(-1)
      if (last === undefined) return
      yield rows.map(revisionOf)
      ;[oid, tid] = last
    }
  }

  protected reading<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      throw storeError(error, this.path)
    }
  }
}

function revisionOf([oid, tid, isTombstone, ownBytes, pos, len]: EntryRow): StoredRevision {
  const lo = pos ?? 0
  return {
    oid,
    tid,
    isTombstone: isTombstone !== 0,
    ownBytes,
    unitLo: Math.floor(lo / UNIT_BYTES),
    unitHi: pos === null ? Math.floor(lo / UNIT_BYTES) : Math.ceil((lo + len) / UNIT_BYTES),
  }
}
