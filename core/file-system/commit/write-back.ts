/**
 * When changes become transactions: at fsync and sync, on a timer, at the dirty bound, and at the end.
 *
 * One commit is under way at a time, and at most one is queued behind it; whoever needs a commit before that one has
 * begun shares it (so fsyncs that arrive together cost one). A commit
 *
 * 1. waits for the one under way,
 * 2. takes the gate alone, which no change passes, and prepares: what is pending is a prefix of all operations,
 * 3. gives the gate back and lets the store write. Reads and changes go on.
 *
 * When it fails, nothing is lost: what it carried is committed by the next one: at the next fsync, tick of the timer, or
 * write. Until one succeeds data is not accepted, and nothing else beyond the bound. Whoever is not accepted waits for
 * one attempt that was begun after he came, so that room which was made before is found, and gets its failure; all who
 * wait share it.
 *
 * An fsync is in more of a hurry than that: as long as nothing but data was written since the last transaction, these
 * writes go to the store's intent log (write-intents.ts), and the transaction comes later. One entry is added at a
 * time, while no commit is under way; who comes meanwhile shares the next one.
 *
 * Who waits for room is served in the order of coming, so that small changes do not keep a large one out for ever.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Connection } from '../../objects/connection.ts'
import { NoSpaceError, StoreError } from '../../../store/errors.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Intents } from '../../../store/capabilities.ts'
import { ReadWriteLock } from '../locks.ts'
import { ChangedFiles } from './changed-files.ts'
import type { Node } from '../inodes/node.ts'
import { WriteIntents, type PastWrite } from './write-intents.ts'

/** After a failure the next attempt waits so long, however many want it. */
const RETRY_MS = 250

export interface WriteBackOptions {
  readonly connection: Connection
  /** The store's. */
  readonly intents: Intents | undefined
  readonly gate: ReadWriteLock
  /** How long after the first change it is committed. */
  readonly commitIntervalMs: number
  /** How much may be held in memory, in bytes. A commit is begun at half of it. */
  readonly dirtySizeBytes: number
  readonly log: Logger
  /** Called with the gate held alone, before the changes are serialised. */
  readonly beforePrepare: () => Promise<void>
  /** Called when all is stored; what it gives puts everything beside the database back to how it is then. */
  readonly remember: () => () => Promise<void>
}

export class WriteBack {
  readonly #options: WriteBackOptions
  readonly #changedFiles = new ChangedFiles()
  /** What was written since the last prepare. */
  readonly #writes = new WriteIntents()
  #messages: string[] = []
  /** Changes that no prepare has seen, roughly, in bytes; undefined: there are none. */
  #unpreparedBytes: number | undefined
  /** What is being written by changes that were admitted and are not made yet. */
  #admittedBytes = 0
  /** Prepared changes that no commit has stored. */
  #hasPrepared = false
  #underWay: Promise<Tid> | undefined
  #queued: Promise<Tid> | undefined
  /** The entry that is being added to the intent log, and the one after it: whether there could be one. */
  #entry: Promise<boolean> | undefined
  #nextEntry: Promise<boolean> | undefined
  /** How many commits were begun. */
  #attempts = 0
  /** Of the last commit, where it failed. */
  #failure: { readonly error: unknown; readonly attempt: number; readonly atMs: number } | undefined
  /** Held alone by the first of those who wait for room; the others wait for it. */
  readonly #line = new ReadWriteLock()
  #timer: NodeJS.Timeout | undefined
  #commits = 0
  /** Takes back what was changed since a transaction was begun; while there is one, nothing is stored. */
  #recall: (() => Promise<void>) | undefined

  constructor(options: WriteBackOptions) {
    this.#options = options
  }

  /** How many transactions were stored. */
  get commits(): number {
    return this.#commits
  }

  /** The bytes of changes in memory that are not stored yet. */
  get dirtyBytes(): number {
    return this.#options.connection.dirtyBytes + (this.#unpreparedBytes ?? 0)
  }

  /** Whether something is not stored, or being stored. */
  get isDirty(): boolean {
    return this.#hasPrepared || this.#unpreparedBytes !== undefined || this.#isBusy
  }

