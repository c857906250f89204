/**
 * Everything that is read from a database, over one connection, synchronously: a read of what SQLite or the kernel
 * has in memory costs microseconds, less than handing it to another thread.
 *
 * `load` looks neighbouring oids up with one query and reads the bytes of neighbouring records with one call, as
 * they were written one after the other. Each call reads one state of the database, or a revision that it knows; but bytes of the log that a pack
 * gives back meanwhile are gone. Then all is looked up once more, before it is called damage.
 */
import type { Database, Statement } from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import { CorruptRecordError, ObjectNotFoundError, StoreError } from '../errors.ts'
import { formatTid, oid as toOid, TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import { TOO_SHORT } from '../read-slices.ts'
import type {
  ChangeSet,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import type { Added } from '../capabilities.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import { rowSum, transactionSum } from './row-sums.ts'
import type { LogFiles } from '../segment-files/log-files.ts'
import { logFilesOf } from './log.ts'
import { LogReader } from '../segment-files/log-reader.ts'
import { madeGarbage } from '../gc-pacing.ts'

/** Fewer neighbours than this are looked up one by one. */
const RANGE_OIDS = 4

/** How many rows of other states a range query may read. */
const OTHER_ROWS = 64

/** Records whose bytes lie together are read at once, in spans of this length at most: a block's. */
const SPAN_BYTES = 2 << 20

/** What a record that is kept may keep alive beside itself. */
const SLAB_BYTES = 32_768

/** Where so many long records lie is remembered: a caller who reads parts of one asks for it again and again. */
const RECENT_RECORDS = 1024

/** What such a record may have outside of the log. */
const RECENT_BYTES = 512

const NO_BYTES = new Uint8Array(0)

/** How many rows of a long list are read at a time. */
const BATCH_ROWS = 1024

/** A row of `revision`, numbers as SQLite's REAL so that only the tid becomes a bigint. */
type RevisionRow = [
  oid: number,
  tid: bigint,
  sum: number,
  head: Buffer | null,
  pos: number | null,
  len: number,
  tail: Buffer | null,
]
const ROW = 'CAST(oid AS REAL), tid, CAST(sum AS REAL), head, CAST(pos AS REAL), CAST(len AS REAL), tail'

/** A row of `txn`, as it is selected. */
type TransactionRow = [
  tid: bigint,
  user: string,
  description: string,
  extension: Buffer,
  objects: number,
  bytes: number,
  nextOid: number,
  sum: number,
  logEnd: number,
  stored: number,
]

/** Where a record is, checked. */
export interface StoredRecord {
  readonly oid: Oid
  readonly tid: Tid
  /** Null: the object was un-created. */
  readonly head: Uint8Array | null
  readonly pos: number | null
  readonly len: number
  readonly tail: Uint8Array | null
}

/** A record's whole length in bytes. */
export const recordSize = (record: StoredRecord): number =>
  (record.head?.length ?? 0) + record.len + (record.tail?.length ?? 0)

/** A range of the log to be read for a record. */
interface LoggedRead {
  readonly record: StoredRecord
  readonly pos: number
  readonly into: Uint8Array
}

/** Sorts ranges by position; those that follow one another in the log and in memory become one. */
function merged(reads: LoggedRead[]): readonly LoggedRead[] {
  if (reads.length < 2) return reads
  const ranges: LoggedRead[] = []
  for (const read of reads.sort((a, b) => a.pos - b.pos)) {
    const last = ranges.at(-1)
    const { pos, into } = read
    const follows =
      last !== undefined &&
      last.record.pos === read.record.pos &&
      last.pos + last.into.length === pos &&
      last.into.buffer === into.buffer &&
      last.into.byteOffset + last.into.length === into.byteOffset
    if (follows) {
      const joined = new Uint8Array(into.buffer, last.into.byteOffset, last.into.length + into.length)
      ranges[ranges.length - 1] = { ...last, into: joined }
    } else ranges.push(read)
  }
  return ranges
}

function checked(row: RevisionRow): StoredRecord {
  const [oid, tid, sum, head, pos, len, tail] = row
  if (typeof tid !== 'bigint' || typeof oid !== 'number')
    throw new StoreError('an entry of the index has no object and transaction', { code: 'damaged' })
  if (rowSum(oid, tid, head, pos, len, tail) !== sum) {
    throw new CorruptRecordError(oid as Oid, tid as Tid, 'the checksum of its index entry differs')
  }
  return { oid: oid as Oid, tid: tid as Tid, head, pos, len, tail }
}

export class Reader {
  readonly #db: Database
  readonly #files: LogFiles
  readonly #log: LogReader
  /** For the bytes of several records, before they are copied apart. */
  #span = NO_BYTES
  /** By oid; what it knows stays true, as a transaction's state of an object is never another. */
  readonly #recent = new LRUCache<Oid, StoredRecord>({ max: RECENT_RECORDS })
  readonly #point: Statement<[number, bigint], RevisionRow>
  readonly #range: Statement<[number, number, number], RevisionRow>
  readonly #revisions: Statement<[number, bigint, bigint], bigint>
  readonly #last: Statement<[], bigint>
  readonly #newest: Statement<[bigint], bigint>
  readonly #changes: Statement<[bigint, number, bigint, number], [tid: bigint, oid: number]>
  readonly #transactions: Record<'up' | 'down', Statement<[bigint, bigint, number]>>
  readonly #added: Statement<[bigint, bigint], [stored: number, objects: number]>
  readonly #begin: Statement
  readonly #end: Statement

  /** @param files the log's, where the caller has them open; else they are opened here, and {@link close} closes them. */
  constructor(db: Database, files: LogFiles = logFilesOf(db, 'read')) {
    this.#db = db
    this.#files = files
    this.#log = new LogReader(files)
    this.#point = db
      .prepare<[number, bigint], RevisionRow>(
        // The index's order, newest first: asking for it with ORDER BY doubles the time of a look-up.
        `SELECT ${ROW} FROM revision INDEXED BY revision_by_oid WHERE oid = ? AND tid <= ? LIMIT 1`,
      )
      .safeIntegers()
      .raw(true)
    this.#range = db
      .prepare<[number, number, number], RevisionRow>(
        `SELECT ${ROW} FROM revision INDEXED BY revision_by_oid
         WHERE oid >= ? AND oid <= ? ORDER BY oid, tid DESC LIMIT ?`,
      )
      .safeIntegers()
      .raw(true)
    this.#revisions = db
      .prepare<[number, bigint, bigint], bigint>(
        `SELECT tid FROM revision INDEXED BY revision_by_oid
         WHERE oid = ? AND tid > ? AND tid <= ? ORDER BY tid DESC`,
      )
      .safeIntegers()
      .pluck()
    this.#last = db.prepare<[], bigint>('SELECT max(tid) FROM txn').safeIntegers().pluck()
    this.#newest = db
      .prepare<[bigint], bigint>('SELECT max(tid) FROM revision INDEXED BY revision_by_tid WHERE tid <= ?')
      .safeIntegers()
      .pluck()
    this.#changes = db
      .prepare<[bigint, number, bigint, number], [bigint, number]>(
        `SELECT tid, CAST(oid AS REAL) FROM revision INDEXED BY revision_by_tid
         WHERE (tid, oid) > (?, ?) AND tid <= ? ORDER BY tid, oid LIMIT ?`,
      )
      .safeIntegers()
      .raw(true)
    const transactions = (order: string): Statement<[bigint, bigint, number]> =>
      db
        .prepare<[bigint, bigint, number]>(
          `SELECT tid, user, description, extension, CAST(objects AS REAL), CAST(bytes AS REAL),
             CAST(next_oid AS REAL), CAST(sum AS REAL),
             CAST(log_end AS REAL), CAST(stored AS REAL)
           FROM txn WHERE tid > ? AND tid <= ? ORDER BY tid ${order} LIMIT ?`,
        )
        .safeIntegers()
        .raw(true)
    this.#transactions = { up: transactions('ASC'), down: transactions('DESC') }
    this.#added = db
      .prepare<[bigint, bigint], [number, number]>(
        'SELECT total(stored), total(objects) FROM txn WHERE tid > ? AND tid <= ?',
      )
      .raw(true)
    this.#begin = db.prepare('BEGIN')
    this.#end = db.prepare('COMMIT')
  }

  close(): void {
    this.#files.close()
  }

  lastTid(): Tid {
    return this.#inOneState(() => {
      const last = (this.#last.get() ?? TID_NONE) as Tid
      this.#checkNewest(last, TID_MAX)
      return last
    })
  }

  /** An earlier moment must not be taken for one whose transaction's entry is damaged. */
  #checkNewest(found: Tid, upTo: bigint): void {
    const newest = (this.#newest.get(upTo) ?? TID_NONE) as Tid
    if (newest > found) throw damagedTransaction(newest)
  }

  load(oids: readonly Oid[], at: Tid): readonly (Revision | undefined)[] {
    const read = (): (Revision | undefined)[] => {
      const records = this.#find(oids, at)
      const slabs = new Slabs(records)
      const found = records.map(record =>
        record === undefined || record.head === null ? undefined : assemble(record, slabs),
      )
      this.#readLogged(records, found)
      return found.map((bytes, index) => {
        const tid = records[index]?.tid
        return bytes === undefined || tid === undefined ? undefined : { tid, record: bytes }
      })
    }
    // One query sees one state by itself.
    return oids.length === 1 ? twiceOnLogDamage(read) : this.#inOneState(read)
  }

  loadPart(oid: Oid, at: Tid, off: number, len: number, into?: Uint8Array): RevisionPart | undefined {
    const known = this.#recent.get(oid)
    if (known?.tid === at) {
      try {
        return this.#part(known, off, len, into)
      } catch (error) {
        // A pack may have given it up since; if not, it is looked up and fails once more.
        if (!isLogDamage(error)) throw error
        this.#recent.delete(oid)
      }
    }
    return twiceOnLogDamage(() => {
      const record = this.find(oid, at)
      if (record === undefined || record.head === null) return undefined
      const part = this.#part(record, off, len, into)
      if (record.pos !== null && part.size - record.len <= RECENT_BYTES) this.#recent.set(oid, record)
      return part
    })
  }

  /** As {@link Store.readSlices}: rows first, then the log in the order of its bytes. */
  readSlices(reads: readonly SliceRead[]): void {
    const read = (): void => {
      const logged: LoggedRead[] = []
      for (const slice of reads) this.#readSlice(slice, logged)
      try {
        for (const range of merged(logged))
          reportDamage(range.record, () => this.#log.read(range.pos, range.into))
      } catch (error) {
        // A pack may have released these places since they were remembered.
        for (const { oid } of reads) this.#recent.delete(oid)
        throw error
      }
    }
    // One query sees one state by itself.
    if (reads.length === 1) twiceOnLogDamage(read)
    else this.#inOneState(read)
  }

  #readSlice({ oid, tid, off, into }: SliceRead, logged: LoggedRead[]): void {
    const known = this.#recent.get(oid)
    const record = known?.tid === tid ? known : this.find(oid, tid)
    if (record?.tid !== tid || record.head === null) throw new ObjectNotFoundError(oid, tid)
    const size = recordSize(record)
    if (off + into.length > size) throw new CorruptRecordError(oid, tid, TOO_SHORT)
    if (record.pos !== null && record !== known && size - record.len <= RECENT_BYTES)
      this.#recent.set(oid, record)
    const { head, tail, pos, len } = record
    const end = off + into.length
    if (off < head.length) into.set(head.subarray(off, end))
    const tailStart = head.length + len
    if (tail !== null && end > tailStart) {
      const from = Math.max(off, tailStart)
      into.set(tail.subarray(from - tailStart, end - tailStart), from - off)
    }
    const lo = Math.max(off, head.length)
    const hi = Math.min(end, tailStart)
    if (pos !== null && lo < hi)
      logged.push({ record, pos: pos + lo - head.length, into: into.subarray(lo - off, hi - off) })
  }

  #part(record: StoredRecord, off: number, len: number, into?: Uint8Array): RevisionPart {
    return { tid: record.tid, size: recordSize(record), bytes: this.readPart(record, off, len, into) }
  }

  /** The newest state with `tid <= at`, without its bytes in the log. */
  find(oid: Oid, at: Tid): StoredRecord | undefined {
    const row = this.#point.get(oid, at)
    return row === undefined ? undefined : checked(row)
  }

  /** Bytes `[off, off + len)` of a record, cut at its end; in `into`, where that is given. */
  readPart(record: StoredRecord, off: number, len: number, into?: Uint8Array): Uint8Array {
    const head = record.head ?? NO_BYTES
    const tail = record.tail ?? NO_BYTES
    const end = Math.min(off + len, recordSize(record))
    const length = Math.max(0, end - off)
    const bytes = into?.subarray(0, length) ?? newBytes(length)
    if (off < head.length) bytes.set(head.subarray(off, end))
    const lo = Math.max(off, head.length)
    const hi = Math.min(end, head.length + record.len)
    if (record.pos !== null && lo < hi) {
      const pos = record.pos + lo - head.length
      reportDamage(record, () => this.#log.read(pos, bytes.subarray(lo - off, hi - off)))
    }
    const tailStart = head.length + record.len
    if (end > tailStart) {
      const from = Math.max(0, off - tailStart)
      bytes.set(tail.subarray(from, end - tailStart), tailStart + from - off)
    }
    return bytes
  }

  revisions(oid: Oid, after: Tid, upTo: Tid): readonly Tid[] {
    return this.#revisions.all(oid, after, upTo) as Tid[]
  }

  /** What the transactions `(after, upTo]` added. */
  added(after: Tid, upTo: Tid): Added {
    const [storedBytes, revisions] = this.#added.get(after, upTo) ?? [0, 0]
    return { storedBytes, revisions }
  }

  /** Transactions in batches, so that a caller who stops early, or takes long, holds nothing. */
  *transactions(range: TransactionRange): Generator<TransactionInfo> {
    const { reverse = false, limit = Number.POSITIVE_INFINITY } = range
    let after: bigint = range.after ?? TID_NONE
    let upTo: bigint = range.upTo ?? TID_MAX
    let left = limit
    while (left > 0) {
      const count = Math.min(left, BATCH_ROWS)
      const rows = this.#inOneState(() => {
        const batch = this.#transactions[reverse ? 'down' : 'up'].all(after, upTo, count) as TransactionRow[]
        if (reverse && after < upTo) this.#checkNewest((batch[0]?.[0] ?? after) as Tid, upTo)
        return batch
      })
      for (const [tid, user, description, extension, objects, bytes, nextOid, sum, logEnd, stored] of rows) {
        if (transactionSum({ tid, user, description, extension, nextOid, logEnd, stored }) !== sum)
          throw damagedTransaction(tid as Tid)
        yield { tid: tid as Tid, user, description, extension, objects, bytes }
        if (reverse) upTo = tid - 1n
        else after = tid
      }
      if (rows.length < count) return
      left -= rows.length
    }
  }

  *changes(after: Tid, upTo: Tid): Generator<ChangeSet> {
    let tid: bigint = after
    let oid = Number.MAX_SAFE_INTEGER
    for (;;) {
      const rows = this.#changes.all(tid, oid, upTo, BATCH_ROWS)
      let set: { tid: Tid; oids: Oid[] } | undefined
      for (const [rowTid, rowOid] of rows) {
        if (set?.tid !== rowTid) {
          if (set !== undefined) yield set
          set = { tid: rowTid as Tid, oids: [] }
        }
        set.oids.push(rowOid as Oid)
        tid = rowTid
        oid = rowOid
      }
      if (set !== undefined) yield set
      if (rows.length < BATCH_ROWS) return
    }
  }

  #find(oids: readonly Oid[], at: Tid): (StoredRecord | undefined)[] {
    const found: (StoredRecord | undefined)[] = oids.map(() => undefined)
    let start = 0
    while (start < oids.length) {
      let end = start + 1
      while (end < oids.length && oids[end] === (oids[end - 1] ?? 0) + 1) end++
      const first = oids[start] ?? toOid(0)
      if (end - start < RANGE_OIDS) {
        for (let index = start; index < end; index++) found[index] = this.find(oids[index] ?? first, at)
      } else {
        this.#findRange(first, end - start, at, start, found)
      }
      start = end
    }
    return found
  }

  /**
   * Looks `count` neighbouring oids up by reading their newest rows. Where these are mostly other states than
   * the one asked for, as in a long history, it costs less to look for the rest one by one.
   */
  #findRange(first: Oid, count: number, at: Tid, index: number, found: (StoredRecord | undefined)[]): void {
    const limit = count + OTHER_ROWS
    const rows = this.#range.all(first, first + count - 1, limit)
    let next: number = first
    for (const row of rows) {
      const [oid, tid] = row
      if (oid < next || tid > at) continue
      found[index + oid - first] = checked(row)
      next = oid + 1
    }
    if (rows.length < limit) return
    for (; next < first + count; next++) found[index + next - first] = this.find(toOid(next), at)
  }

  /** Reads what the records have in the log into their places: one read for those that lie together. */
  #readLogged(
    records: readonly (StoredRecord | undefined)[],
    found: readonly (Uint8Array | undefined)[],
  ): void {
    let start = 0
    while (start < records.length) {
      const first = records[start]
      let end = start + 1
      if (first !== undefined && first.pos !== null) {
        let length = first.len
        for (; end < records.length; end++) {
          const next = records[end]
          if (next === undefined || next.pos !== first.pos + length || length + next.len > SPAN_BYTES) break
          length += next.len
        }
        if (end === start + 1 || !this.#readSpan(first.pos, length, records, found, start, end)) {
          for (let index = start; index < end; index++) this.#readOne(records[index], found[index])
        }
      }
      start = end
    }
  }

  /** False where something in it is damaged: then each record is read by itself, to tell whose it is. */
  #readSpan(
    pos: number,
    length: number,
    records: readonly (StoredRecord | undefined)[],
    found: readonly (Uint8Array | undefined)[],
    start: number,
    end: number,
  ): boolean {
    if (this.#span.length < length) this.#span = Buffer.allocUnsafeSlow(SPAN_BYTES)
    try {
      this.#log.read(pos, this.#span.subarray(0, length))
    } catch (error) {
      if (error instanceof BulkDamageError) return false
      throw error
    }
    for (let index = start, off = 0; index < end; index++) {
      const record = records[index]
      const len = record?.len ?? 0
      found[index]?.set(this.#span.subarray(off, off + len), record?.head?.length)
      off += len
    }
    return true
  }

  #readOne(record: StoredRecord | undefined, bytes: Uint8Array | undefined): void {
    if (record === undefined || record.pos === null || bytes === undefined) return
    const { pos, len, head } = record
    const off = head?.length ?? 0
    reportDamage(record, () => this.#log.read(pos, bytes.subarray(off, off + len)))
  }

  #inOneState<T>(read: () => T): T {
    return twiceOnLogDamage(() => this.#inTransaction(read))
  }

  #inTransaction<T>(read: () => T): T {
    this.#begin.run()
    try {
      return read()
    } finally {
      // Some errors end the transaction by themselves; ending it again would hide them.
      if (this.#db.inTransaction) this.#end.run()
    }
  }
}

const isLogDamage = (error: unknown): boolean =>
  error instanceof CorruptRecordError && error.cause instanceof BulkDamageError

/** Bytes that a pack has given back meanwhile belong to a state that is no more: the next look does not find it. */
function twiceOnLogDamage<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!isLogDamage(error)) throw error
    return read()
  }
}

