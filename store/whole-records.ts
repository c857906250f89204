/**
 * A cache of records that can only be read whole when a part is requested: compressed ones, and those of a database that
 * reads whole values. The next part is usually of the same record.
 */
import type { Awaitable } from './awaitable.ts'
import { LRUCache } from 'lru-cache'
import type { Oid, Tid } from './ids.ts'
import type { Revision, RevisionPart } from './store.ts'

/** Maximum size of the cache in bytes: a few blocks of 2 MiB. */
export const KEPT_BYTES = 8 << 20

/** Bytes `[off, off + len)` of a record; they may be put into `into`, of at least `len` bytes. */
export interface Part {
  readonly off: number
  readonly len: number
  readonly into: Uint8Array | undefined
}

export class WholeRecords {
  readonly #kept = new LRUCache<Oid, Revision>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ record }) => record.length + 1,
  })

  get(oid: Oid, tid: Tid): Uint8Array | undefined {
    const known = this.#kept.get(oid)
    return known?.tid === tid ? known.record : undefined
  }

  /** A part of the record of `oid` that transaction `tid` wrote. @param read reads the whole record. */
  async part(
    { oid, tid }: { readonly oid: Oid; readonly tid: Tid },
    part: Part,
    read: () => Awaitable<Uint8Array>,
  ): Promise<RevisionPart> {
    let record = this.get(oid, tid)
    if (record === undefined) {
      record = await read()
      this.#kept.set(oid, { tid, record })
    }
    return { tid, size: record.length, bytes: cut(record, part) }
  }
}

/** The part as bytes that do not retain a much longer record in memory. */
function cut(record: Uint8Array, { off, len, into }: Part): Uint8Array {
  const bytes = record.subarray(off, off + len)
  if (into === undefined) return bytes.length * 2 < record.length ? Uint8Array.from(bytes) : bytes
  into.set(bytes)
  return into.subarray(0, bytes.length)
}
