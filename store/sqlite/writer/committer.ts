/**
 * Writes transactions over a connection of its own, in the worker thread. The next one is begun when the last one has ended.
 *
 * A record goes where it is read best: what is short into its row, a bulk body into the log. The log is synced before
 * SQLite commits, so no transaction that is there points to bytes that are not. What the last transaction left behind
 * (`#lastTid`, `#nextOid`, `#logEnd`) is kept here and changes when a commit has succeeded, never before: nobody else
 * writes these.
 */
import type { Database, Statement } from 'better-sqlite3'
import { ConflictError, ObjectNotFoundError, StoreError } from '../../errors.ts'
import { formatTid, nextTid, TID_NONE, type Tid } from '../../ids.ts'
import type { NewTransaction, ObjectChange, RecordSlice, RecordSource } from '../../store.ts'
import { UNIT_BYTES } from '../../indexed/frame.ts'
import { rowSum, transactionSum } from '../row-sums.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { LogWriter } from '../../segment-files/log-writer.ts'
import { concat, draftOf, type Draft, totalLength } from './placement.ts'
import { Reader, recordSize } from '../reader.ts'
import { INLINE_TRANSACTION_BYTES } from '../schema.ts'
import { isFull } from '../sqlite-errors.ts'

const NO_BYTES = new Uint8Array(0)

/** A row of `revision` without its key. */
interface Placed {
  readonly head: Uint8Array | null
  readonly pos: number | null
  readonly len: number
  readonly tail: Uint8Array | null
}

interface LastTransaction {
  readonly tid: bigint
  readonly user: string
  readonly description: string
  readonly extension: Buffer
  readonly next_oid: bigint
  readonly log_end: bigint
  readonly stored: bigint
  readonly sum: bigint
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
    [bigint, string, string, Uint8Array, number, number, number, number, number, number]
  >
  #lastTid: Tid
  /** No object with this oid or a later one has a revision. */
  #nextOid: number
  #logEnd: number
  #commits = 0
  #committedBytes = 0

