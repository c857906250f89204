/** What a transaction changes: records, made of buffers or of slices of stored records. */
import type { Oid, Tid } from './ids.ts'

/** Minimum length of stored bytes that a store shares: it copies shorter slices. */
export const SHARED_BYTES_MIN = 512

/** Bytes `[off, off + len)` of the record of `oid` as written by transaction `tid`. */
export interface RecordSlice {
  readonly oid: Oid
  readonly tid: Tid
  readonly off: number
  readonly len: number
}

/** Whether a body is a slice of a stored record rather than buffers. */
export const isSlice = (body: readonly Uint8Array[] | RecordSlice): body is RecordSlice => 'oid' in body

/**
 * A record to be stored: `head`, then `body`, then `tail`. Bulk data goes into `body`, as the buffers it already
 * lies in (they must not change until the commit has settled) or as a slice of a stored record, which a store
 * may share instead of copying.
 */
export interface RecordSource {
  readonly head: Uint8Array
  readonly body?: readonly Uint8Array[] | RecordSlice
  readonly tail?: Uint8Array
}

/** One object's part in a transaction. */
export interface ObjectChange {
  readonly oid: Oid
  /**
   * The transaction of the state that the change was made from, or a later moment at which the object still had that state;
   * TID_NONE for a new object.
   */
  readonly base: Tid
  /** The new record; null is a tombstone (the undo of the object's creation). */
  readonly record: RecordSource | null
}
