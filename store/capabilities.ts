/**
 * What a store may offer beside the contract of store.ts. A caller asks the store: `store.capabilities.intents` is
 * there or it is not. A caller never looks at the store's class, and what a capability does not say may not be
 * relied on.
 *
 * | capability | offers                                                         |
 * |------------|----------------------------------------------------------------|
 * | `intents`  | bytes that are durable before they are part of a transaction   |
 * | `watching` | a call when another process has committed                      |
 * | `pinning`  | moments that a pack by another process must keep               |
 * | `packing`  | history before a moment, and garbage, dropped while in use     |
 * | `retaining`| how long its owner keeps history, stored in the database       |
 * | `measuring`| how much room what takes                                       |
 * | `checking` | damage found and repaired below the records                    |
 * | `foreignHistory` | how much of its history a foreign database has kept       |
 *
 * `test/store/contract/` has a suite for each; every store runs those of the capabilities that it offers.
 */
import type { CorruptRecordError } from './errors.ts'
import type { Oid, Tid } from './ids.ts'
import type { KeptMoments } from './kept-moments.ts'
import type { Retention } from './retention.ts'
import type { PagedBitmap } from './paged-bitmap.ts'

export interface Capabilities {
  readonly intents?: Intents | undefined
  readonly watching?: Watching | undefined
  readonly pinning?: Pinning | undefined
  readonly packing?: Packing | undefined
  readonly retaining?: Retaining | undefined
  readonly measuring?: Measuring | undefined
  readonly checking?: Checking | undefined
  readonly foreignHistory?: ForeignHistory | undefined
}

/** The intents that follow the last transaction. */
export interface FoundIntents {
  readonly entries: readonly Uint8Array[]
  /** Whether an entry behind them is damaged, so that later entries are lost. */
  readonly isDamaged: boolean
}

/**
 * Bytes that are durable but in no transaction yet: one write and one sync, where a transaction takes more. The next
 * transaction voids them. Until {@link Intents.read} was called, `commit` rejects while there are entries: it would
 * void what was never replayed.
 */
export interface Intents {
  /** Reads the entries added since the last transaction, in order; an earlier process may have added them. */
  read(): Promise<FoundIntents>

  /**
   * Adds an entry that follows the last transaction as of this call. At most one call may be under way. Resolves to
   * true when the entry is on disk, and to false when it could not be written (no room, for example): then no entry
   * can be added before the next transaction.
   */
  add(bytes: Uint8Array): Promise<boolean>
}

/** Follows the commits of other processes. */
export interface Watching {
  /**
   * Calls `onAdvance` when there is a transaction later than `after`, and again for each later one; commits that come
   * in quick succession share a call. A call starts only after the promise of the one before has settled.
   * @returns a function that stops watching; a call under way ends by itself.
   */
  watch(watcher: Watcher): () => void
}

export interface Watcher {
  /** The last transaction that the caller knows. */
  readonly after: Tid
  /** Receives the last transaction's tid. */
  readonly onAdvance: (lastTid: Tid) => Promise<void>
  /** Receives the first error of a run of failures, of the store or of `onAdvance`. Watching goes on. */
  readonly onError: (error: unknown) => void
  /** The longest delay between a commit and its call, in milliseconds, where the store polls. */
  readonly intervalMs: number
}

/** Tells packs of other processes which moments are in use, and learns the same from those processes. */
export interface Pinning {
  /**
   * Replaces the moments that this process reads. A pack by another process keeps them. Resolves to false where the
   * pin cannot be recorded (a read-only directory, for example): then a pack may forget them.
   * @throws StoreError where one of them is already forgotten.
   */
  pin(moments: readonly Tid[]): Promise<boolean>

  /** The moments that live processes have pinned. Pins of processes that have ended do not count. */
  pinned(): Promise<readonly Tid[]>
}

