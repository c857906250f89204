/**
 * The committer: turns changes into transactions on request (sync), on a timer, and at half the dirty bound.
 *
 * One commit runs at a time, at most one is queued behind it, and requests share the queued one until it begins. A commit
 *
 * 1. waits for the running one, and after a failure until {@link RETRY_MS} have passed;
 * 2. with the gate shared, loads what the prepare reads; at the end, changes load what they add;
 * 3. with the gate exclusive, takes the changes and serialises them: the pending records are then a prefix of all operations;
 * 4. releases the gate and has the store write the transaction. Reads and changes continue.
 *
 * {@link Committer.commitExclusively} runs steps 3 and 4 with the gate exclusive throughout. While a delimited transaction is open
 * (transaction.ts), step 4 stores a part of it, and only the dirty bound starts a commit.
 *
 * A commit that fails loses nothing: the next one (sync, timer, or a waiting change) carries its changes as well. If the disk
 * was full, it first drops the records of inodes deleted since, so that the rest may fit.
 * After a ConflictError no commit can succeed, because the changes were made from a state that another writer has
 * replaced: from then on every commit fails at once with that error and no change is admitted. Reads continue.
 *
 * | field                 | written by                                                              |
 * |-----------------------|-------------------------------------------------------------------------|
 * | #hasPrepared          | a prepare, with the gate exclusive; then the running commit             |
 * | #storingAt            | a prepare, with the gate exclusive; then the running commit             |
 * | #failure, #conflict   | the running commit; a rollback, with the gate exclusive                 |
 * | #isPaused             | transaction.ts, with the gate exclusive                                 |
 * | #exclusive            | {@link Committer.exclusively}                                           |
 * | #dropped              | a prepare, with the gate exclusive; emptied by the running commit       |
 * | #running, #queued     | the scheduler below; #running moves with the gate exclusive             |
 * | #timer                | every change; stopped by each commit                                    |
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { DroppedFile } from '../../objects/unreachable.ts'
import { ConflictError, NoSpaceError } from '../../../store/errors.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Node } from '../inodes/tree.ts'
import { describe } from './changes.ts'
import { CommitFigures } from './commit-figures.ts'
import type { CommitFailure, CommitterOptions } from './committer-options.ts'

/** Minimum time between a failed commit and the next attempt. */
const RETRY_MS = 250

export class Committer {
  /** Whether automatic commits are suspended: while intents are replayed. */
  isSuspended = false
  securedBytes = Infinity // as Measuring.securedBytes, which admission measures
  readonly figures = new CommitFigures()
  readonly #options: CommitterOptions
  /** Prepared changes that no commit has stored. */
  #hasPrepared = false
  /** The tid that the running commit's transaction will have, from the prepare on. */
  #storingAt: Tid | undefined
  #running: Promise<Tid> | undefined
  #queued: Promise<Tid> | undefined
  #attempts = 0
  #failure: CommitFailure | undefined
  #conflict: ConflictError | undefined
  #timer: NodeJS.Timeout | undefined
  #isPaused = false
  /** Whether the load step of a commit has loaded all earlier changes, so that each further one loads what it adds. */
  #isCatchingUp = false
  /** The last {@link Committer.exclusively}, until it has ended. */
  #exclusive: Promise<unknown> | undefined
  #isClosing = false
  /** Inodes without a name that were dropped since the last commit. */
  #dropped: DroppedFile[] = []
  /** Called after each commit, whether it succeeded or not. Must not throw. */
  onSettled: () => void = () => {}

  constructor(options: CommitterOptions) {
    this.#options = options
  }

  /** Number of commits begun. */
  get attempts(): number {
    return this.#attempts
  }

  get failure(): CommitFailure | undefined {
    return this.#failure
  }

  /** Set permanently when another writer has replaced the state that these changes were made from. */
  get conflict(): ConflictError | undefined {
    return this.#conflict
  }

  /** Bytes of changes in memory that are not stored yet. */
  get dirtyBytes(): number {
    return this.#options.connection.dirtyBytes + this.#options.changes.bytes
  }

  /** The moments whose bytes prepared changes share. */
  get sharedMoments(): readonly Tid[] {
    return this.#options.connection.sharedMoments
  }

  /** Whether changes are unstored or being stored. */
  get isDirty(): boolean {
    return this.#hasPrepared || !this.#options.changes.isEmpty || this.#isBusy
  }

  /** Whether a delimited transaction is open: until it ends, its parts are stored, and nothing is committed. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  /** The tid of the last transaction. */
  get committedAt(): Tid {
    return this.#options.connection.committedAt
  }

  /** The tid of the transaction that is being stored, which changes made now follow. */
  get storingAt(): Tid | undefined {
    return this.#storingAt
  }

