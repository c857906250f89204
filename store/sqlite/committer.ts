/**
 * Writes transactions, one after the other, over a connection of its own. Runs in the worker thread; synchronous.
 *
 * A record goes where it is read best: what is short into its row, a bulk body into the log. What the last
 * transaction left behind (`#lastTid`, `#nextOid`, `#logEnd`) is kept here and changes when a commit has succeeded,
 * never before: nobody else writes these.
 */
import type { Database, Statement } from 'better-sqlite3'
import { ConflictError, ObjectNotFoundError, StoreError } from '../errors.ts'
import { formatTid, nextTid, TID_NONE, type Tid } from '../ids.ts'
import type { NewTransaction, ObjectChange, RecordSlice, RecordSource } from '../store.ts'
import { rowSum, transactionSum } from './checksum.ts'
import { extendedLogEnd, LOG_END } from './log-end.ts'
import { LogWriter } from './log-writer.ts'
import { Reader, recordSize } from './reader.ts'
import { INLINE_BYTES } from './schema.ts'

const NO_BYTES = new Uint8Array(0)

/** A row of `revision` without its key. */
interface Placed {
  readonly head: Uint8Array | null
  readonly pos: number | null
  readonly len: number
  readonly tail: Uint8Array | null
}

interface Totals {
  tid: bigint
  next_oid: number
  log_end: number
}

export class Committer {
  readonly #reader: Reader
  readonly #log: LogWriter
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #rollback: Statement
  readonly #newest: Statement<[number], bigint>
  readonly #insertRevision: Statement<
    [number, bigint, number, Uint8Array | null, number | null, number, Uint8Array | null]
  >
  readonly #insertTransaction: Statement<
    [bigint, string, string, Uint8Array, number, number, number, number, number]
  >
  readonly #noteLogEnd: Statement<[string, number]>
  #lastTid: Tid
  /** No object with this oid or a later one has a revision. */
  #nextOid: number
  #logEnd: number
  #commits = 0
  #committedBytes = 0

