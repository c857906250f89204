/**
 * The contract of an Index: the small rows of revisions and transactions. A record is `head + bulk[pos, pos + len) +
 * tail`: the index holds head and tail, a Bulk (bulk.ts) the rest.
 *
 * - Rows are immutable, and verified when they are read.
 * - Each call reads one state of the index, between two commits.
 * - One writer; any number of readers beside it.
 *
 * A method may answer at once or with a promise: a local index costs no turn of the event loop.
 */
import type { Oid, Tid } from '../ids.ts'
import type { TransactionInfo } from '../store.ts'

/** What an object was from `tid` on. */
export interface RevisionRow {
  readonly oid: Oid
  readonly tid: Tid
  /** Null: from here on the object does not exist. */
  readonly head: Uint8Array | null
  /** The position of the bulk bytes; null where there are none. */
  readonly pos: number | null
  /** The number of bulk bytes. */
  readonly len: number
  readonly tail: Uint8Array | null
}

/** A transaction, and what the next one goes on from. */
export interface TransactionRow extends TransactionInfo {
  /** No object with this oid or a later one has a revision. */
  readonly nextOid: number
  /** The end of the bulk bytes after this transaction. */
  readonly bulkEnd: number
  /** The bytes that it added; those of shared places are left out. */
  readonly stored: number
}

/** One revision: an object, and the transaction that changed it. */
export interface RevisionKey {
  readonly oid: Oid
  readonly tid: Tid
}

export interface Index {
  /**
   * The newest row with `tid <= at` of each oid, in the order asked; undefined where there is none.
   * @throws CorruptRecordError where a row is damaged.
   */
  newest(
    oids: readonly Oid[],
    at: Tid,
  ): readonly (RevisionRow | undefined)[] | Promise<readonly (RevisionRow | undefined)[]>

  /** The rows of revisions, in the order asked; undefined where there is none. @throws as {@link Index.newest}. */
  find(
    keys: readonly RevisionKey[],
  ): readonly (RevisionRow | undefined)[] | Promise<readonly (RevisionRow | undefined)[]>

  /** The tids in `(after, upTo]` of an object's revisions, newest first. */
  revisions(oid: Oid, after: Tid, upTo: Tid): readonly Tid[] | Promise<readonly Tid[]>

  /** The last transaction; TID_NONE where there is none. */
  lastTid(): Tid | Promise<Tid>

  /**
   * At most `limit` transactions of `(after, upTo]`: the oldest ascending, or the newest descending when `reverse`. A page
   * may end before a row that is damaged; one that would begin with it throws.
   * @throws StoreError
   */
  transactions(
    after: Tid,
    upTo: Tid,
    reverse: boolean,
    limit: number,
  ): readonly TransactionInfo[] | Promise<readonly TransactionInfo[]>

  /** At most `limit` revisions behind `after` up to transaction `upTo`, ordered by tid, then by oid. */
  changes(
    after: RevisionKey,
    upTo: Tid,
    limit: number,
  ): readonly RevisionKey[] | Promise<readonly RevisionKey[]>
}

/** The side of an index that the one writer uses. */
export interface IndexWriter {
  /** The last transaction; undefined where there is none. @throws StoreError where going on from it would reuse oids or places. */
  last(): TransactionRow | undefined | Promise<TransactionRow | undefined>

  /** As {@link Index.find}. */
  find(
    keys: readonly RevisionKey[],
  ): readonly (RevisionRow | undefined)[] | Promise<readonly (RevisionRow | undefined)[]>

  /** The tid of the newest revision of each oid; TID_NONE where there is none. */
  newestTids(oids: readonly Oid[]): readonly Tid[] | Promise<readonly Tid[]>

  /** Begins a transaction. Only one may be under way. */
  begin(): IndexTransaction | Promise<IndexTransaction>
}

/**
 * Rows are added one at a time while their bulk bytes are still being written; none is visible before `commit`. Either
 * `commit` or `rollback` ends the transaction; after a failed `commit`, `rollback` does.
 */
export interface IndexTransaction {
  add(row: RevisionRow): void

  /** All rows are visible and durable when this is done, and the bulk bytes that they point to must be before it is called. */
  commit(transaction: TransactionRow): void | Promise<void>

  /** After a failed `commit`: whether a later process may find the transaction committed all the same. */
  readonly isInDoubt: boolean

  /** Never throws. */
  rollback(): void | Promise<void>
}
