/**
 * Optional features of a store, in addition to the contract of store.ts. Callers ask for them:
 * `store.capabilities.intents` is undefined if the store does not offer intents. Callers never check the store's class,
 * and may rely only on what a capability documents.
 *
 * | capability | offers                                                         |
 * |------------|----------------------------------------------------------------|
 * | `intents`  | bytes that are durable before they are part of a transaction   |
 * | `watching` | notifications of other processes' commits                      |
 * | `pinning`  | moments that a pack by another process must keep               |
 * | `packing`  | history before a moment, and garbage, dropped while in use     |
 * | `retaining`| how long its owner keeps history, stored in the database       |
 * | `dating`   | when transactions were made, by a clock that may have jumped   |
 * | `spilling` | transactions larger than memory                                |
 * | `measuring`| what the space is used for                                     |
 * | `checking` | finding and repairing damage below the level of records        |
 * | `presence` | whether its files still have their names                       |
 * | `foreignHistory` | how much history an external database has kept            |
 * | `copying`  | records as they are stored, with the bytes that they share     |
 * | `lineage`  | in which database the history began                            |
 * | `branch`   | that it is a branch, and where it begins                       |
 * | `connection` | whether the database's server answers                       |
 * | `leasing`  | writing beside other processes, in turns                       |
 * | `fileLocking` | locks of files among these processes                        |
 * | `compressing` | how new bulk bytes are stored                               |
 * | `encrypting` | what opens an encrypted database                             |
 * | `rawSending` | an encrypted database as it is stored, for a copy            |
 *
 * `test/store/contract/` has a suite for each; every store runs those of the capabilities that it offers.
 */
import type { Branch } from './branches.ts'
import type { CheckMemory, VerifiedBytes } from './check-memory.ts'
import type { Encrypting } from './encryption.ts'
import type { Presence } from './presence.ts'
import type { Copying, Lineage } from './copying.ts'
import type { ForeignHistory } from './foreign-history.ts'
import type { FileLocking } from './file-locking.ts'
import type { Leasing } from './leasing.ts'
import type { CompressionName } from './compression.ts'
import type { Oid, Tid } from './ids.ts'
import type { KeptMoments } from './kept-moments.ts'
import type { RevisionReader, Mark } from './stored-revisions.ts'
import type { RawSending } from './raw-stream.ts'
import type { Retention } from './retention.ts'
import type { Timeline } from './timeline.ts'
import type { ObjectChange } from './changes.ts'

export interface Capabilities {
  readonly intents?: Intents | undefined
  readonly watching?: Watching | undefined
  readonly pinning?: Pinning | undefined
  readonly packing?: Packing | undefined
  readonly retaining?: Retaining | undefined
  readonly dating?: Dating | undefined
  readonly spilling?: Spilling | undefined
  readonly measuring?: Measuring | undefined
  readonly checking?: Checking | undefined
  readonly presence?: Presence | undefined
  readonly foreignHistory?: ForeignHistory | undefined
  readonly copying?: Copying | undefined
  readonly lineage?: Lineage | undefined
  readonly connection?: Connection | undefined
  readonly encrypting?: Encrypting | undefined
  readonly rawSending?: RawSending | undefined
  readonly compressing?: Compressing | undefined
  readonly leasing?: Leasing | undefined
  readonly fileLocking?: FileLocking | undefined
  readonly branch?: Branch | undefined
}

/** How new bulk bytes are stored. Each database keeps this as a property; {@link OpenDatabaseOptions.compression} changes it. */
export interface Compressing {
  compression(): Promise<CompressionName>
}

/** Whether the database's server answers. */
export interface Connection {
  state(): ConnectionState
}

/**
 * `reconnecting`: the server does not answer; reads and commits wait for it, for a bounded time. `fenced`: nothing can be stored
 * any more, because the right to write is lost; the database can be read.
 */
export interface ConnectionState {
  readonly state: 'connected' | 'reconnecting' | 'fenced'
  /** Absent while connected. */
  readonly reason?: string
}

/** The intents that are in no transaction. */
export interface FoundIntents {
  readonly entries: readonly Uint8Array[]
  /** Whether the next entry is damaged, so that later entries are lost. */
  readonly isDamaged: boolean
  /** The tid of a transaction that entries follow and that was not committed: no other transaction may have it. */
  readonly uncommitted?: Tid
}

/** Bytes that are durable but in no transaction yet: one write and one sync. The transaction after the one that they follow voids them. */
export interface IntentEntries {
  /**
   * Reads the entries that are in no transaction, in order; an earlier process may have added them. Those that follow a
   * transaction that was never committed come last.
   */
  read(): Promise<FoundIntents>

