/**
 * The parts of an Index (record-index.ts) for full scans and notes. With them and a Bulk, a store gets packing, checking and
 * measuring from the neighbouring files:
 *
 * | a store implements                        | and gets                                                       |
 * |-------------------------------------------|----------------------------------------------------------------|
 * | {@link IndexScan}, BulkScan (bulk.ts)     | IndexedStore with Measuring, and a RevisionReader              |
 * | {@link IndexPacker}, BulkWriter.release   | Packing (pack/)                                                |
 * | {@link CheckedIndex}, a lock, a repair    | Checking (check/checking.ts)                                   |
 *
 * Every call reads one state and is bounded: commits and packs continue between calls. A method may return its result or a
 * promise. Rows are not verified unless a method says so: a damaged store may return ids that are out of range.
 */
import type { Awaitable } from '../awaitable.ts'
import type { Added, Space, Sums } from '../capabilities.ts'
import type { StoredRevision } from '../stored-revisions.ts'
import type { CorruptRecordError } from '../errors.ts'
import type { Tid } from '../ids.ts'
import type { BulkRange } from './bulk.ts'
import type { Index, RevisionRow } from './record-index.ts'

/** The state after the last transaction; zeros if there is none. */
export interface IndexEnd {
  /** No revision has a later tid. */
  readonly lastTid: bigint
  /** No object with this oid or a later one has a revision. */
  readonly nextOid: number
  readonly bulkEnd: number
}

export type ScannedRow = RevisionRow | CorruptRecordError

export type IndexSpace = Omit<Space, 'bulkBytes'>

/** A place in the order of revisions by oid, of each oid the newest first. */
export interface EntryKey {
  readonly oid: number
  readonly tid: bigint
}

/** A transaction, as far as a pack needs it. */
export interface PackedTransaction {
  readonly tid: bigint
  /** Whether it has a remaining revision. */
  readonly isUsed: boolean
}

/** Reads an index in pages. */
export interface IndexScan {
  end(): Awaitable<IndexEnd>

  /** The value of a note ({@link IndexPacker.setNote}). */
  note(name: string): Awaitable<string | undefined>

  /** At most `limit` oids above `after` that have a revision, ascending. */
  oids(after: number, limit: number): Awaitable<readonly number[]>

  /** The first `limit` revisions of `oids`, which ascend, up to transaction `upTo`: in the order of oids, of each the newest first. */
  revisionsOf(oids: readonly number[], upTo: bigint, limit: number): Awaitable<readonly StoredRevision[]>

  /** At most `limit` revisions after `after` (from the first one if it is undefined), in the order of {@link EntryKey}. */
  entries(after: EntryKey | undefined, limit: number): Awaitable<readonly StoredRevision[]>

  /**
   * At most `limit` rows after `after` of oids below `end`, up to transaction `upTo`, in the order of {@link EntryKey}; a damaged row
   * gives its error.
   */
  rows(after: EntryKey, end: number, upTo: bigint, limit: number): Awaitable<readonly ScannedRow[]>

  /** Whether each object exists at a moment. */
  exist(oids: readonly number[], at: Tid): Awaitable<readonly boolean[]>

  /** The bulk ranges that revisions after a transaction point to. */
  usedSince(tid: bigint): Awaitable<readonly BulkRange[]>

  /** At most `limit` transactions of `(after, before)`, oldest first. */
  packedTransactions(after: bigint, before: bigint, limit: number): Awaitable<readonly PackedTransaction[]>

  /** Sums over the additions of the transactions `(after, upTo]`. */
  added(after: Tid, upTo: Tid): Awaitable<Added>

  /** The end of the bulk bytes after the newest transaction up to `upTo`; 0 if there is none. */
  bulkEndAt(upTo: Tid): Awaitable<number>

  /** The sums over all revisions of committed transactions. */
  sums(): Awaitable<Sums>

  /** Storage space of the index. */
  space(): Awaitable<IndexSpace>
}

/**
 * The changes that a pack makes between two commits, on the connection that commits. Each leaves a consistent index and is
 * idempotent. None need be durable before {@link IndexPacker.makeDurable}, except a note.
 */
export interface IndexPacker {
  /**
   * Deletes revisions and subtracts them from the sums of their transactions; returns the number deleted. `oids[i]` and `tids[i]`
   * identify one row.
   */
  drop(oids: Float64Array, tids: BigInt64Array): Awaitable<number>

  /** Deletes transactions. */
  forget(tids: BigInt64Array): Awaitable<void>

  /** Makes all drops durable, including those of earlier processes. */
  makeDurable(): Awaitable<void>

  /** As {@link IndexScan.usedSince}, including every earlier commit. */
  usedSince(tid: bigint): Awaitable<readonly BulkRange[]>

  /** The end of the bulk according to the last transaction. */
  bulkEnd(): Awaitable<number>

  /** Returns this number of the index's free pages to its storage. */
  releasePages(pages: number): Awaitable<void>

  /** To be called after a pack: the index may shorten its files or collect statistics. */
  finish(): Awaitable<void>

  /** Stores a short text under a name, durably. */
  setNote(name: string, value: string): Awaitable<void>
}

/** A row of a revision as a check reads it: verified, and returned even if it is damaged. */
export interface CheckedRevision {
  readonly oid: number
  readonly tid: bigint
  /** Whether it is intact. If not, the other fields are meaningless. */
  readonly isIntact: boolean
  readonly headBytes: number
  readonly pos: number | null
  /** The number of bulk bytes. */
  readonly len: number
  readonly tailBytes: number
}

/** A row of a transaction as a check reads it. */
export interface CheckedTransaction {
  readonly tid: bigint
  /** Whether its immutable columns are intact. */
  readonly isIntact: boolean
  /** Number of its revisions, excluding dropped ones. */
  readonly objects: number
  /** The sum of the lengths of their records. */
  readonly bytes: number
}

/** Reads an index for a check, over a separate connection. */
export interface CheckedIndex extends IndexScan, Pick<Index, 'find'> {
  /** At most `limit` revisions after `after` up to transaction `upTo`, ordered by tid, then by oid. */
  checkedRevisions(after: EntryKey, upTo: bigint, limit: number): Awaitable<readonly CheckedRevision[]>

  /** At most `limit` transactions of `(after, upTo]`, oldest first. */
  checkedTransactions(after: bigint, upTo: bigint, limit: number): Awaitable<readonly CheckedTransaction[]>
}
