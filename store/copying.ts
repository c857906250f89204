/** The capabilities of a store (capabilities.ts) that copies of databases are made with. */
import type { Oid, Tid } from './ids.ts'
import type { KeptMoments } from './kept-moments.ts'

/** Reads records as they are stored, to copy a database with what its records share. */
export interface Copying {
  /** At most `limit` revisions behind `after` up to transaction `upTo`, ordered by tid, then by oid; empty at the end. */
  revisions(after: RevisionPlace, upTo: Tid, limit: number): Promise<readonly StoredRecord[]>

  /** The end of the places that the transactions up to `upTo` have written: those of later ones begin there or behind it. */
  placesEnd(upTo: Tid): Promise<number>
}

/** Where the history of a database comes from. Copies of a database have the same origin, whatever kind of store they are in. */
export interface Lineage {
  /** The id of the database in which the history began: 32 hex digits. @throws StoreError if it is damaged. */
  origin(): Promise<string>

  /**
   * The moments that the source kept when the last copy from it was complete: what the source has changed since may refer to what they
   * see. Undefined for a database that was not made by a copy.
   */
  sourceMoments(): Promise<KeptMoments | undefined>

  /** Records both durably. @throws StoreError on a store that is only read. */
  setLineage(origin: string, sourceMoments: KeptMoments): Promise<void>
}

export interface RevisionPlace {
  readonly oid: Oid
  readonly tid: Tid
}

/** A record: `head`, then the bytes of a place, then `tail`. Records that share bytes have places in common. */
export interface StoredRecord extends RevisionPlace {
  /** Null: from here on the object does not exist. */
  readonly head: Uint8Array | null
  /** Null if there are no bytes in a place. */
  readonly pos: number | null
  readonly len: number
  readonly tail: Uint8Array | null
}