  constructor(db: Database, files: LogFiles) {
    this.#reader = new Reader(db, files)
    this.#log = new LogWriter(files)
    this.#begin = db.prepare('BEGIN IMMEDIATE')
    this.#commit = db.prepare('COMMIT')
    this.#rollback = db.prepare('ROLLBACK')
    this.#newest = db
      .prepare<[number], bigint>('SELECT tid FROM revision INDEXED BY revision_by_oid WHERE oid = ? LIMIT 1')
      .safeIntegers()
      .pluck()
    this.#insertRevision = db.prepare(
      'INSERT INTO revision (oid, tid, sum, head, pos, len, tail) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#insertTransaction = db.prepare(
      `INSERT INTO txn (tid, user, description, extension, objects, bytes, next_oid, log_end, stored, sum)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    const last = db
      .prepare<[], LastTransaction>('SELECT * FROM txn ORDER BY tid DESC LIMIT 1')
      .safeIntegers()
      .get()
    this.#lastTid = (last?.tid ?? TID_NONE) as Tid
    this.#nextOid = Number(last?.next_oid ?? 1n)
    this.#logEnd = Number(last?.log_end ?? 0n)
    this.#checkEnds(db, last)
    this.#log.begin(this.#logEnd)
  }

  /** An oid or a position that is used must never be given out again: what the last transaction says is not trusted alone. */
  #checkEnds(db: Database, last: LastTransaction | undefined): void {
    const ends = db
      .prepare<[], { readonly tid: number; readonly oid: number }>(
        `SELECT coalesce((SELECT max(tid) FROM revision), 0) <= ${this.#lastTid} AS tid,
           coalesce((SELECT max(oid) FROM revision), 0) < ${this.#nextOid} AS oid`,
      )
      .get()
    const [nextOid, logEnd, stored] = [this.#nextOid, this.#logEnd, Number(last?.stored ?? 0n)]
    const isSummed =
      last === undefined || transactionSum({ ...last, nextOid, logEnd, stored }) === Number(last.sum)
    const rights = Object.entries({ ...ends, checksum: isSummed ? 1 : 0 })
    const wrong = rights.find(([, isRight]) => isRight !== 1)
    if (wrong !== undefined)
      throw new StoreError(
        `the last transaction, ${formatTid(this.#lastTid)}, is damaged (its ${wrong[0]} is wrong)`,
        { code: 'damaged-index' },
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

  /** Stores a transaction; on disk when this resolves, absent when it rejects. `reserved`: the first oid not given out. */
  async commit(transaction: NewTransaction, reserved: number): Promise<Tid> {
    if (transaction.changes.length === 0) return this.#lastTid
    const tid = this.#chooseTid(transaction.tid)
    let isInDoubt = false
    this.#begin.run()
    try {
      const { nextOid, bytes } = await this.#write(transaction, tid, reserved)
      await this.#log.sync()
      isInDoubt = true
      this.#commit.run()
      this.#commits++
      this.#committedBytes += bytes
      this.#lastTid = tid
      this.#nextOid = nextOid
      this.#logEnd = this.#log.end
      return tid
    } catch (error) {
      await this.#log.settle()
      // SQLite has rolled back by itself after some errors, and then refuses to do so again.
      try {
        this.#rollback.run()
      } catch {
        // Nothing is under way any more: what was to be reached.
      }
      // What could not be synced may be found by the next process all the same: it must not find later bytes there.
      if (isInDoubt && !isFull(error)) this.#logEnd = this.#log.end
      try {
        // A full disk gets its room back.
        this.#log.begin(this.#logEnd)
      } catch {
        // The next transaction tries again.
      }
      throw error
    }
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
  async #write(
    transaction: NewTransaction,
    tid: Tid,
    reserved: number,
  ): Promise<{ readonly nextOid: number; readonly bytes: number }> {
    this.#log.begin(this.#logEnd)
    const drafts = transaction.changes.map(change => {
      this.#checkConflict(change)
      return change.record === null ? undefined : this.#draft(change.record)
    })
    const unitBytes = drafts.reduce((sum, draft) => sum + (draft ? totalLength(draft.units) : 0), 0)
    const isInRows = unitBytes < INLINE_TRANSACTION_BYTES
    let nextOid = Math.max(this.#nextOid, reserved)
    let bytes = 0
    let stored = unitBytes
    for (const [index, draft] of drafts.entries()) {
      const oid = transaction.changes[index]?.oid ?? 0
      const { head, pos, len, tail } = await this.#place(draft, isInRows)
      this.#insertRevision.run(oid, tid, rowSum(oid, tid, head, pos, len, tail), head, pos, len, tail)
      bytes += (head?.length ?? 0) + len + (tail?.length ?? 0)
      stored += (draft?.head.length ?? 0) + (draft?.tail.length ?? 0)
      if (oid >= nextOid) nextOid = oid + 1
    }
    const { user = '', description = '', extension = NO_BYTES } = transaction
    const logEnd = this.#log.end
    const sum = transactionSum({ tid, user, description, extension, nextOid, logEnd, stored })
    const { length } = drafts
    this.#insertTransaction.run(
      tid,
      user,
      description,
      extension,
      length,
      bytes,
      nextOid,
      logEnd,
      stored,
      sum,
    )
    return { nextOid, bytes }
  }

  #checkConflict({ oid, base }: ObjectChange): void {
    const current = oid >= this.#nextOid ? TID_NONE : ((this.#newest.get(oid) ?? TID_NONE) as Tid)
    if (current !== base) throw new ConflictError(oid, base, current)
  }

  #draft({ head, body, tail = NO_BYTES }: RecordSource): Draft {
    if (body === undefined) return draftOf(head, [], tail)
    if (!('oid' in body)) return draftOf(head, body, tail)
    return this.#draftSlice(head, body, tail)
  }

  /** Points to the bytes in the log where they lie; copies what is in a row, or too short to be worth a pointer. */
  #draftSlice(head: Uint8Array, slice: RecordSlice, tail: Uint8Array): Draft {
    const source = this.#reader.find(slice.oid, slice.tid)
    if (source === undefined || source.tid !== slice.tid || source.head === null) {
      throw new ObjectNotFoundError(slice.oid, slice.tid)
    }
    const end = slice.off + slice.len
    if (slice.off < 0 || slice.len < 0 || end > recordSize(source)) {
      throw new StoreError(
        `bytes [${slice.off}, ${end}) are not within the ${recordSize(source)} bytes of the shared record`,
      )
    }
    const logStart = source.head.length
    const lo = Math.max(slice.off, logStart)
    const hi = Math.min(end, logStart + source.len)
    const read = (from: number, to: number): Uint8Array =>
      this.#reader.readPart(source, from, Math.max(0, to - from))
    if (source.pos === null || hi - lo < UNIT_BYTES) return draftOf(head, [read(slice.off, end)], tail)
    const before = concat(head, read(slice.off, lo))
    const after = concat(read(hi, end), tail)
    if (before.length >= 2 * UNIT_BYTES || after.length >= 2 * UNIT_BYTES)
      return draftOf(head, [read(slice.off, end)], tail)
    return { head: before, tail: after, units: [], shared: { pos: source.pos + lo - logStart, len: hi - lo } }
  }

  async #place(draft: Draft | undefined, isInRow: boolean): Promise<Placed> {
    if (draft === undefined) return UNCREATED
    const { head, tail, units } = draft
    if (isInRow || units.length === 0) return inRow(draft)
    const pos = this.#log.end
    await this.#log.append(units)
    return { head, pos, len: this.#log.end - pos, tail: tail.length > 0 ? tail : null }
  }
}

const UNCREATED: Placed = { head: null, pos: null, len: 0, tail: null }

function inRow({ head, tail, units, shared }: Draft): Placed {
  if (shared === undefined) return { head: concat(head, ...units, tail), pos: null, len: 0, tail: null }
  return { head, ...shared, tail: tail.length > 0 ? tail : null }
}
