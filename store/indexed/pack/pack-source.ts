/**
 * The reads of a pack from an index and a Bulk, besides the revisions of single objects, over a separate reader
 * (revision-reader.ts). A method may return its result or a promise.
 */
import type { Awaitable } from '../../awaitable.ts'
import type { Added, Space } from '../../capabilities.ts'
import type { Tid } from '../../ids.ts'
import type { CorruptRecordError } from '../../errors.ts'
import type { RecordStart, RevisionReader, StoredRevision } from '../../stored-revisions.ts'
import type { BulkRange } from '../bulk.ts'
import type { IndexEnd, PackedTransaction } from '../index-scan.ts'
import type { RevisionKey } from '../record-index.ts'

/** A revision with as much of the beginning of its record as lies beside it; undefined for a tombstone. */
export interface FoundRevision {
  readonly revision: StoredRevision
  readonly start: RecordStart | undefined
}

export interface PackSource extends RevisionReader {
  /** The last transaction, and the end of bulk bytes after it. */
  end(): Awaitable<IndexEnd>

  /** Size of the database on disk. */
  space(): Awaitable<Space>

  /**
   * All revisions of the oids from `from` on, ordered by oid and then newest first, in batches of bounded length. May miss revisions
   * committed meanwhile.
   */
  entries(from?: number): AsyncIterable<readonly StoredRevision[]>

  /** The revisions of the transactions `(after, upTo]`, ordered by tid and then by oid, in batches of bounded length. */
  changes(after: Tid, upTo: Tid): AsyncIterable<readonly RevisionKey[]>

  /** Reads revisions without bulk data; a damaged one yields its error, a missing one undefined. */
  found(keys: readonly RevisionKey[]): Promise<readonly (FoundRevision | CorruptRecordError | undefined)[]>

  /** The bulk ranges that the revisions after a transaction point to. */
  usedSince(tid: bigint): Awaitable<readonly BulkRange[]>

  /** A batch of the transactions in `(after, before)`, each with whether it has a remaining revision. Empty at the end. */
  transactions(after: bigint, before: bigint): Awaitable<readonly PackedTransaction[]>

  /** As IndexScan.added (index-scan.ts). */
  added(after: Tid, upTo: Tid): Promise<Added>

  /** As IndexScan.note (index-scan.ts). */
  note(name: string): Promise<string | undefined>

  /** The parts of the bulk that can be released whole, ascending. A range of an erase step lies within one of them. */
  segments(): Awaitable<readonly BulkRange[]>

  /** Whether a range of one segment takes any space. */
  isAllocated(range: BulkRange): Awaitable<boolean>
}
