/**
 * The contract of an Index: the small rows of revisions and transactions. A record is `head + bulk[pos, pos + len) +
 * tail`: the index holds head and tail, a Bulk (bulk.ts) the rest.
 *
 * - Rows are immutable, and verified when they are read.
 * - Each call reads one snapshot of the index.
 * - One writer and any number of concurrent readers.
 *
 * A method may return its result or a promise: a local index costs no turn of the event loop.
 */
import type { Awaitable } from '../awaitable.ts'
import type { Oid, Tid } from '../ids.ts'
import type { TransactionInfo } from '../store.ts'

/** The state of an object from `tid` on. */
export interface RevisionRow {
  readonly oid: Oid
  readonly tid: Tid
  /** Null marks a deletion (tombstone). */
  readonly head: Uint8Array | null
  /** The position of the bulk bytes; null if there are none. */
  readonly pos: number | null
  /** The number of bulk bytes. */
  readonly len: number
  readonly tail: Uint8Array | null
}

/** A transaction, and the state from which the next one continues. */
export interface TransactionRow extends TransactionInfo {
  /** No object with this oid or a later one has a revision. */
  readonly nextOid: number
  /** The end of the bulk bytes after this transaction. */
  readonly bulkEnd: number
  /** The bytes that it added, excluding shared bytes. */
  readonly stored: number
}

/** One revision: an object, and the transaction that changed it. */
export interface RevisionKey {
  readonly oid: Oid
  readonly tid: Tid
}

/** The state that a change was made from. */
export interface ExpectedBase {
  readonly oid: Oid
  readonly base: Tid
}

export interface Index {
  /**
   * The newest row with `tid <= at` of each oid, in the order asked; undefined if there is none.
   * @throws CorruptRecordError if a row is damaged.
   */
  newest(oids: readonly Oid[], at: Tid): Awaitable<readonly (RevisionRow | undefined)[]>

  /** The rows of revisions, in the order asked; undefined if there is none. @throws as {@link Index.newest}. */
  find(keys: readonly RevisionKey[]): Awaitable<readonly (RevisionRow | undefined)[]>

  /** The tids in `(after, upTo]` of an object's revisions, newest first. */
  revisions(oid: Oid, after: Tid, upTo: Tid): Awaitable<readonly Tid[]>

  /** The last transaction; TID_NONE if there is none. */
  lastTid(): Awaitable<Tid>

  /**
   * At most `limit` transactions of `(after, upTo]`: the oldest ascending, or the newest descending if `reverse`. A page
   * may end before a damaged row; a page that would begin with one throws.
   * @throws StoreError
   */
  transactions(after: Tid, upTo: Tid, reverse: boolean, limit: number): Awaitable<readonly TransactionInfo[]>

  /** At most `limit` revisions after `after` up to transaction `upTo`, ordered by tid, then by oid. */
  changes(after: RevisionKey, upTo: Tid, limit: number): Awaitable<readonly RevisionKey[]>
}

/** The writer's side of an index. */
export interface IndexWriter {
  /** Bytes of a stored row beyond those of its record: an encrypted one is longer. */
  readonly extraRowBytes: number
  /** Whether other writers may have used an oid that is taken for a new one: each is looked up then. */
  readonly looksUpNew?: boolean

  /** The last transaction; undefined if there is none. @throws StoreError if continuing from it would reuse oids or positions. */
  last(): Awaitable<TransactionRow | undefined>

  /** As {@link Index.find}. */
  find(keys: readonly RevisionKey[]): Awaitable<readonly (RevisionRow | undefined)[]>

  /**
   * Begins a transaction. Only one may be in progress.
   * @param isPart its rows will be kept with {@link IndexTransaction.keep}.
   */
  begin(isPart?: boolean): Awaitable<IndexTransaction>

  /** Removes the rows of all parts that no transaction has completed; an earlier process may have left them. */
  dropParts(): Awaitable<void>
}

/**
 * Rows are added one at a time while their bulk bytes are still being written; none is visible before it ends. The
 * transaction ends with `commit`, `keep` or `rollback`; after a failed `commit` or `keep`, call `rollback`.
 */
export interface IndexTransaction {
  /**
   * Requires that no object has a revision later than its base. Called once, before the first row is added. An index may
   * leave the check to {@link IndexTransaction.commit}.
   * @throws ConflictError
   */
  expect(bases: readonly ExpectedBase[]): Awaitable<void>

  add(row: RevisionRow): void

  /**
   * Removes the rows of objects that earlier parts of transaction `tid` have added. Called if parts were kept, before the first
   * row is added.
   * @returns the lengths of their records; undefined for an object without such a row.
   */
  removeParts(oids: readonly Oid[], tid: Tid): Awaitable<readonly (number | undefined)[]>

  /**
   * Ends the transaction with its rows as a part of transaction `tid`, which is yet to be committed: they are found at that moment alone.
   * They need not be durable. {@link IndexTransaction.commit} of a later one completes them.
   */
  keep(tid: Tid): Awaitable<void>

  /**
   * Makes all rows visible and durable. The bulk bytes that they point to must be durable already.
   * @throws ConflictError, if {@link IndexTransaction.expect} left the check to this.
   */
  commit(transaction: TransactionRow): Awaitable<void>

  /** After a failed `commit`: whether a later process may find the transaction committed nevertheless. */
  readonly isInDoubt: boolean

  /** Never throws. */
  rollback(): Awaitable<void>
}
