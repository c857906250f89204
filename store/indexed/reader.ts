/**
 * Reads records: rows from an index, bulk bytes from a Bulk. A call reads all its rows first, then all bytes as one
 * batch. If both are local, it completes without a turn of the event loop.
 *
 * All rows come from one snapshot of the index, but a Bulk has no snapshots: a pack may release the bytes of a row
 * between the two reads. So a call that finds damage looks everything up again before it reports it. Recently used rows
 * are cached, which is sound because a committed revision never changes.
 */
import type { Awaitable } from '../awaitable.ts'
import { NO_BYTES } from '../bytes.ts'
import { LRUCache } from 'lru-cache'
import { CorruptRecordError, ObjectNotFoundError, StoreError } from '../errors.ts'
import { oid as toOid, TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import { pagedTransactions } from '../paged-transactions.ts'
import { TOO_SHORT } from '../read-slices.ts'
import type {
  ChangeSet,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import { BulkDamageError, type BulkReader } from './bulk.ts'
import { throwDamage } from './bulk-damage.ts'
import type { Index, RevisionKey, RevisionRow } from './record-index.ts'
import { newBytes, partLength, planRead, RecordMemory, recordSize, type RecordRead } from './record-parts.ts'

/** Maximum number of cached rows: callers read parts of the same few long records many times. */
const RECENT_ROWS = 1024

/** Rows with more bytes than this are not cached. */
const RECENT_BYTES = 512

/** The number of rows in a page of a long list. */
const PAGE_ROWS = 1024

const LAST_OID = toOid(Number.MAX_SAFE_INTEGER)

export interface ReaderParts {
  readonly index: Index
  readonly bulk: BulkReader
  /** The store's name, for messages. */
  readonly name: string
  /** Converts an error of the index or bulk into one of errors.ts; returns other errors unchanged. */
  readonly explain: (error: unknown) => unknown
}

export class Reader {
  readonly #index: Index
  readonly #bulk: BulkReader
  readonly #name: string
  readonly #explain: (error: unknown) => unknown
  /** By oid. */
  readonly #recent = new LRUCache<Oid, RevisionRow>({ max: RECENT_ROWS })
  #isClosed = false

  constructor({ index, bulk, name, explain }: ReaderParts) {
    this.#index = index
    this.#bulk = bulk
    this.#name = name
    this.#explain = explain
  }

  /** After this every call rejects. */
  close(): void {
    this.#isClosed = true
  }

  async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    for (let isRetry = false; ; isRetry = true) {
      try {
        const found = this.#open().newest(oids, at)
        const rows = found instanceof Promise ? await found : found
        const memory = new RecordMemory(rows)
        const reads: RecordRead[] = []
        const records = rows.map(row => {
          const record = memory.plan(row, reads)
          return row === undefined || record === undefined ? undefined : { tid: row.tid, record }
        })
        const reading = this.#read(reads)
        if (reading !== undefined) await reading
        return records
      } catch (error) {
        if (isRetry || !isBulkDamage(error)) throw this.#explain(error)
      }
    }
  }

  /** As {@link ReadableStore.identities}: the bytes in the row, and the place of the rest, which copies share. */
  async identities(oids: readonly Oid[], at: Tid): Promise<readonly (string | undefined)[]> {
    const rows = await this.#ask(index => index.newest(oids, at))
    return rows.map(row => {
      if (row === undefined || row.head === null) return undefined
      const inRow = Buffer.concat([row.head, row.tail ?? NO_BYTES]).toString('latin1')
      return `${row.pos} ${row.len} ${row.head.length} ${inRow}`
    })
  }

  async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    for (let isRetry = false; ; isRetry = true) {
      try {
        const row = this.#recall(oid, at) ?? (await this.#find(oid, at))
        if (row === undefined || row.head === null) return undefined
        const length = partLength(row, off, len)
        const bytes = into?.subarray(0, length) ?? newBytes(length)
        const reads: RecordRead[] = []
        planRead(row, off, bytes, reads)
        const reading = this.#read(reads)
        if (reading !== undefined) await reading
        return { tid: row.tid, size: recordSize(row), bytes }
      } catch (error) {
        if (isRetry || !isBulkDamage(error)) throw this.#explain(error)
        this.#recent.delete(oid)
      }
    }
  }

  readSlices(slices: readonly SliceRead[]): Awaitable<void> {
    try {
      const reading = this.#readSlices(slices)
      return reading?.catch((error: unknown) => this.#readSlicesAgain(slices, error))
    } catch (error) {
      return this.#readSlicesAgain(slices, error)
    }
  }

  /** Looks the rows up again, if it was bulk bytes that were damaged. */
  async #readSlicesAgain(slices: readonly SliceRead[], error: unknown): Promise<void> {
    if (!isBulkDamage(error)) throw this.#explain(error)
    for (const { oid } of slices) this.#recent.delete(oid)
    try {
      await this.#readSlices(slices)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #readSlices(slices: readonly SliceRead[]): Awaitable<void> {
    const rows = slices.map(({ oid, tid }) => this.#recall(oid, tid))
    const finding = rows.includes(undefined) ? this.#findMissing(slices, rows) : undefined
    return finding === undefined
      ? this.#readParts(slices, rows)
      : finding.then(() => this.#readParts(slices, rows))
  }

  #readParts(slices: readonly SliceRead[], rows: readonly (RevisionRow | undefined)[]): Awaitable<void> {
    const reads: RecordRead[] = []
    for (const [index, { oid, tid, off, into }] of slices.entries()) {
      const row = rows[index]
      if (row === undefined || row.head === null) throw new ObjectNotFoundError(oid, tid)
      if (off + into.length > recordSize(row)) throw new CorruptRecordError(oid, tid, TOO_SHORT)
      planRead(row, off, into, reads)
    }
    return this.#read(reads)
  }

  revisions(oid: Oid, after: Tid, upTo: Tid): Promise<readonly Tid[]> {
    return this.#ask(index => index.revisions(oid, after, upTo))
  }

  lastTid(): Promise<Tid> {
    return this.#ask(index => index.lastTid())
  }

  transactions(range: TransactionRange): AsyncGenerator<TransactionInfo, void, undefined> {
    return pagedTransactions(range, PAGE_ROWS, (after, upTo, reverse, limit) =>
      this.#ask(index => index.transactions(after, upTo, reverse, limit)),
    )
  }

  /** The rows of revisions, as {@link Index.changes} lists them. A pack may have dropped some meanwhile. */
  async rows(after: RevisionKey, upTo: Tid, limit: number): Promise<readonly RevisionRow[]> {
    const keys = await this.#ask(index => index.changes(after, upTo, limit))
    const rows = keys.length === 0 ? [] : await this.#ask(index => index.find(keys))
    return rows.filter(row => row !== undefined)
  }

  async *changes(after: Tid = TID_NONE, upTo: Tid = TID_MAX): AsyncGenerator<ChangeSet, void, undefined> {
    for (let from = { tid: after, oid: LAST_OID }; ;) {
      const start = from
      const rows = await this.#ask(index => index.changes(start, upTo, PAGE_ROWS))
      let set: { readonly tid: Tid; readonly oids: Oid[] } | undefined
      for (const { tid, oid } of rows) {
        if (set?.tid !== tid) {
          if (set !== undefined) yield set
          set = { tid, oids: [] }
        }
        set.oids.push(oid)
        from = { tid, oid }
      }
      if (set !== undefined) yield set
      if (rows.length < PAGE_ROWS) return
    }
  }

  /** Runs `ask` on the index; rejects with the store's errors. */
  async #ask<T>(ask: (index: Index) => Awaitable<T>): Promise<T> {
    try {
      return await ask(this.#open())
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #open(): Index {
    if (this.#isClosed) throw new StoreError(`${this.#name} is closed`)
    return this.#index
  }

  /** The cached row of an object's revision by transaction `tid`. */
  #recall(oid: Oid, tid: Tid): RevisionRow | undefined {
    const row = this.#isClosed ? undefined : this.#recent.get(oid)
    return row?.tid === tid ? row : undefined
  }

  async #find(oid: Oid, at: Tid): Promise<RevisionRow | undefined> {
    const found = this.#open().newest([oid], at)
    const [row] = found instanceof Promise ? await found : found
    this.#remember(row)
    return row
  }

  /** Fills in missing rows. */
  #findMissing(keys: readonly RevisionKey[], rows: (RevisionRow | undefined)[]): Promise<void> | undefined {
    const missing = keys.filter((_, index) => rows[index] === undefined)
    const fillIn = (found: Iterable<RevisionRow | undefined>): void => {
      const list = found[Symbol.iterator]()
      for (const [index, row] of rows.entries()) {
        if (row !== undefined) continue
        rows[index] = list.next().value
        this.#remember(rows[index])
      }
    }
    const found = this.#open().find(missing)
    if (found instanceof Promise) return found.then(fillIn)
    fillIn(found)
    return undefined
  }

  #remember(row: RevisionRow | undefined): void {
    if (row !== undefined && row.pos !== null && recordSize(row) - row.len <= RECENT_BYTES)
      this.#recent.set(row.oid, row)
  }

  /** @throws CorruptRecordError with a BulkDamageError as its cause. */
  #read(reads: readonly RecordRead[]): Awaitable<void> {
    if (reads.length === 0) return
    try {
      const reading = this.#bulk.read(reads)
      return reading?.catch((error: unknown) => throwDamage(this.#bulk, reads, error))
    } catch (error) {
      return throwDamage(this.#bulk, reads, error)
    }
  }
}

const isBulkDamage = (error: unknown): boolean =>
  error instanceof CorruptRecordError && error.cause instanceof BulkDamageError