const damagedTransaction = (tid: Tid): StoreError =>
  new StoreError(`the entry of transaction ${formatTid(tid)} is damaged`, { code: 'damaged' })

/** A record without its bytes in the log: room for them is between its head and its tail. */
function assemble(record: StoredRecord, slabs: Slabs): Uint8Array {
  const head = record.head ?? NO_BYTES
  if (record.pos === null && record.tail === null) return head
  const bytes = slabs.take(recordSize(record))
  bytes.set(head)
  if (record.tail !== null) bytes.set(record.tail, head.length + record.len)
  return bytes
}

function newBytes(length: number): Buffer<ArrayBuffer> {
  madeGarbage(length)
  return Buffer.allocUnsafeSlow(length)
}

function reportDamage<T>(record: StoredRecord, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof BulkDamageError)) throw error
    throw new CorruptRecordError(record.oid, record.tid, error.message, { cause: error })
  }
}

/**
 * Memory for the records of one call: several short ones share an allocation, as a block's chunks are many and go
 * as they came, together.
 */
class Slabs {
  #left: number
  #slab = NO_BYTES

  constructor(records: readonly (StoredRecord | undefined)[]) {
    this.#left = 0
    for (const record of records) if (record !== undefined) this.#left += recordSize(record)
  }

  take(length: number): Uint8Array {
    if (length > this.#slab.length) {
      this.#slab = newBytes(Math.max(length, Math.min(SLAB_BYTES, this.#left)))
    }
    const bytes = this.#slab.subarray(0, length)
    this.#slab = this.#slab.subarray(length)
    this.#left -= length
    return bytes
  }
}
