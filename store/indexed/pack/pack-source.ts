/**
 * The reads of a pack from an index and a Bulk, besides the revisions of single objects, over a separate reader
 * (revision-reader.ts). A method may return its result or a promise.
 */
import type { Awaitable } from '../../awaitable.ts'
import type { Added, Space } from '../../capabilities.ts'
import type { Tid } from '../../ids.ts'
import type { RevisionReader, StoredRevision } from '../../stored-revisions.ts'
import type { BulkRange } from '../bulk.ts'
import type { IndexEnd, PackedTransaction } from '../index-scan.ts'

export interface PackSource extends RevisionReader {
  /** The last transaction, and the end of bulk bytes after it. */
  end(): Awaitable<IndexEnd>

  /** Size of the database on disk. */
  space(): Awaitable<Space>

  /**
   * All revisions, ordered by oid and then newest first, in batches of bounded length. May miss revisions committed
   * meanwhile.
   */
  entries(): AsyncIterable<readonly StoredRevision[]>

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