  constructor(db: Database) {
    this.#reader = new Reader(db)
    this.#log = new LogWriter(db)
    this.#begin = db.prepare('BEGIN IMMEDIATE')
    this.#commit = db.prepare('COMMIT')
    this.#rollback = db.prepare('ROLLBACK')
    this.#newest = db
      .prepare<[number], bigint>('SELECT tid FROM revision NOT INDEXED WHERE oid = ? LIMIT 1')
      .safeIntegers()
      .pluck()
    this.#insertRevision = db.prepare(
      'INSERT INTO revision (oid, tid, sum, head, pos, len, tail) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#insertTransaction = db.prepare(
      `INSERT INTO txn (tid, user, description, extension, objects, bytes, next_oid, log_end, sum)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#noteLogEnd = db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)')
    const last = db
      .prepare<[], Record<keyof Totals, bigint>>(
        'SELECT tid, next_oid, log_end FROM txn ORDER BY tid DESC LIMIT 1',
      )
      .safeIntegers()
      .get()
    this.#lastTid = (last?.tid ?? TID_NONE) as Tid
    this.#nextOid = Number(last?.next_oid ?? 1n)
    this.#logEnd = Math.max(Number(last?.log_end ?? 0n), extendedLogEnd(db))
    this.#checkEnds(db)
  }

  /** An oid or a position that is used must never be given out again: what the last transaction says is not trusted alone. */
  #checkEnds(db: Database): void {
    const ends = db
      .prepare<[], { readonly tid: number; readonly oid: number; readonly pos: number }>(
        `SELECT coalesce((SELECT max(tid) FROM revision), 0) <= ${this.#lastTid} AS tid,
           coalesce((SELECT max(oid) FROM revision), 0) < ${this.#nextOid} AS oid,
           coalesce((SELECT pos + length(bytes) FROM log ORDER BY pos DESC LIMIT 1), 0) <= ${this.#logEnd} AS pos`,
      )
      .get()
    const wrong = Object.entries(ends ?? {}).find(([, isRight]) => isRight !== 1)
    if (wrong !== undefined)
      throw new StoreError(
        `the last transaction, ${formatTid(this.#lastTid)}, is damaged (its last ${wrong[0]} is not the last): ` +
          "run 'zblkfs fsck --repair' on the database",
      )
  }

  get lastTid(): Tid {
    return this.#lastTid
  }

  /** How many transactions were committed here. */
  get commits(): number {
    return this.#commits
  }

  /** The sum of their records' lengths. */
  get committedBytes(): number {
    return this.#committedBytes
  }

  get nextOid(): number {
    return this.#nextOid
  }

  /** Stores a transaction; on disk when this returns, absent when it throws. `reserved`: the first oid not given out. */
  commit(transaction: NewTransaction, reserved: number): Tid {
    if (transaction.changes.length === 0) return this.#lastTid
    const tid = this.#chooseTid(transaction.tid)
    this.#begin.run()
    try {
      const { nextOid, bytes } = this.#write(transaction, tid, reserved)
      this.#commit.run()
      this.#commits++
      this.#committedBytes += bytes
      this.#lastTid = tid
      this.#nextOid = nextOid
      this.#logEnd = this.#log.end
      return tid
    } catch (error) {
      // SQLite has rolled back by itself after some errors, and then refuses to do so again.
      try {
        this.#rollback.run()
      } catch {
        // Nothing is under way any more: what was to be reached.
      }
      throw error
    }
  }

  /**
   * Appends to the log within the caller's SQLite transaction; `append` gives the position. Where that transaction
   * fails afterwards, these positions are a gap.
   */
  extendLog(write: (append: (bytes: Uint8Array) => number) => void): void {
    this.#log.begin(this.#logEnd)
    write(bytes => {
      this.#log.startRun(bytes.length)
      const pos = this.#log.end
      this.#log.append(bytes)
      return pos
    })
    this.#log.flush()
    this.#noteLogEnd.run(LOG_END, this.#log.end)
    this.#logEnd = this.#log.end
  }

  #chooseTid(wanted: Tid | undefined): Tid {
    if (wanted === undefined) return nextTid(Date.now(), this.#lastTid)
    if (wanted > this.#lastTid) return wanted
    throw new StoreError(
      `transaction ${formatTid(wanted)} is not later than the last one, ${formatTid(this.#lastTid)}: ` +
        'copy transactions in their order into a database that has none later',
    )
  }

  /** Returns the oid from which on none is used, and the sum of the records' lengths. */
  #write(
    transaction: NewTransaction,
    tid: Tid,
    reserved: number,
  ): { readonly nextOid: number; readonly bytes: number } {
    this.#log.begin(this.#logEnd)
    let nextOid = Math.max(this.#nextOid, reserved)
    let bytes = 0
    for (const change of transaction.changes) {
      this.#checkConflict(change)
      const { head, pos, len, tail } = change.record === null ? UNCREATED : this.#place(change.record)
      const { oid } = change
      this.#insertRevision.run(oid, tid, rowSum(oid, tid, head, pos, len, tail), head, pos, len, tail)
      bytes += (head?.length ?? 0) + len + (tail?.length ?? 0)
      if (oid >= nextOid) nextOid = oid + 1
    }
    this.#log.flush()
    const { user = '', description = '', extension = NO_BYTES } = transaction
    const logEnd = this.#log.end
    const sum = transactionSum({ tid, user, description, extension, nextOid })
    const { length } = transaction.changes
    this.#insertTransaction.run(tid, user, description, extension, length, bytes, nextOid, logEnd, sum)
    return { nextOid, bytes }
  }

  #checkConflict({ oid, base }: ObjectChange): void {
    const current = oid >= this.#nextOid ? TID_NONE : ((this.#newest.get(oid) ?? TID_NONE) as Tid)
    if (current !== base) throw new ConflictError(oid, base, current)
  }

  #place({ head, body, tail = NO_BYTES }: RecordSource): Placed {
    if (body === undefined) return this.#placeParts(head, [], tail)
    if (!('oid' in body)) return this.#placeParts(head, body, tail)
    return this.#placeSlice(head, body, tail)
  }

  #placeParts(head: Uint8Array, body: readonly Uint8Array[], tail: Uint8Array): Placed {
    const len = totalLength(body)
    if (head.length + len + tail.length <= INLINE_BYTES) {
      const inline = tail.length + len === 0 ? head : Buffer.concat([head, ...body, tail])
      return { head: inline, pos: null, len: 0, tail: null }
    }
    // What does not fit into the row goes to the log; neighbouring bytes stay neighbours there.
    const logged = [...body]
    let rowHead: Uint8Array | null = head
    let rowTail: Uint8Array | null = tail
    if (head.length > INLINE_BYTES / 2) {
      logged.unshift(head)
      rowHead = NO_BYTES
    }
    if (tail.length > INLINE_BYTES / 2) {
      logged.push(tail)
      rowTail = null
    }
    const length = totalLength(logged)
    this.#log.startRun(length)
    const pos = this.#log.end
    for (const part of logged) this.#log.append(part)
    return { head: rowHead, pos, len: length, tail: rowTail !== null && rowTail.length > 0 ? rowTail : null }
  }

  /** Points to the bytes where they lie; copies them where they are not in the log as one run. */
  #placeSlice(head: Uint8Array, slice: RecordSlice, tail: Uint8Array): Placed {
    const source = this.#reader.find(slice.oid, slice.tid)
    if (source === undefined || source.tid !== slice.tid || source.head === null) {
      throw new ObjectNotFoundError(slice.oid, slice.tid)
    }
    if (slice.off < 0 || slice.len < 0 || slice.off + slice.len > recordSize(source)) {
      throw new StoreError(
        `bytes [${slice.off}, ${slice.off + slice.len}) are not within the ${recordSize(source)} bytes of the shared record`,
      )
    }
    const inLog = slice.off - source.head.length
    const shares = source.pos !== null && inLog >= 0 && inLog + slice.len <= source.len
    const fits = head.length <= INLINE_BYTES / 2 && tail.length <= INLINE_BYTES / 2
    if (!shares || !fits || slice.len <= INLINE_BYTES / 2) {
      this.#log.flush()
      return this.#placeParts(head, [this.#reader.readPart(source, slice.off, slice.len)], tail)
    }
    return {
      head,
      pos: (source.pos ?? 0) + inLog,
      len: slice.len,
      tail: tail.length > 0 ? tail : null,
    }
  }
}

const UNCREATED: Placed = { head: null, pos: null, len: 0, tail: null }

const totalLength = (parts: readonly Uint8Array[]): number =>
  parts.reduce((sum, part) => sum + part.length, 0)
