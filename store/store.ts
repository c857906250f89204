/**
 * The contract of an object store: a map from (oid, tid) to a record, and from tid to a transaction.
 *
 * - **Revisions are immutable.** A record, once committed, never changes; a later transaction adds a later
 *   revision of the same oid. `load(oids, at)` gives for each oid the newest revision with `tid <= at`.
 * - **Reads see whole transactions.** What `load` gives for one `at <= lastTid` is the same for ever (until a
 *   pack forgets that moment); no read sees half a transaction.
 * - **Commits are atomic and durable.** When `commit` has resolved, the transaction survives a crash of the
 *   process, the kernel and the machine; when it rejected, or the process died, nothing of it is there.
 * - **Tids increase strictly** in the order of commits. A new one is `max(now, last + 1)`.
 * - **One writer.** One open writable store per database, among all processes; others may read beside it.
 * - **Records are opaque bytes**, of any length from 0. What they mean is core's concern.
 * - Ranges of tids are half-open below: `(after, upTo]`.
 *
 * A method that reads may run beside any other, a commit included. Commits are queued by the store and run one
 * after the other. After `close` every method rejects.
 *
 * `test/store/contract/` is this text as tests; every store passes it, a read-only one its reading part.
 */
import type { Capabilities } from './capabilities.ts'
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
  /** The bytes `[off, off + len)` that were asked for, cut at `size`. */
  readonly bytes: Uint8Array
}

/** Bytes `[off, off + len)` of the record of `oid` as written by transaction `tid`. */
export interface RecordSlice {
  readonly oid: Oid
  readonly tid: Tid
  readonly off: number
  readonly len: number
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

/** Tells a slice of a stored record from buffers. */
export const isSlice = (body: readonly Uint8Array[] | RecordSlice): body is RecordSlice => 'oid' in body

/**
 * A record to be stored: `head`, then `body`, then `tail`. Bulk data goes into `body`, as the buffers it already
 * lies in (they must not change until the commit has settled) or as a slice of a stored record, which a store
 * may share instead of copying.
 */
export interface RecordSource {
  readonly head: Uint8Array
  readonly body?: readonly Uint8Array[] | RecordSlice
  readonly tail?: Uint8Array
}

/** One object's part in a transaction. */
export interface ObjectChange {
  readonly oid: Oid
  /** The transaction of the state that the change was made from; TID_NONE for a new object. */
  readonly base: Tid
  /** The new record; null: the object no longer exists from here on (the undoing of its creation). */
  readonly record: RecordSource | null
}

/** What is to be committed. */
export interface NewTransaction {
  readonly changes: readonly ObjectChange[]
  readonly description?: string
  readonly user?: string
  /** Opaque bytes kept with the transaction (ZODB's `extension` pickle). */
  readonly extension?: Uint8Array
  /** Keeps the tid of a transaction that is copied from elsewhere. It must be later than `lastTid`. */
  readonly tid?: Tid
}

/** What is known of a committed transaction. */
export interface TransactionInfo {
  readonly tid: Tid
  readonly user: string
  readonly description: string
  readonly extension: Uint8Array
  /** How many objects it changed (those whose revisions are still kept). */
  readonly objects: number
  /** The sum of its records' lengths in bytes (those still kept). */
  readonly bytes: number
}

/** Transactions `(after, upTo]`, oldest first, or newest first when `reverse`. */
export interface TransactionRange {
  readonly after?: Tid
  readonly upTo?: Tid
  readonly reverse?: boolean
  readonly limit?: number
}

/** What one transaction changed. A big one comes as several in a row with the same tid. */
export interface ChangeSet {
  readonly tid: Tid
  readonly oids: readonly Oid[]
}

/** What every store offers. */
export interface ReadableStore {
  /** The name of this database for people: its path, usually. */
  readonly name: string

  /** Whether the database is another program's: its objects are not one of our filesystems. */
  readonly isForeign: boolean

  /** What this store offers beside the contract. */
  readonly capabilities: Capabilities

  /**
   * The newest revision with `tid <= at` of each oid, in the order asked; undefined where there is none. Many
   * oids in one call are cheaper than many calls, neighbouring ascending oids cheaper still.
   * @throws CorruptRecordError where a record is not what was committed; StoreError where reading fails.
   */
  load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]>

  /**
   * Bytes `[off, off + len)` of the newest revision with `tid <= at`, without reading (much) more than them; a store
   * may put them into `into`, of at least `len` bytes, and give a part of that.
   * @throws as {@link Store.load}.
   */
  loadPart(oid: Oid, at: Tid, off: number, len: number, into?: Uint8Array): Promise<RevisionPart | undefined>

  /**
   * Fills the memory of every read. The call is one batch: a store may reorder and merge reads. When it rejects, the
   * memory holds anything.
   * @throws ObjectNotFoundError where there is no such revision; CorruptRecordError where the record is damaged or ends
   * before the slice does; StoreError.
   */
  readSlices(reads: readonly SliceRead[]): Promise<void>

  /** The tids in `(after, upTo]` of the kept revisions of `oid`, newest first. */
  revisions(oid: Oid, range?: { readonly after?: Tid; readonly upTo?: Tid }): Promise<readonly Tid[]>

  /** The last committed transaction's tid; TID_NONE where there is none. */
  lastTid(): Promise<Tid>

  /**
   * Whether the state at `at` is known: a pack forgets moments, and what `load` gives for these is no state that
   * ever was. Absent where nothing is forgotten.
   */
  isKept?(at: Tid): Promise<boolean>

  /** The kept transactions of a range. */
  transactions(range?: TransactionRange): AsyncIterable<TransactionInfo>

  /** Which objects the transactions `(after, upTo]` changed, oldest first. */
  changes(after: Tid, upTo?: Tid): AsyncIterable<ChangeSet>

  /** Waits for commits under way and lets go of the database. */
  close(): Promise<void>
}

/** One object's state in a transaction; null: from here on it does not exist. */
export interface RecordToWrite {
  readonly oid: Oid
  readonly record: Uint8Array | null
}

/** A transaction as another program's database receives it. */
export interface TransactionToWrite {
  /** Later than the one before. */
  readonly tid: Tid
  readonly user: string
  readonly description: string
  /** A pickle, or nothing. */
  readonly extension: Uint8Array
  /** Each object once. */
  readonly records: Iterable<RecordToWrite> | AsyncIterable<RecordToWrite>
}

/** Appends transactions to a database of another program. */
export interface TransactionWriter {
  /** The last transaction's tid; TID_NONE where there is none. */
  readonly lastTid: Tid

  /** Appends a transaction. When it fails the database is as it was. @throws StoreError */
  append(transaction: TransactionToWrite): Promise<void>

  /** Waits until all is on disk, and closes the database. One that was not closed is incomplete. */
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
   * Allocates at least `count` new oids. Each range lies above those allocated before, and above every oid committed. No
   * oid is allocated twice; those that no committed object has may be allocated again after the database is reopened.
   */
  allocateOids(count: number): Promise<OidRange>

  /**
   * Stores a transaction; resolves to its tid when it is on disk. With no changes it still waits until every
   * earlier commit is on disk, stores nothing, and resolves to `lastTid`.
   * @throws ConflictError where an object's newest revision is not its `base`; NoSpaceError; StoreError.
   */
  commit(transaction: NewTransaction): Promise<Tid>
}

/** Any store; `readOnly` tells which. */
export type Store = ReadOnlyStore | WritableStore
