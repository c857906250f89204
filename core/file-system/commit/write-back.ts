/**
 * Write-back: changes are made in memory and stored later, as transactions. This class is the interface for operations; the
 * parts behind it are
 *
 * | file           | does                                                                          |
 * |----------------|-------------------------------------------------------------------------------|
 * | admission.ts   | holds changes back until they fit in memory and on the disk                   |
 * | committer.ts   | when changes become transactions, and the pipeline that makes one             |
 * | fsync.ts       | the fast path of fsync through the store's intent log                         |
 * | transaction.ts | transactions that a caller delimits                                           |
 * | bookkeeping.ts | state that every transaction includes besides the changes: counts, orphans    |
 *
 * One write is recorded in these ledgers, each until the event named:
 *
 * | ledger              | keeps                                                  | until                      |
 * |---------------------|--------------------------------------------------------|----------------------------|
 * | Connection          | the data itself (overlays, then records), its size     | the commit                 |
 * | Node                | how many bytes the file's stored data will grow by     | the prepare                |
 * | Changes             | which files, their names, approximate other memory     | the prepare                |
 * | StagedIntents       | its intent, with a copy of the data (at most 2 MiB)    | an fsync or the prepare    |
 * | Admission           | the size of writes that run                            | the end of the operation   |
 */
import type { Intents } from '../../../store/capabilities.ts'
import { NoSpaceError } from '../../../store/errors.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Node } from '../inodes/tree.ts'
import type { Caller } from '../operations.ts'
import { Admission, type DiskRoom } from './admission.ts'
import { Changes } from './changes.ts'
import type { CommitFigures } from './commit-figures.ts'
import { Committer } from './committer.ts'
import type { CommitterOptions } from './committer-options.ts'
import { Fsync } from './fsync.ts'
import { Transactions, type TransactionOptions } from './transaction.ts'
import type { IntentChange } from './intent.ts'
import { StagedIntents } from './staged-intents.ts'
import type { Adjustments } from '../served-file-system.ts'

export interface WriteBackOptions
  extends Omit<CommitterOptions, 'changes' | 'intents' | 'reserveTid'>, TransactionOptions {
  /** The store's intent log. */
  readonly intents: Intents | undefined
  /** Measures the free space of the disk; undefined if it is unlimited. */
  readonly measuring: DiskRoom | undefined
}

/** The bounds that a remount can change. */
export type CommitLimits = Pick<CommitterOptions, 'commitIntervalMs' | 'dirtySizeBytes'>

export class WriteBack {
  readonly admission: Admission
  readonly transactions: Transactions
  readonly #changes = new Changes()
  readonly #intents: StagedIntents
  readonly #committer: Committer
  readonly #fsync: Fsync
  readonly #limits: CommitLimits
  readonly #collectPages: () => Promise<void> | undefined

