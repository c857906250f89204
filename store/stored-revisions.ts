/** Reads the revisions of a whole database, for packs, checks and measuring (capabilities.ts). */
import type { CorruptRecordError } from './errors.ts'
import type { Oid, Tid } from './ids.ts'
import type { KeptMoments } from './kept-moments.ts'
import type { PagedBitmap } from './paged-bitmap.ts'

/** One revision, without its bytes. A damaged store may give ids that are out of range. */
export interface StoredRevision {
  readonly oid: number
  readonly tid: bigint
  /** Whether the object does not exist from here on. */
  readonly isTombstone: boolean
  /** Bytes that belong to this revision alone. */
  readonly ownBytes: number
  /**
   * Its other bytes lie in units `[unitLo, unitHi)` of the store's space, which is empty if it has none. Revisions
   * that share bytes have units in common.
   */
  readonly unitLo: number
  readonly unitHi: number
}

/** The beginning of a record. */
export interface RecordStart {
  /** The record's whole length in bytes. */
  readonly size: number
  readonly bytes: Uint8Array
}

/** One revision, with the beginning of its record. */
export interface StoredState {
  readonly oid: Oid
  readonly tid: Tid
  /**
   * As many bytes as lie beside the revision, usually all of them; the error of a damaged record; undefined for a tombstone.
   */
  readonly start: RecordStart | CorruptRecordError | undefined
}

/**
 * Reads the revisions of many objects, in batches, for full scans of a database. Each call is a separate read and
 * never blocks a writer; between two calls a pack may drop revisions that no kept moment sees.
 * @throws StoreError if reading fails
 */
export interface RevisionReader {
  /** The length of a unit ({@link StoredRevision.unitLo}) in bytes. */
  readonly unitBytes: number

  /** The last transaction, and an oid above every oid in use. */
  totals(): Promise<{ readonly lastTid: Tid; readonly nextOid: number }>

  /** Which moments the last pack kept. */
  kept(): Promise<KeptMoments>

  /** The oids that have a revision, ascending, in batches. */
  oids(): AsyncIterable<readonly Oid[]>

  /**
   * The revisions of `oids` (ascending) up to the transaction `upTo`, ordered by oid and then newest first, in batches
   * of bounded length.
   */
  revisions(oids: readonly number[], upTo: bigint): AsyncIterable<readonly StoredRevision[]>

  /** The revisions of all oids in `[lo, hi)`, in the order of {@link RevisionReader.revisions}, without reading bulk data. */
  states(lo: number, hi: number, upTo: bigint): AsyncIterable<readonly StoredState[]>

  /** Whether each object exists at a moment. */
  exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]>

  /**
   * The first `limit` bytes (all if absent) of the records of revisions. A damaged record yields its error,
   * a missing (or dropped) one undefined.
   */
  records(
    revisions: readonly { readonly oid: number; readonly tid: bigint }[],
    limit?: number,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]>

  close(): void
}

/** Called between objects with their number so far; the caller awaits a promise that it returns. */
export type Pause = (objectsDone: number) => Promise<void> | undefined

/** A reference in a record. */
export interface Edge {
  readonly oid: number
  /** Whether the record of its object has no references, as those of blocks and chunks of data. */
  readonly isData: boolean
  /** Whether it leads back to an object through which the referring one is reached, as from an inode to its directory. */
  readonly isWeak: boolean
}

/** What a mark works on, kept by the caller: a mark that was interrupted continues there. */
export interface MarkSets {
  /** The objects found. */
  readonly reached: PagedBitmap
  /** Those of them that are still to be read; empty at the beginning. */
  readonly waiting: PagedBitmap
  /** Called for every reference of every revision read. */
  readonly onEdge: (edge: Edge) => void
}

/**
 * Finds the objects reachable through the revisions that kept moments see, as of `upTo`. Supplied by the caller, as a
 * store cannot tell which objects a record refers to. The caller of a Mark closes the set. While `pause` runs, `sets` is consistent.
 * @throws CorruptRecordError for a record whose references cannot be read
 */
export type Mark = (
  reader: RevisionReader,
  kept: KeptMoments,
  upTo: Tid,
  pause?: Pause,
  sets?: MarkSets,
) => Promise<PagedBitmap>

/** What a record refers to. */
export interface Edges {
  /** With repetitions. @throws CorruptRecordError */
  of(record: Uint8Array, oid: Oid, tid: Tid): readonly Edge[]
  /** Whether a record with this beginning has no references. */
  isData(start: Uint8Array): boolean
}

/** The exports of a module that a store imports into its packing thread. */
export interface MarkModule {
  readonly mark: Mark
  /** Absent: every pack marks all objects. */
  readonly edges?: Edges
}
