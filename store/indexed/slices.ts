/** Slices of stored records as parts of new ones: a second row that points to existing bulk bytes. */
import { ObjectNotFoundError, StoreError } from '../errors.ts'
import { SHARED_BYTES_MIN, type RecordSlice } from '../changes.ts'
import type { BulkReader } from './bulk.ts'
import { throwDamage } from './bulk-damage.ts'
import { UNIT_BYTES } from './frame.ts'
import { concat, draftOf, type Draft } from './placement.ts'
import type { IndexWriter, RevisionRow } from './record-index.ts'
import { planRead, recordSize, type RecordRead } from './record-parts.ts'

/**
 * The draft of the record `head + slice + tail`. Bulk bytes are shared; bytes of a row, and ranges too short to be worth
 * sharing, are copied.
 * @throws ObjectNotFoundError, StoreError if the slice does not exist; CorruptRecordError if it is damaged.
 */
export async function draftSlice(
  index: Pick<IndexWriter, 'find'>,
  bulk: BulkReader,
  head: Uint8Array,
  slice: RecordSlice,
  tail: Uint8Array,
): Promise<Draft> {
  const source = await findSource(index, slice)
  const end = slice.off + slice.len
  const bulkStart = source.head.length
  const lo = Math.max(slice.off, bulkStart)
  const hi = Math.min(end, bulkStart + source.len)
  const copy = async (): Promise<Draft> => draftOf(head, [await readPart(bulk, source, slice.off, end)], tail)
  if (source.pos === null || hi - lo < SHARED_BYTES_MIN) return await copy()
  const before = concat(head, await readPart(bulk, source, slice.off, lo))
  const after = concat(await readPart(bulk, source, hi, end), tail)
  if (before.length >= 2 * UNIT_BYTES || after.length >= 2 * UNIT_BYTES) return await copy()
  const shared = { pos: source.pos + lo - bulkStart, len: hi - lo }
  return { head: before, tail: after, units: [], shared }
}

type Source = RevisionRow & { readonly head: Uint8Array }

async function findSource(index: Pick<IndexWriter, 'find'>, slice: RecordSlice): Promise<Source> {
  const { oid, tid, off, len } = slice
  const [row] = await index.find([slice])
  if (row === undefined || row.head === null) throw new ObjectNotFoundError(oid, tid)
  if (off < 0 || len < 0 || off + len > recordSize(row))
    throw new StoreError(
      `bytes [${off}, ${off + len}) are not within the ${recordSize(row)} bytes of the shared record`,
    )
  return { ...row, head: row.head }
}

async function readPart(bulk: BulkReader, row: RevisionRow, lo: number, hi: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(Math.max(0, hi - lo))
  const reads: RecordRead[] = []
  planRead(row, lo, bytes, reads)
  try {
    if (reads.length > 0) await bulk.read(reads)
  } catch (error) {
    await throwDamage(bulk, reads, error)
  }
  return bytes
}