  /**
   * Adds an entry that follows the last transaction, or the one that is being committed, whose tid {@link Intents.reserve}
   * returned. Entries are added in the order of the transactions that they follow. At most one call may be in progress. Resolves
   * to true once the entry is on disk or voided by a transaction, or to false if it could not be written (disk full, for example): then no
   * entry can be added before the transaction that voids it. Then the caller may use the memory of `bytes` again.
   */
  add(bytes: Uint8Array, follows?: Tid): Promise<boolean>

  /** Whether the entries take so much space that a transaction should void them soon. */
  readonly needsTransaction: boolean
}

/** Before {@link IntentEntries.read} is called, `commit` rejects if there are entries, because it would void entries that were never replayed. */
export interface Intents extends IntentEntries {
  /** The tid for the next transaction, which the caller passes to `commit`. No other transaction may be stored before. */
  reserve(): Promise<Tid>
}

/** Follows the commits of other processes. */
export interface Watching {
  /**
   * Calls `onAdvance` when there is a transaction later than `after`, and again for each later one; commits that come
   * in quick succession share a call. A call starts only after the previous call's promise has settled.
   * @returns a function that stops watching; a call in progress still completes.
   */
  watch(watcher: Watcher): () => void
}

export interface Watcher {
  /** The last transaction that the caller has seen. */
  readonly after: Tid
  /** Receives the last transaction's tid. */
  readonly onAdvance: (lastTid: Tid) => Promise<void>
  /** Receives the first error of a run of failures, of the store or of `onAdvance`. Watching continues. */
  readonly onError: (error: unknown) => void
  /** Maximum delay between a commit and its call, in milliseconds, if the store polls. */
  readonly intervalMs: number
  /** Whether it is called as soon as possible, at the price of more polls while another process commits. */
  readonly isEager?: boolean
}

/** Publishes the moments that this process reads, and lists those that other processes read. */
export interface Pinning {
  /**
   * Replaces the moments that this process reads. A pack by another process keeps them. Resolves to false if the
   * pin cannot be recorded (a read-only directory, for example): then a pack may forget them.
   * @throws StoreError if one of them is already forgotten.
   */
  pin(moments: readonly Tid[]): Promise<boolean>

  /** The moments that live processes have pinned. Pins of processes that have ended do not count. */
  pinned(): Promise<readonly Tid[]>
}

/**
 * Drops what no kept moment needs while the database is in use, and frees its space. If a pack is interrupted or its
 * process dies, everything kept is still there, and the next pack does the rest.
 */
export interface Packing {
  /** Which moments the last pack kept. */
  kept(): Promise<KeptMoments>

  /**
   * Records durably which moments are kept. From then on the store opens no others. Nothing is dropped until
   * {@link pack}.
   */
  keep(moments: KeptMoments): Promise<void>

  /**
   * Drops the revisions that no kept moment sees, unmarked objects, and transactions without remaining revisions, and
   * frees their space. Works in steps of some milliseconds between commits, in bounded memory. One call at a time. A store may remember
   * what it found, and look only at what has changed since.
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
  /** Free space to keep for the next writes, in bytes. */
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
 * The unit of each phase's progress. `mark`: objects visited, of those that may exist, or revisions that changed. `sweep`: oids, or
 * revisions to drop. `bulk`: bytes of bulk data. `give back`: bytes of the index.
 */
export type PackPhase = 'mark' | 'sweep' | 'bulk' | 'give back'

/** What a pack did. */
export interface PackReport {
  /** Size of the database on disk. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly revisionsDropped: number
  /** Objects that were not marked. */
  readonly objectsDropped: number
  readonly transactionsForgotten: number
  /** Bulk data freed, in bytes. */
  readonly bulkBytesFreed: number
  readonly durationMs: number
  /** The longest time that a step could delay a commit. */
  readonly longestStepMs: number
}

/** What the owner of a database has set about its history. It belongs to the database and is copied with it. */
export interface Retaining {
  /** As last set; undefined if it never was. */
  retention(): Promise<Retention | undefined>

  /** Records it durably. @throws StoreError on a store that is only read. */
  setRetention(retention: Retention): Promise<void>
}

/** When transactions were made. In a store without it, the time of a transaction is that of its tid. */
export interface Dating {
  /** As of now; a jump of the clock that is found is recorded. */
  timeline(): Promise<Timeline>
}

/**
 * Stores a transaction in parts, so that one may be larger than memory. A part is found at the tid that the transaction will
 * have, and at no other moment: `lastTid`, `transactions` and `changes` do not show it. The next `commit` completes the
 * transaction, even one without changes. Parts that no commit completes are removed when the database is opened again.
 */
export interface Spilling {
  /**
   * Stores a part; the changes of one may replace those of an earlier one, with its tid as their base.
   * @param tid as NewTransaction.tid; counts with the first part.
   * @returns the tid of the transaction.
   * @throws as `commit`; then earlier parts stay.
   */
  spill(changes: readonly ObjectChange[], tid?: Tid): Promise<Tid>

