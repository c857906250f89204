/**
 * The contract of an object store: a map from (oid, tid) to a record, and from tid to a transaction.
 *
 * - **Revisions are immutable.** A record, once committed, never changes; a later transaction adds a later
 *   revision of the same oid. `load(oids, at)` returns for each oid the newest revision with `tid <= at`.
 * - **Reads see whole transactions.** What `load` returns for one `at <= lastTid` never changes (until a pack
 *   forgets that moment); no read sees part of a transaction.
 * - **Commits are atomic and durable.** When `commit` has resolved, the transaction survives a crash of the
 *   process, the kernel and the machine; when it rejected, or the process died, none of it is stored.
 * - **Tids increase strictly** in the order of commits. A tid is a time; after the clock was set back, tids advance
 *   at half its rate until it has caught up (timeline.ts).
 * - **One writer.** One open writable store per database among all processes, and any number of readers.
 * - **Records are opaque bytes**, of any length from 0. What they mean is core's concern.
 * - Ranges of tids are half-open below: `(after, upTo]`.
 *
 * Reads may run concurrently with any other method, including a commit. The store queues commits and runs them one
 * at a time. After `close` every method rejects.
 *
 * `test/store/contract/` has the tests of this contract; every store passes them, a read-only store the reading part.
 */
import type { Awaitable } from './awaitable.ts'
import type { Capabilities } from './capabilities.ts'
import type { ObjectChange } from './changes.ts'
import type { Oid, Tid } from './ids.ts'

/** One state of one object. */
export interface Revision {
  /** The transaction that wrote it. */
  readonly tid: Tid
  /** The record. The caller may keep it and must not change it. */
  readonly record: Uint8Array
}

/** Some bytes of one state of one object. */
export interface RevisionPart {
  readonly tid: Tid
  /** The record's whole length in bytes. */
  readonly size: number
  /** The requested bytes `[off, off + len)`, cut at `size`. */
  readonly bytes: Uint8Array
}

/** A read of bytes `[off, off + into.length)` of the record of `oid` as written by transaction `tid`. */
export interface SliceRead {
  readonly oid: Oid
  readonly tid: Tid
  readonly off: number
  /** Receives the bytes. */
  readonly into: Uint8Array
}

/** Oids `[first, first + count)`. */
export interface OidRange {
  readonly first: Oid
  readonly count: number
}

/** A transaction to be committed. */
export interface NewTransaction {
  readonly changes: readonly ObjectChange[]
  readonly description?: string
  readonly user?: string
  /** Opaque bytes kept with the transaction (ZODB's `extension` pickle). */
  readonly extension?: Uint8Array
  /** The tid of a transaction copied from another database. It must be later than `lastTid`. */
  readonly tid?: Tid
}

/** The metadata of a committed transaction. */
export interface TransactionInfo {
  readonly tid: Tid
  readonly user: string
  readonly description: string
  readonly extension: Uint8Array
  /** The number of objects that it changed (those whose revisions are still kept). */
  readonly objects: number
  /** The sum of its records' lengths in bytes (those still kept). */
  readonly bytes: number
}

/** Transactions `(after, upTo]`, oldest first, or newest first if `reverse`. */
export interface TransactionRange {
  readonly after?: Tid
  readonly upTo?: Tid
  readonly reverse?: boolean
  readonly limit?: number
}

/** The objects that one transaction changed. A large transaction is split into several consecutive sets with the same tid. */
export interface ChangeSet {
  readonly tid: Tid
  readonly oids: readonly Oid[]
}

/** The methods of every store. */
export interface ReadableStore {
  /** The database's name in messages, usually its path. */
  readonly name: string

  /** Whether the database belongs to another program, so that its objects do not form a zblkfs filesystem. */
  readonly isForeign: boolean

  /** Optional features ({@link Capabilities}). */
  readonly capabilities: Capabilities