  /** Whether the intent log may receive changes: they follow a transaction whose tid is known, and none has failed to be stored. */
  get canLog(): boolean {
    return (!this.#hasPrepared || this.#storingAt !== undefined) && !this.#isPaused
  }

  /** Resolves when the running commit, if any, has ended. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => undefined)
  }

  /** The running commit, else a new one. @throws StoreError */
  nextCommit(): Promise<Tid> {
    return this.#running ?? this.#commit()
  }

  /** To be called after each addition to the changes: starts the timer, and a commit at half the bound of dirty bytes. */
  noteChange(): void {
    this.figures.changed()
    if (this.#conflict !== undefined || this.isSuspended) return
    this.#startTimer()
    if (this.dirtyBytes * 2 >= Math.min(this.#options.dirtySizeBytes, this.securedBytes)) this.commitSoon()
  }

  /** Starts a commit unless one runs or the last one failed. */
  commitSoon(): void {
    if (this.#failure === undefined && !this.#isBusy && !this.#options.changes.isEmpty)
      this.#commitInBackground()
  }

  /** Stores everything up to now; resolves to the last transaction's tid when it is on disk. @throws StoreError */
  async sync(message?: string): Promise<Tid> {
    const { connection, changes } = this.#options
    // Waits for a transaction that is ending.
    if (this.#isPaused) await this.#exclusive?.catch(() => undefined)
    if (this.#isPaused) return connection.committedAt
    if (message !== undefined) changes.addMessage(message)
    if (!changes.isEmpty || message !== undefined) return await this.#commit()
    const tid = await this.#running?.catch(() => undefined)
    if (tid !== undefined) return tid
    // The running commit failed, but it began earlier and its cause may have passed: try again.
    return this.isDirty ? await this.#commit() : connection.committedAt
  }

  /** Stores everything and stops the timer. @throws StoreError; may then be retried. */
  async close(): Promise<void> {
    this.#isClosing = true
    try {
      while (this.isDirty) await this.sync()
    } finally {
      this.#isClosing = false
    }
    this.stopTimer()
  }

  stopTimer(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** To be called at the end of each change, with the gate shared: at the end of a commit's load step, loads what the change adds to that. */
  loadChanges(): Promise<void> | undefined {
    if (!this.#isCatchingUp || !this.#options.connection.keptReads.isKeeping) return undefined
    // If it fails, the prepare fails with the same error.
    return this.#loadChanges().catch(() => undefined)
  }

  async #loadChanges(): Promise<void> {
    const { connection, bookkeeping } = this.#options
    await bookkeeping.loadChanges()
    await connection.loadChanges()
  }

  // ---- for transactions

  /**
   * Runs `work` with the gate exclusive and no commit running.
   * @param willCommit whether it may call {@link Committer.commitExclusively}.
   */
  async exclusively<T>(work: () => Promise<T>, willCommit = true): Promise<T> {
    const running = this.#exclusively(work, willCommit)
    this.#exclusive = running
    try {
      return await running
    } finally {
      if (this.#exclusive === running) this.#exclusive = undefined
    }
  }

  async #exclusively<T>(work: () => Promise<T>, willCommit: boolean): Promise<T> {
    const { gate } = this.#options
    if (willCommit) await this.#load()
    return await gate.whileAlone(async () => {
      await this.settled()
      return await work()
    })
  }

  /** Stores everything, within {@link Committer.exclusively}. @throws StoreError */
  async commitExclusively(message?: string): Promise<Tid> {
    const { connection } = this.#options
    const running = this.#prepareAndCommit(message, () => undefined).then(() => connection.at)
    this.#running = running
    try {
      return await running
    } finally {
      if (this.#running === running) this.#running = undefined
    }
  }

  /** Suspends commits until {@link Committer.resume}. Within {@link Committer.exclusively}. */
  pause(): void {
    this.#isPaused = true
    this.stopTimer()
  }

  resume(): void {
    this.#isPaused = false
  }

  /** Drops every change that is not stored. Within {@link Committer.exclusively}. */
  async discard(): Promise<void> {
    const { connection, changes, intents } = this.#options
    await connection.abort()
    changes.clear()
    intents.unseal()
    intents.spoil()
    this.stopTimer()
    this.#hasPrepared = false
    this.figures.discarded()
    this.#dropped = []
    this.#failure = undefined
    this.#conflict = undefined
  }

  // ---- the pipeline

  /**
   * With the gate exclusive. `onPrepared` is called between the prepare and the commit, even if the prepare failed. If a
   * delimited transaction stays open, the prepared changes become a part of it.
   */
  async #prepareAndCommit(message: string | undefined, onPrepared: () => void): Promise<void> {
    const { connection, changes, intents, reserveTid } = this.#options
    const isPart = this.#isPaused
    const wasFull = this.#failure?.error instanceof NoSpaceError
    const attempt = ++this.#attempts
    this.stopTimer()
    const taken = changes.take()
    const ended = this.figures.began()
    let isPrepared = false
    try {
      try {
        if (this.#conflict !== undefined) throw this.#conflict
        await this.#prepare(taken.files, wasFull)
        isPrepared = true
        const { hasPending } = connection
        try {
          if (hasPending && !isPart) this.#storingAt = await reserveTid?.()
        } finally {
          this.#hasPrepared = hasPending
        }
        if (isPart) intents.spoil()
        else if (this.#hasPrepared) intents.seal()
      } finally {
        connection.dropLoaded()
        onPrepared()
      }
      if (wasFull) await connection.dropFiles(this.#dropped)
      if (this.#hasPrepared && isPart) {
        await connection.spill()
        changes.putBack(taken, true)
        this.#hasPrepared = false
      } else if (this.#hasPrepared) {
        const tid = this.#storingAt
        const about = { description: message ?? describe(taken), ...(tid !== undefined && { tid }) }
        const hasMessage = message !== undefined || taken.messages.length > 0
        await connection.commit(about, [], { writers: taken.writers.list(), hasMessage })
        this.#hasPrepared = false
        intents.unseal()
        this.#dropped = []
        this.figures.commits++
      }
      if (!isPart) this.figures.stored()
      this.#failure = undefined
    } catch (error) {
      changes.putBack(taken, isPrepared)
      if (isPrepared) intents.spoilAll()
      this.figures.failures++
      this.#failure = { error, attempt, atMs: performance.now() }
      if (error instanceof ConflictError) this.#conflict = error
      else this.#startTimer()
      throw error
    } finally {
      this.#storingAt = undefined
      ended()
      this.onSettled()
    }
  }

  async #prepare(files: Set<Node>, wasFull: boolean): Promise<void> {
    const { connection, bookkeeping } = this.#options
    this.#dropped.push(...(await bookkeeping.recordOrphans(files)))
    await connection.prepare(() => bookkeeping.recordUsage(files))
    if (wasFull) await connection.dropUnreachable()
  }

  // ---- the scheduler

  get #isBusy(): boolean {
    return this.#running !== undefined || this.#queued !== undefined
  }

  #commit(): Promise<Tid> {
    if (this.#queued !== undefined) return this.#queued
    const queued = this.#runQueued().finally(() => {
      if (this.#running === queued) this.#running = undefined
      if (this.#queued === queued) this.#queued = undefined
    })
    this.#queued = queued
    return queued
  }

  async #runQueued(): Promise<Tid> {
    // Yields at least once, so that the caller can assign #queued.
    await this.settled()
    if (this.#failure !== undefined && this.#conflict === undefined)
      await sleep(Math.max(0, this.#failure.atMs + RETRY_MS - performance.now()))
    const { connection, gate } = this.#options
    if (!this.#isPaused) await this.#addAccessTimes()
    await this.#load()
    await gate.alone()
    this.#running = this.#queued
    this.#queued = undefined
    await this.#prepareAndCommit(undefined, () => gate.release()).catch(error => this.#logFailure(error))
    return connection.committedAt
  }

  #logFailure(error: unknown): never {
    const { log } = this.#options
    if (error instanceof ConflictError)
      log.fatal({ err: error }, 'another writer has changed the database: changes can no longer be stored')
    else log.error({ err: error }, 'changes could not be stored: they stay in memory and are tried again')
    throw error
  }

  async #addAccessTimes(): Promise<void> {
    const { gate, changes, storeAccessTimes } = this.#options
    if (changes.isEmpty) return
    // If it fails, they stay noted: a failed read must not keep changes from being stored.
    await gate.whileShared(() => storeAccessTimes(this.#isClosing)).catch(() => undefined)
  }

  /**
   * Loads what the prepare needs, so that it reads nothing while the gate is exclusive. What is changed meanwhile is loaded at its
   * end; only changes that run then load for themselves, because a change loads its whole block.
   */
  async #load(): Promise<void> {
    const { gate, bookkeeping, changes, connection } = this.#options
    if (changes.isEmpty) return
    this.#isCatchingUp = false
    await gate
      .whileShared(async () => {
        await bookkeeping.load(changes.files)
        await connection.loadForPrepare()
        this.#isCatchingUp = true
        await this.#loadChanges()
        // If it fails, the prepare fails with the same error, and so does the commit.
      })
      .catch(() => undefined)
  }

  #startTimer(): void {
    if (this.#isPaused) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      const pages = this.#options.collectPages()
      void (pages ?? Promise.resolve()).then(() => this.#commitInBackground())
    }, this.#options.commitIntervalMs)
  }

  /** A failure is kept for waiting changes, and logged. */
  #commitInBackground(): void {
    this.#commit().catch(() => undefined)
  }
}
