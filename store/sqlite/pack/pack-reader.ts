/**
 * What a pack reads, over a connection of its own, each call for itself: no read lasts long enough to keep the WAL from
 * being emptied.
 */
import Database from 'better-sqlite3'
import { TID_NONE, type Oid, type Tid } from '../../ids.ts'
import { type KeptMoments, readKeptMoments } from '../../kept-moments.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { logBytesOnDisk, logFilesOf } from '../log.ts'
import { Reader, recordSize } from '../reader.ts'

const BATCH_ROWS = 1024
const CACHE_KIB = 4096
const BUSY_TIMEOUT_MS = 5000

/** A row of `revision` without its bytes. */
export interface RevisionEntry {
  readonly oid: number
  readonly tid: bigint
  /** From here on the object did not exist. */
  readonly isMissing: boolean
  /** The bytes in the row. */
  readonly inlineBytes: number
  /** The bytes `[pos, pos + len)` in the log; undefined where there are none. */
  readonly pos: number | undefined
  readonly len: number
}

type EntryRow = [oid: number, tid: bigint, isMissing: number, inline: number, pos: number | null, len: number]
const ENTRY = `CAST(oid AS REAL), tid, CAST(head IS NULL AS REAL),
  CAST(ifnull(length(head), 0) + ifnull(length(tail), 0) AS REAL), CAST(pos AS REAL), CAST(len AS REAL)`

/** Where a database stands: its last transaction, the first oid that is not used, the log's end. */
export interface Totals {
  readonly lastTid: Tid
  readonly nextOid: number
  readonly logEnd: number
}

/** What a database takes on the disk, in bytes. */
export interface FileBytes {
  /** The log included, which may have holes. */
  readonly total: number
  /** In pages that nothing uses. */
  readonly free: number
}

export class PackReader {
  readonly #db: Database.Database
  readonly #path: string
  readonly #files: LogFiles
  readonly #reader: Reader
  readonly #rest: Database.Statement<[number, bigint, number], EntryRow>
  readonly #following: Database.Statement<[number, number], EntryRow>
  readonly #since: Database.Statement<[bigint], [pos: number, len: number]>
  readonly #transactions: Database.Statement<[bigint, bigint, number], [tid: bigint, objects: bigint]>

  constructor(path: string) {
    this.#db = new Database(path, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
    this.#db.pragma(`cache_size = -${CACHE_KIB}`)
    this.#path = path
    this.#files = logFilesOf(this.#db, 'read')
    this.#reader = new Reader(this.#db, this.#files)
    const entries = <P extends unknown[]>(where: string): Database.Statement<P, EntryRow> =>
      this.#db
        .prepare<P, EntryRow>(`SELECT ${ENTRY} FROM revision INDEXED BY revision_by_oid WHERE ${where}`)
        .safeIntegers()
        .raw(true)
    this.#rest = entries('oid = ? AND tid < ? ORDER BY oid, tid DESC LIMIT ?')
    this.#following = entries('oid > ? ORDER BY oid, tid DESC LIMIT ?')
    this.#since = this.#db
      .prepare<[bigint], [number, number]>(
        'SELECT pos, len FROM revision INDEXED BY revision_by_tid WHERE tid > ? AND pos IS NOT NULL',
      )
      .raw(true)
    this.#transactions = this.#db
      .prepare<[bigint, bigint, number], [bigint, bigint]>(
        'SELECT tid, objects FROM txn WHERE tid > ? AND tid < ? ORDER BY tid LIMIT ?',
      )
      .safeIntegers()
      .raw(true)
  }

  close(): void {
    this.#files.close()
    this.#db.close()
  }

  totals(): Totals {
    const row = this.#db
      .prepare<[], [bigint, bigint, bigint]>(
        'SELECT tid, next_oid, log_end FROM txn ORDER BY tid DESC LIMIT 1',
      )
      .safeIntegers()
      .raw(true)
      .get()
    return {
      lastTid: (row?.[0] ?? TID_NONE) as Tid,
      nextOid: Number(row?.[1] ?? 0n),
      logEnd: Number(row?.[2] ?? 0n),
    }
  }

  fileBytes(): FileBytes {
    const pragma = (name: string): number => Number(this.#db.pragma(name, { simple: true }))
    const pageBytes = pragma('page_size')
    const pages = pragma('page_count') * pageBytes
    return { total: pages + logBytesOnDisk(this.#path), free: pragma('freelist_count') * pageBytes }
  }

  kept(): KeptMoments {
    return readKeptMoments(this.#db)
  }

  /** All revisions in the order of oids, of each oid the latest first; those that come meanwhile may be missed. */
  *entries(): Generator<RevisionEntry> {
    let oid = -1
    let tid = 0n
    for (;;) {
      const rest = oid < 0 ? [] : this.#rest.all(oid, tid, BATCH_ROWS)
      const left = BATCH_ROWS - rest.length
      const rows = left === 0 ? rest : [...rest, ...this.#following.all(oid, left)]
      yield* rows.map(entryOf)
      const last = rows.at(-1)
      if (last === undefined) return
      ;[oid, tid] = last
    }
  }

  /** The revisions of one object up to `upTo`, the latest first. */
  *entriesOf(oid: number, upTo: bigint): Generator<RevisionEntry> {
    let before = upTo + 1n
    for (;;) {
      const rows = this.#rest.all(oid, before, BATCH_ROWS)
      yield* rows.map(entryOf)
      const last = rows.at(-1)
      if (last === undefined || rows.length < BATCH_ROWS) return
      before = last[1]
    }
  }

  /** A record, its checksums verified; undefined where it is not there (any more). @throws CorruptRecordError */
  record(oid: number, tid: bigint): Uint8Array | undefined {
    const found = this.#reader.find(oid as Oid, tid as Tid)
    if (found === undefined || found.tid !== tid || found.head === null) return undefined
    return this.#reader.readPart(found, 0, recordSize(found))
  }

  /** What the revisions after `tid` use of the log. */
  usedSince(tid: bigint): readonly [pos: number, len: number][] {
    return this.#since.all(tid)
  }

  /** A batch of the transactions in `(after, before)`, and whether a revision of each is left. */
  transactions(after: bigint, before: bigint): readonly { readonly tid: bigint; readonly isUsed: boolean }[] {
    return this.#transactions
      .all(after, before, BATCH_ROWS)
      .map(([tid, objects]) => ({ tid, isUsed: objects > 0n }))
  }

  /** The log's segments, by index, in their order. */
  segments(): readonly number[] {
    return this.#files.indexes()
  }

  /** Whether the units `[lo, hi)` of one segment take any room. */
  takesRoom(lo: number, hi: number): boolean {
    return this.#files.takesRoom(lo, hi)
  }
}

function entryOf([oid, tid, isMissing, inlineBytes, pos, len]: EntryRow): RevisionEntry {
  return { oid, tid, isMissing: isMissing !== 0, inlineBytes, pos: pos ?? undefined, len }
}