  /**
   * The newest revision with `tid <= at` of each oid, in the order of `oids`; undefined if there is none. One
   * call for many oids is cheaper than many calls, and neighbouring ascending oids are cheaper still.
   * @throws CorruptRecordError if a record differs from what was committed; StoreError if reading fails.
   */
  load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]>

  /**
   * Bytes `[off, off + len)` of the newest revision with `tid <= at`, without reading much more than these; a store
   * may put them into `into`, of at least `len` bytes, and return a view of that.
   * @throws as {@link Store.load}.
   */
  loadPart(oid: Oid, at: Tid, off: number, len: number, into?: Uint8Array): Promise<RevisionPart | undefined>

  /**
   * Fills the memory of every read. The call is one batch: a store may reorder and merge reads. If it fails, the
   * content of the memory is undefined. A local store may answer, or throw, without a promise.
   * @throws ObjectNotFoundError if there is no such revision; CorruptRecordError if the record is damaged or ends
   * before the slice does; StoreError.
   */
  readSlices(reads: readonly SliceRead[]): Awaitable<void>

  /** The tids in `(after, upTo]` of the kept revisions of `oid`, newest first. */
  revisions(oid: Oid, range?: { readonly after?: Tid; readonly upTo?: Tid }): Promise<readonly Tid[]>

  /** The last committed transaction's tid; TID_NONE if there is none. */
  lastTid(): Promise<Tid>

  /**
   * Whether the state at `at` can be read: a pack forgets moments, and for those `load` returns states that never
   * existed together. Absent if the store forgets nothing.
   */
  isKept?(at: Tid): Promise<boolean>

  /** The newest moment up to `at` that can be read; undefined if there is none. Absent as {@link ReadableStore.isKept} is. */
  keptUpTo?(at: Tid): Promise<Tid | undefined>

  /**
   * Texts that tell equal records apart from others without reading bulk bytes: two records, of whatever objects and moments, that have the
   * same text have the same bytes. Undefined if there is no such object, or no such text. Absent if there never is one.
   */
  identities?(oids: readonly Oid[], at: Tid): Promise<readonly (string | undefined)[]>

  /** The kept transactions of a range. */
  transactions(range?: TransactionRange): AsyncIterable<TransactionInfo>

  /** Which objects the transactions `(after, upTo]` changed, oldest first. */
  changes(after: Tid, upTo?: Tid): AsyncIterable<ChangeSet>

  /** Waits for commits in progress and closes the database. */
  close(): Promise<void>
}

/** One object's state in a transaction; null is a tombstone. */
export interface RecordToWrite {
  readonly oid: Oid
  readonly record: Uint8Array | null
}

/** A transaction to be written to another program's database. */
export interface TransactionToWrite {
  /** Later than the previous transaction's. */
  readonly tid: Tid
  readonly user: string
  readonly description: string
  /** A pickle, or empty. */
  readonly extension: Uint8Array
  /** Each object at most once. */
  readonly records: Iterable<RecordToWrite> | AsyncIterable<RecordToWrite>
}

/** Appends transactions to another program's database. */
export interface TransactionWriter {
  /** The last transaction's tid; TID_NONE if there is none. */
  readonly lastTid: Tid

  /** Appends a transaction. If this fails, the database is unchanged. @throws StoreError */
  append(transaction: TransactionToWrite): Promise<void>

  /** Waits until everything is on disk, and closes the database, which is incomplete until then. */
  close(): Promise<void>
}

/** A store that can only be read. */
export interface ReadOnlyStore extends ReadableStore {
  readonly readOnly: true
}

/** A store that can be written. */
export interface WritableStore extends ReadableStore {
  readonly readOnly: false

  /**
   * Allocates at least `count` new oids. Each range is above those allocated before, and above every committed oid. No oid
   * is allocated twice, but those of no committed object may be allocated again after the database is reopened.
   */
  allocateOids(count: number): Promise<OidRange>

  /**
   * Stores a transaction; resolves to its tid when it is on disk. With no changes it still waits until every
   * earlier commit is on disk, stores nothing, and resolves to `lastTid`.
   * @throws ConflictError if an object has a revision later than its `base`; NoSpaceError; StoreError.
   */
  commit(transaction: NewTransaction): Promise<Tid>
}

/** Any store, discriminated by `readOnly`. */
export type Store = ReadOnlyStore | WritableStore
