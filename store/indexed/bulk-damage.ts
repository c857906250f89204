/** Finds the records whose bulk bytes cannot be read: a Bulk does not have records. */
import { CorruptRecordError } from '../errors.ts'
import { BulkDamageError, type BulkReader } from './bulk.ts'
import type { RevisionRow } from './record-index.ts'
import type { RecordRead } from './record-parts.ts'

/** The errors of the rows of `reads`, read one at a time, whose bytes are damaged; each has a BulkDamageError as its cause. */
export async function damagedRows(
  bulk: BulkReader,
  reads: readonly RecordRead[],
): Promise<ReadonlyMap<RevisionRow, CorruptRecordError>> {
  const damaged = new Map<RevisionRow, CorruptRecordError>()
  for (const read of reads) {
    try {
      await bulk.read([read])
    } catch (error) {
      if (!(error instanceof BulkDamageError)) throw error
      const { oid, tid } = read.row
      damaged.set(read.row, new CorruptRecordError(oid, tid, error.message, { cause: error }))
    }
  }
  return damaged
}

/** Handles the failure of a read of the whole batch. @throws CorruptRecordError for the first damaged record; other failures unchanged. */
export async function throwDamage(
  bulk: BulkReader,
  reads: readonly RecordRead[],
  failure: unknown,
): Promise<void> {
  if (!(failure instanceof BulkDamageError)) throw failure
  const [first] = (await damagedRows(bulk, reads)).values()
  if (first !== undefined) throw first
}