/** One revision, without its bytes. A damaged store may give ids that are out of range. */
export interface StoredRevision {
  readonly oid: number
  readonly tid: bigint
  /** Whether the object does not exist from here on. */
  readonly isTombstone: boolean
  /** Bytes that belong to this revision alone. */
  readonly ownBytes: number
  /**
   * Its other bytes lie in units `[unitLo, unitHi)` of the store's space, which is empty where it has none. Revisions
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

/**
 * Reads the revisions of many objects, in batches, for work that goes through a whole database. Each call reads
 * by itself, and no call holds up a writer: between two calls a pack may drop what no kept moment sees.
 * @throws StoreError where reading fails
 */
export interface RevisionReader {
  /** The length of a unit ({@link StoredRevision.unitLo}) in bytes. */
  readonly unitBytes: number

  /** The last transaction, and an oid above that of every object. */
  totals(): Promise<{ readonly lastTid: Tid; readonly nextOid: number }>

  /** Which moments the last pack kept. */
  kept(): Promise<KeptMoments>

  /** The oids that have a revision, ascending, in batches. */
  oids(): AsyncIterable<readonly Oid[]>

  /**
   * The revisions of `oids`, which ascend, up to the transaction `upTo`: in the order of oids, of each oid the newest
   * first, in batches of bounded length.
   */
  revisions(oids: readonly number[], upTo: bigint): AsyncIterable<readonly StoredRevision[]>

  /** Whether each object exists at a moment. */
  exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]>

  /**
   * The first `limit` bytes (all if absent) of the records of revisions. A record that is damaged gives its error,
   * one that is not there (any more) undefined.
   */
  records(
    revisions: readonly { readonly oid: number; readonly tid: bigint }[],
    limit?: number,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]>

  close(): void
}

/** Called between objects with their number so far; the caller awaits a promise that it returns. */
export type Pause = (objectsDone: number) => Promise<void> | undefined

/**
 * Finds the objects that can be reached by way of the revisions that kept moments see, as of `upTo`. What records refer
 * to is not known to a store. The caller closes the set.
 * @throws CorruptRecordError for a record whose references cannot be read
 */
export type Mark = (
  reader: RevisionReader,
  kept: KeptMoments,
  upTo: Tid,
  pause?: Pause,
) => Promise<PagedBitmap>

/** What a module exports that a store imports in the thread in which it packs. */
export interface MarkModule {
  readonly mark: Mark
}

/**
 * Drops what no kept moment needs while the database is in use, and gives its room back. A pack that is interrupted, or
 * whose process dies, loses nothing that is kept: the next one does the rest.
 */
export interface Packing {
  /** Which moments the last pack kept. */
  kept(): Promise<KeptMoments>

  /**
   * Records durably which moments are kept. From here on the store opens no other one; dropping begins later, with
   * {@link pack}.
   */
  keep(moments: KeptMoments): Promise<void>

  /**
   * Drops the revisions that no kept moment sees, objects that are not marked, transactions of which nothing is
   * left, and gives their room back. The work is done in steps of some milliseconds between commits, and in bounded
   * memory. One call at a time.
   * @throws CorruptRecordError as {@link Mark} does: then nothing was dropped; StoreError; the signal's reason.
   */
  pack(work: PackWork): Promise<PackReport>
}

export interface PackWork {
  /** As recorded by {@link Packing.keep}. */
  readonly kept: KeptMoments
  /** A {@link MarkModule}. */
  readonly marker: URL
  /** How long to rest after each piece of work, as a multiple of the time that it took. */
  readonly rest: number
  /** Room that need not be given back, for what is written next, in bytes. */
  readonly spareBytes: number
  readonly onProgress: (progress: PackProgress) => void
  readonly signal?: AbortSignal | undefined
}

export interface PackProgress {
  readonly phase: PackPhase
  readonly done: number
  readonly total: number
}

/**
 * `mark`: objects looked into, of those that may exist. `sweep`: oids. `bulk`: bytes of bulk data. `give back`: bytes of
 * the index.
 */
export type PackPhase = 'mark' | 'sweep' | 'bulk' | 'give back'

/** What a pack did. */
export interface PackReport {
  /** What the database takes on the disk. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly revisionsDropped: number
  /** Objects that were not marked. */
  readonly objectsDropped: number
  readonly transactionsForgotten: number
  /** Room of bulk data that was given back, in bytes. */
  readonly bulkBytesFreed: number
  readonly durationMs: number
  /** The longest time that a commit had to wait for a step. */
  readonly longestStepMs: number
}

