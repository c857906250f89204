/** Implements {@link Store.readSlices} for stores that read one record at a time. */
import { CorruptRecordError, ObjectNotFoundError } from './errors.ts'
import type { SliceRead, Store } from './store.ts'

/** Reads slices one after the other. @throws as {@link Store.readSlices}. */
export async function readSlicesInTurn(
  store: Pick<Store, 'loadPart'>,
  reads: readonly SliceRead[],
): Promise<void> {
  for (const { oid, tid, off, into } of reads) {
    const part = await store.loadPart(oid, tid, off, into.length, into)
    if (part?.tid !== tid) throw new ObjectNotFoundError(oid, tid)
    if (part.bytes.length < into.length) throw new CorruptRecordError(oid, tid, TOO_SHORT)
    if (part.bytes.buffer !== into.buffer || part.bytes.byteOffset !== into.byteOffset) into.set(part.bytes)
  }
}

/** The reason for rejecting a slice that extends beyond its record. */
export const TOO_SHORT = 'its record is shorter than a reference to part of it requires'