  /** Removes the parts, and frees their space. What cannot be removed now is removed before the next transaction or part. */
  drop(): Promise<void>
}

/** Measures how much space a database takes, and for what. */
export interface Measuring {
  /** Size of the database on disk. */
  space(): Promise<Space>

  /**
   * Free bytes on the database's disk that new data may use; undefined if unknown or unlimited. The space that a store reserves
   * for deletions on a full disk does not count.
   */
  availableBytes(): Promise<number | undefined>

  /**
   * Bytes of changes that can be stored even if another program fills the disk now: space is reserved for them. Undefined if the
   * disk is far from full, or nothing can be reserved on it.
   */
  securedBytes(): Promise<number | undefined>

  /** What the transactions `(after, upTo]` added, from stored totals, also if it was dropped since. Constant time. */
  added(after: Tid, upTo: Tid): Promise<Added>

  /** Sums over all revisions, from stored totals. Constant time. */
  sums(): Promise<Sums>

  /** The size of all revisions. */
  all(): Promise<Measured>

  /** What would remain after a pack that keeps these moments. @throws as {@link Mark} */
  left(kept: KeptMoments, mark: Mark, onProgress?: OnMeasured): Promise<Measured>

  /** For measurements of single revisions. The caller closes it. */
  reader(): RevisionReader
}

/** In bytes. */
export interface Space {
  readonly totalBytes: number
  /** Of these, bulk data outside of the index. */
  readonly bulkBytes: number
  /** Free space inside the database, reused by the next writes. */
  readonly freeBytes: number
  /** The bulk bytes that are stored in frames: their length, and that of the frames. Absent if there are none, or it is unknown. */
  readonly framed?: { readonly unitBytes: number; readonly storedBytes: number }
}

export interface Added {
  /** Bytes of records, excluding shared bytes. */
  readonly storedBytes: number
  readonly revisions: number
  /** Bytes of the revisions that they replaced, shared ones included. */
  readonly replacedBytes: number
}

/** Sums over revisions. Bytes of bulk data count for each revision that points to them. */
export interface RevisionSums {
  readonly revisions: number
  readonly rowBytes: number
  readonly bulkBytes: number
}

/** Sums over the revisions that are there. */
export interface Sums {
  /** Objects that have a revision. */
  readonly objects: number
  readonly all: RevisionSums
  /** Of revisions that a later one of the same object has replaced. */
  readonly past: RevisionSums
}

/** Bytes shared by several revisions count once; bytes outside the index count in whole units. */
export interface Measured {
  readonly revisions: number
  readonly bytes: number
}

export type OnMeasured = (done: number, total: number) => void

/** Receives how much of a scan is done. */
export type Progress = (what: string, done: number, total: number) => void

/** Finds and repairs damage in the store's own structures, whatever the records mean. Offered by stores opened for reading. */
export interface Checking {
  /**
   * Checks everything stored up to `upTo`: structure, checksums, counts, and that every revision's bytes are present.
   * May run while a writer is active.
   */
  storage(options: StorageCheckOptions): AsyncIterable<StorageDamage>

  /** Absent: every check reads all. */
  readonly memory?: CheckMemory

  /** Reads what is readable in a database that may be damaged. The caller closes it. */
  reader(): RevisionReader

  /** Whether a repair has accepted the loss of this state. */
  isAccepted(oid: Oid, tid: Tid): Promise<boolean>

  /** Accepts the loss of past states, so that later checks do not report them. */
  accept(losses: readonly { readonly oid: Oid; readonly tid: Tid }[]): Promise<void>

  /**
   * Locks out all writers until the repair ends.
   * @throws LockedError if the database is in use; StoreError if it cannot be repaired in its present state. Nothing
   *   has been changed then.
   */
  beginRepair(purpose: string): Promise<StorageRepair>
}

export interface StorageCheckOptions {
  readonly upTo: Tid
  /** Reads and checks every byte. */
  readonly everyByte: boolean
  /** Where to continue. */
  readonly verified?: VerifiedBytes | undefined
  readonly progress: Progress
}

export interface StorageRepair {
  /**
   * Makes the store's own structures consistent again.
   * @param index removes revisions that differ from what was written, and rebuilds the rest of the index.
   * @throws StoreError if it cannot be read to its end. Nothing has been changed then.
   */
  mend(index: boolean): Promise<void>
  /** Releases the lock. */
  end(): Promise<void>
}

/** A difference from what was written. */
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