  constructor(options: WriteBackOptions) {
    const { intents } = options
    this.#intents = new StagedIntents(intents !== undefined)
    const committing = {
      ...options,
      changes: this.#changes,
      intents: this.#intents,
      reserveTid: intents && (() => intents.reserve()),
    }
    this.#limits = committing
    this.#committer = new Committer(committing)
    this.#fsync = new Fsync(intents, this.#intents, this.#committer)
    this.admission = new Admission(this.#committer, options.dirtySizeBytes, options.measuring)
    this.#collectPages = options.collectPages
    this.transactions = new Transactions(this.#committer, options)
  }

  get dirtyLimitBytes(): number {
    return this.#limits.dirtySizeBytes
  }

  /** Changes the bounds from the next change on. */
  limit({ commitIntervalMs, dirtySizeBytes }: Omit<Adjustments, 'ignoresAccess'>): void {
    if (commitIntervalMs !== undefined) this.#limits.commitIntervalMs = commitIntervalMs
    if (dirtySizeBytes === undefined) return
    this.#limits.dirtySizeBytes = dirtySizeBytes
    this.admission.dirtySizeBytes = dirtySizeBytes
  }

  get figures(): CommitFigures {
    return this.#committer.figures
  }

  /** Bytes of changes in memory that are not stored yet. */
  get dirtyBytes(): number {
    return this.#committer.dirtyBytes
  }

  /** Why the last commit failed; undefined if it did not. */
  get failure(): unknown {
    return this.#committer.conflict ?? this.#committer.failure?.error
  }

  /** Whether changes are unstored or being stored. */
  get isDirty(): boolean {
    return this.#committer.isDirty
  }

  // ---- changes, recorded while the gate is held shared

  /** Records a changed inode; `bytes`: its approximate memory besides its data. */
  changed(node: Node, bytes: number): void {
    this.#changes.name(node)
    this.#changes.addRecord(node)
    this.changedOther(bytes)
  }

  /** As {@link WriteBack.changed}, as part of an operation that calls {@link WriteBack.intend}. */
  changedAsIntended(node: Node, bytes: number): void {
    this.#changes.name(node)
    this.#changes.addRecord(node)
    this.changedQuietly(bytes)
  }

  /** Records the process whose operation changes something. @param writes whether it changes data. */
  noteWriter(caller: Caller, writes: boolean): void {
    this.#changes.writers.note(caller, writes)
  }

  /** Stages the intent of a change: called once per change, while the operation holds its locks, so that intents are in order. */
  intend(timeNs: bigint, change: IntentChange): void {
    if (this.#committer.isPaused) this.#intents.spoil()
    else this.#intents.note(timeNs, change)
  }

  /** Records a file whose data was changed: the next prepare computes its stored size. */
  fileChanged(node: Node): void {
    this.#changes.addFile(node)
  }

  /** Records a change that the description does not name. */
  changedOther(bytes: number): void {
    this.#intents.spoil()
    this.changedQuietly(bytes)
  }

  /** Records a change that an fsync need not store. */
  changedQuietly(bytes: number): void {
    this.#changes.add(bytes)
    this.#committer.noteChange()
  }

  /** To be called at the end of each operation that changes something, with the gate shared. */
  loadChanges(): Promise<void> | undefined {
    return this.#committer.loadChanges()
  }

  // ---- storing

  /** Everything up to now is on disk when this resolves. @throws StoreError */
  fsync(): Promise<void> {
    return this.#fsync.fsync()
  }

  /** Stores everything up to now; resolves to the last transaction's tid when it is on disk. @throws StoreError */
  async sync(message?: string): Promise<Tid> {
    await this.#collectPages()
    return await this.#committer.sync(message)
  }

  /** As {@link WriteBack.sync}, without what the kernel has not sent yet. @throws StoreError */
  async storeAll(): Promise<void> {
    while (this.#committer.isDirty && !this.transactions.isOpen) await this.#committer.sync()
  }

  /** Runs operations that no commit may split, however much they change. Nothing else may run. */
  async replaying(work: () => Promise<void>): Promise<void> {
    this.#committer.isSuspended = true
    this.admission.isUnbounded = true
    try {
      await work()
    } finally {
      this.admission.isUnbounded = false
      this.#committer.isSuspended = false
    }
  }

  /** Stores what was changed while the filesystem was being opened. @throws StoreError, with the timer stopped. */
  async storeFirst(): Promise<void> {
    this.changedOther(0)
    try {
      await this.sync()
    } catch (error) {
      this.#committer.stopTimer()
      throw error
    }
  }

  /**
   * Stores everything while no operation runs: a pack may drop records afterwards that running operations would
   * still refer to. If the disk is full, the changes stay in memory.
   * @returns the moments whose bytes they share: a pack must keep these.
   * @throws StoreError; also while a transaction is open.
   */
  async quiesce(): Promise<readonly Tid[]> {
    // The first commit runs concurrently with operations and leaves little for the second.
    await unlessFull(() => this.sync())
    return await this.#committer.exclusively(async () => {
      this.transactions.assertNotOpen()
      if (!this.#committer.isDirty) return []
      await unlessFull(() => this.#committer.commitExclusively())
      return this.#committer.sharedMoments
    })
  }

  /** Drops every change that is not stored, and stops. */
  async abandon(): Promise<void> {
    if (this.transactions.isOpen) await this.transactions.rollBack()
    await this.#committer.exclusively(() => Promise.resolve(this.#committer.discard()))
  }

  /** Drops every change that is not stored; `restore` then brings in-memory state back. Changes may follow. */
  async revert(restore: () => Promise<void>): Promise<void> {
    await this.#committer.exclusively(async () => {
      this.transactions.forget()
      await this.#committer.discard()
      await restore()
    }, false)
  }

  /** Rolls back an open transaction, stores everything and stops. @throws StoreError; may then be retried. */
  async close(): Promise<void> {
    if (this.transactions.isOpen) await this.transactions.rollBack()
    await this.#committer.close()
  }
}

/** Runs `store`, ignoring a full disk. @throws StoreError */
async function unlessFull(store: () => Promise<unknown>): Promise<void> {
  try {
    await store()
  } catch (error) {
    if (!(error instanceof NoSpaceError)) throw error
  }
}