  /**
   * Waits until a change of so many bytes of data (or of none) may be made. To be called before the gate is taken;
   * {@link WriteBack.leave} follows. Data is refused as soon as it is known that it could not be stored.
   * @throws what a commit has failed with that was begun since.
   */
  admit(dataBytes: number): Promise<void> | undefined {
    const isFirst = dataBytes === 0 || this.#line.isFree
    if (!isFirst || !this.#isOpenTo(dataBytes)) return this.#waitForRoom(dataBytes)
    this.#admittedBytes += dataBytes
    return undefined
  }

  /** An admitted change was made, or not. */
  leave(dataBytes: number): void {
    this.#admittedBytes -= dataBytes
  }

  /** A change was made, while the gate was held: of this inode, and in memory beside its data of so many bytes. */
  changed(node: Node, bytes: number): void {
    this.#changedFiles.note(node)
    this.touch(bytes)
  }

  /** A file was written to, as {@link WriteBack.changed}. */
  wrote(node: Node, bytes: number, write: PastWrite): void {
    if (this.isDeferring) return this.changed(node, bytes)
    this.#changedFiles.note(node)
    this.#writes.note(write)
    this.touchLazily(bytes)
  }

  /** A change was made that concerns no file. */
  touch(bytes: number): void {
    this.#writes.spoil()
    this.touchLazily(bytes)
  }

  /** A change was made that no fsync is there for. */
  touchLazily(bytes: number): void {
    this.#unpreparedBytes = (this.#unpreparedBytes ?? 0) + bytes
    if (this.isDeferring) return
    this.#timer ??= setTimeout(() => this.#tick(), this.#options.commitIntervalMs)
    if (this.dirtyBytes * 2 >= this.#options.dirtySizeBytes && this.#failure === undefined && !this.#isBusy)
      this.#commitInBackground()
  }

  /** Everything up to now is on disk when this resolves, in a transaction or to be found by the next mount. @throws StoreError. */
  async fsync(): Promise<void> {
    if (this.#options.intents === undefined || !(await this.#log())) await this.sync()
  }

  /** Resolves to whether the intent log has all that no transaction has. */
  #log(): Promise<boolean> {
    this.#nextEntry ??= this.#addNext()
    return this.#nextEntry
  }

  async #addNext(): Promise<boolean> {
    // Also leaves the caller the time to note what is next.
    await this.#entry
    await this.#underWay?.catch(() => undefined)
    this.#entry = this.#nextEntry
    this.#nextEntry = undefined
    if (this.#isBusy || this.#hasPrepared || this.isDeferring || !this.#writes.isComplete) return false
    const entry = this.#writes.take()
    if (entry === undefined || (await this.#options.intents?.add(entry)) === true) return true
    // It was taken: from here on only a transaction can tell.
    this.#writes.spoil()
    return false
  }

  /** Stores everything up to now; resolves to the last transaction's tid when it is on disk. @throws StoreError. */
  async sync(message?: string): Promise<Tid> {
    if (this.isDeferring) return this.#options.connection.at
    if (message !== undefined) this.#messages.push(message)
    if (this.#unpreparedBytes !== undefined || message !== undefined) return await this.#commit()
    const tid = await this.#underWay?.catch(() => undefined)
    if (tid !== undefined) return tid
    // Where that has failed: it was begun before, and its cause may be gone.
    return this.isDirty ? await this.#commit() : this.#options.connection.at
  }

  /** Stores what was made before there was anybody to change it. @throws StoreError; then there is nothing left to do. */
  async storeFirst(): Promise<void> {
    this.touch(0)
    try {
      await this.sync()
    } catch (error) {
      this.#stopTimer()
      throw error
    }
  }

  /**
   * Stores everything while nothing is under way, an undo for instance: what was taken from a moment of the past is stored
   * with it. @throws StoreError; also during a transaction that somebody delimits.
   */
  async settle(): Promise<void> {
    // Most of it without keeping anybody waiting.
    await this.sync()
    await this.#alone(async () => {
      this.#assertNotDeferring()
      if (this.isDirty) await this.#storeAll()
    })
  }

  // ---- transactions that somebody delimits

  /** Whether everything that is changed waits for {@link WriteBack.end}. */
  get isDeferring(): boolean {
    return this.#recall !== undefined
  }

  /**
   * Runs `work` when all is stored, while nothing else changes, and stores what it does as a transaction of its own.
   * Where it fails, nothing of it is left. @throws what it throws, StoreError
   */
  async isolate(message: string, work: () => Promise<void>): Promise<Tid> {
    return await this.#alone(async () => {
      this.#assertNotDeferring()
      await this.#storeAll()
      const recall = this.#options.remember()
      try {
        await work()
        await this.#storeAll(message)
      } catch (error) {
        await this.#takeBack(recall)
        throw error
      }
      return this.#options.connection.at
    })
  }

  /** From here on nothing is stored until {@link WriteBack.end} or {@link WriteBack.rollBack}. @throws StoreError */
  async begin(): Promise<void> {
    await this.#alone(async () => {
      this.#assertNotDeferring()
      await this.#storeAll()
      this.#recall = this.#options.remember()
    })
  }

  /** Stores everything since {@link WriteBack.begin} as one transaction; where that fails, takes it back. @throws StoreError */
  async end(message?: string): Promise<Tid> {
    return await this.#alone(async () => {
      const recall = this.#recall
      if (recall === undefined) throw new StoreError('no transaction was begun')
      this.#recall = undefined
      try {
        await this.#storeAll(message)
      } catch (error) {
        await this.#takeBack(recall)
        throw error
      }
      return this.#options.connection.at
    })
  }

  /** Takes back everything since {@link WriteBack.begin}. */
  async rollBack(): Promise<void> {
    await this.#alone(async () => {
      const recall = this.#recall
      this.#recall = undefined
      if (recall !== undefined) await this.#takeBack(recall)
    })
  }

  #assertNotDeferring(): void {
    if (this.isDeferring)
      throw new StoreError('a transaction is under way on this mount: repeat this when it has ended', {
        code: 'transaction-open',
      })
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const { gate } = this.#options
    await gate.alone()
    try {
      await this.#underWay?.catch(() => undefined)
      return await work()
    } finally {
      gate.release()
    }
  }

  /** With the gate held alone, and no commit under way. */
  async #storeAll(message?: string): Promise<void> {
    const { connection, beforePrepare } = this.#options
    this.#stopTimer()
    let description: string | undefined
    try {
      await beforePrepare()
      await connection.prepare()
      this.#unpreparedBytes = undefined
      this.#hasPrepared = connection.hasPending
      description = this.#describe()
      if (this.#hasPrepared) {
        this.#writes.restart()
        await connection.commit({ description: message ?? description })
        this.#hasPrepared = false
        this.#commits++
      }
      this.#failure = undefined
    } catch (error) {
      if (description !== undefined) this.#messages.unshift(description)
      this.touch(0)
      throw error
    }
  }

  /** With the gate held alone. */
  async #takeBack(recall: () => Promise<void>): Promise<void> {
    this.#options.connection.abort()
    this.#writes.spoil()
    await recall()
    this.#stopTimer()
    this.#unpreparedBytes = undefined
    this.#hasPrepared = false
    this.#failure = undefined
    this.#messages = []
    this.#changedFiles.take()
  }

  /** Stores everything and stops the timer; a transaction that was not ended is taken back. @throws StoreError; it may be repeated then. */
  async close(): Promise<void> {
    if (this.isDeferring) await this.rollBack()
    while (this.isDirty) await this.sync()
    this.#stopTimer()
  }

  get #isBusy(): boolean {
    return this.#underWay !== undefined || this.#queued !== undefined
  }

  #isOpenTo(dataBytes: number): boolean {
    return (dataBytes === 0 || this.#failure === undefined) && this.#hasRoom(dataBytes)
  }

  /** Whoever is alone may pass, however much it is. */
  #hasRoom(dataBytes: number): boolean {
    const bytes = this.dirtyBytes + this.#admittedBytes
    return bytes === 0 || bytes + dataBytes < this.#options.dirtySizeBytes
  }

  async #waitForRoom(dataBytes: number): Promise<void> {
    const attemptsBefore = this.#attempts
    const turn = this.#line.alone()
    if (turn !== undefined) await turn
    try {
      while (!this.#isOpenTo(dataBytes)) {
        if (this.#failure !== undefined && this.#failure.attempt > attemptsBefore) throw this.#failure.error
        if (this.isDeferring)
          throw new NoSpaceError(
            `a transaction may change ${this.#options.dirtySizeBytes} bytes at most: mount with a larger dirty_size`,
          )
        await (this.#underWay ?? this.#commit()).catch(() => undefined)
      }
      this.#admittedBytes += dataBytes
    } finally {
      this.#line.release()
    }
  }

  #stopTimer(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    this.#timer = undefined
    this.#commitInBackground()
  }

  /** Its failure is kept for writers, and logged. */
  #commitInBackground(): void {
    this.#commit().catch(() => undefined)
  }

  #commit(): Promise<Tid> {
    if (this.#queued !== undefined) return this.#queued
    const queued = this.#runQueued().finally(() => {
      if (this.#underWay === queued) this.#underWay = undefined
      if (this.#queued === queued) this.#queued = undefined
    })
    this.#queued = queued
    return queued
  }

  async #runQueued(): Promise<Tid> {
    // Also leaves the caller the time to note what is queued.
    await this.#underWay?.catch(() => undefined)
    if (this.#failure !== undefined)
      await sleep(Math.max(0, this.#failure.atMs + RETRY_MS - performance.now()))
    const { connection, gate, beforePrepare, log, commitIntervalMs } = this.#options
    await gate.alone()
    this.#underWay = this.#queued
    this.#queued = undefined
    const attempt = ++this.#attempts
    this.#stopTimer()
    if (this.isDeferring) {
      gate.release()
      return connection.at
    }
    let description: string | undefined
    // What is let go of while this goes on is for the next one.
    const unpreparedBytes = this.#unpreparedBytes
    this.#unpreparedBytes = undefined
    try {
      try {
        await beforePrepare()
        await connection.prepare()
        this.#hasPrepared = connection.hasPending
        if (this.#hasPrepared) this.#writes.restart()
        description = this.#describe()
      } finally {
        gate.release()
      }
      if (this.#hasPrepared) {
        await connection.commit({ description })
        this.#hasPrepared = false
        this.#commits++
      }
      this.#failure = undefined
      return connection.at
    } catch (error) {
      if (description !== undefined) this.#messages.unshift(description)
      else this.#unpreparedBytes = (this.#unpreparedBytes ?? 0) + (unpreparedBytes ?? 0)
      this.#failure = { error, attempt, atMs: performance.now() }
      this.#timer ??= setTimeout(() => this.#tick(), commitIntervalMs)
      log.error({ err: error }, 'changes could not be stored: they are kept in memory, and tried again')
      throw error
    }
  }

  #describe(): string {
    const messages = this.#messages
    this.#messages = []
    const files = this.#changedFiles.take()
    return messages.length > 0 ? messages.join('; ') : files
  }
}