/** What the owner of a database has set about its history. It belongs to the database and is copied with it. */
export interface Retaining {
  /** As last set; undefined where it never was. */
  retention(): Promise<Retention | undefined>

  /** Records it durably. @throws StoreError on a store that is only read. */
  setRetention(retention: Retention): Promise<void>
}

/** Tells how much room a database takes, and for what. */
export interface Measuring {
  /** What the database takes on the disk. */
  space(): Promise<Space>

  /** Bytes that the disk of the database has free for this process; undefined if that is not known or not limited. */
  availableBytes(): Promise<number | undefined>

  /** What the transactions `(after, upTo]` added: from stored sums, without reading revisions. */
  added(after: Tid, upTo: Tid): Promise<Added>

  /** What all revisions take. */
  all(): Promise<Measured>

  /** What a pack that keeps these moments would leave. @throws as {@link Mark} */
  left(kept: KeptMoments, mark: Mark, onProgress?: OnMeasured): Promise<Measured>

  /** For what else is measured revision by revision. The caller closes it. */
  reader(): RevisionReader
}

/** In bytes. */
export interface Space {
  readonly totalBytes: number
  /** Room inside of the database that is free for what is written next. */
  readonly freeBytes: number
}

export interface Added {
  /** Bytes of records; shared bytes are left out. */
  readonly storedBytes: number
  readonly revisions: number
}

/** Bytes that several revisions share are counted once, those outside of the index in whole units. */
export interface Measured {
  readonly revisions: number
  readonly bytes: number
}

export type OnMeasured = (done: number, total: number) => void

/** Receives how much of a scan is done. */
export type Progress = (what: string, done: number, total: number) => void

/**
 * Finds and repairs damage below the records: in what the store itself keeps, whatever the records mean. Offered by a store
 * that was opened to be read.
 */
export interface Checking {
  /**
   * Checks everything that is stored, transactions after `upTo` left out: structure, checksums, counts, and that
   * every revision's bytes are there. May run beside a writer.
   */
  storage(options: StorageCheckOptions): AsyncIterable<StorageDamage>

  /** Reads what can be read although the database may be damaged. The caller closes it. */
  reader(): RevisionReader

  /** Whether a repair has recorded the loss of this state as final. */
  isAccepted(oid: Oid, tid: Tid): Promise<boolean>

  /** Records the loss of past states as final, so that later checks are silent about them. */
  accept(losses: readonly { readonly oid: Oid; readonly tid: Tid }[]): Promise<void>

  /**
   * Keeps every writer out until the repair is ended.
   * @throws LockedError where the database is in use; StoreError where it cannot be repaired as it is: then nothing
   *   was changed.
   */
  beginRepair(purpose: string): Promise<StorageRepair>
}

export interface StorageCheckOptions {
  readonly upTo: Tid
  /** Reads and checks every byte. */
  readonly everyByte: boolean
  readonly progress: Progress
}

export interface StorageRepair {
  /**
   * Makes what the store keeps consistent again.
   * @param index removes revisions that are not what was written, and rebuilds the rest of the index.
   * @throws StoreError where it cannot be read through: then nothing was changed.
   */
  mend(index: boolean): Promise<void>
  /** Lets writers in again. */
  end(): Promise<void>
}

/** Something that is not as it was written. */
export interface StorageDamage {
  /** `revision`: a state of an object cannot be read at all; `data`: a part of its bytes. */
  readonly kind: 'structure' | 'transaction' | 'revision' | 'data'
  readonly reason: string
  readonly oid?: Oid
  readonly tid?: Tid
  /** Whether `tid` is the newest revision of `oid`. */
  readonly isCurrent?: boolean
  /** For `data`: which bytes of the record, `[lo, hi)`. */
  readonly lo?: number
  readonly hi?: number
}

/** How much of its history a foreign database has. A pack of its own programs drops old states, and marks that. */
export interface ForeignHistory {
  /** False where the database keeps the newest state of each object alone. */
  readonly keepsHistory: boolean

  /**
   * The last transaction that a pack has gone through; TID_NONE where there is none. From it on every state is
   * there; before it an object may be missing at moments at which it existed.
   */
  packedUpTo(): Promise<Tid>
}
