/**
 * What a pack reads of an index and a Bulk beside the revisions of single objects, over a reader of its own
 * (revision-reader.ts). A method may answer at once or with a promise.
 */
import type { RevisionReader, Space, StoredRevision } from '../../capabilities.ts'
import type { BulkRange } from '../bulk.ts'
import type { IndexEnd, PackedTransaction } from '../index-scan.ts'

export interface PackSource extends RevisionReader {
  /** The last transaction, and where bulk bytes ended with it. */
  end(): IndexEnd | Promise<IndexEnd>

  /** What the database takes on the disk. */
  space(): Space | Promise<Space>

  /**
   * All revisions in the order of oids, of each oid the newest first, in batches of bounded length. Those that are
   * committed meanwhile may be missed.
   */
  entries(): AsyncIterable<readonly StoredRevision[]>

  /** The bulk ranges that the revisions after a transaction point to. */
  usedSince(tid: bigint): readonly BulkRange[] | Promise<readonly BulkRange[]>

  /** A batch of the transactions in `(after, before)`, and whether a revision of each is left. Empty at the end. */
  transactions(
    after: bigint,
    before: bigint,
  ): readonly PackedTransaction[] | Promise<readonly PackedTransaction[]>

  /** The parts of the bulk that can be released as a whole, ascending. A range of an erase step lies in one of them. */
  segments(): readonly BulkRange[] | Promise<readonly BulkRange[]>

  /** Whether a range of one segment takes any room. */
  takesRoom(range: BulkRange): boolean | Promise<boolean>
}
