/**
 * A mount that writes beside other mounts of the same database, in turns. Before an operation changes anything it takes the **lease** of
 * the database (Leasing in store/capabilities.ts), which the mount keeps until another one requests it:
 *
 *                     an operation is to change something
 *        following ─────────────────────────────────────────▶ holding
 *      (as following.ts)   acquire, move to the last tid         │ changes, commits
 *            ▲                                                   │ recalled
 *            └────── release ◀── store everything ◀── no operation is let in
 *
 * - **Unstored changes exist only while holding.** So a later holder begins with everything that operations of earlier ones have done:
 *   changes of all mounts are linearisable.
 * - Every operation runs inside the turnstile, which is closed for a move, an acquisition and a release: each sees one state.
 * - The lease is kept for at least {@link HOLD_MS}, so that mounts which compete for it do more than one operation per turn; and
 *   while a delimited transaction is open, for a bounded time (transaction.ts).
 * - A mount that was fenced with unstored changes keeps them, readable, and refuses every change until {@link Sharing.rejoin}. One without any
 *   rejoins by itself.
 *
 * - A holder whose last heartbeat was answered some seconds ago asks the database first: another mount may have fenced it meanwhile.
 *
 * Nothing inside the turnstile may wait for the kernel: a write that the kernel sends meanwhile may wait for the lease.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Watching } from '../../../store/capabilities.ts'
import type { FileLocking } from '../../../store/file-locking.ts'
import type { Leasing } from '../../../store/leasing.ts'
import { StoreError, WriterGoneError } from '../../../store/errors.ts'
import { formatTid, type Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import type { Context } from '../context.ts'
import { INTERVAL_MS } from '../following.ts'
import type { LeaseState } from '../served-file-system.ts'
import { advanceTo, revertNode } from '../advance.ts'
import { DroppedChanges } from './dropped-changes.ts'
import { MovedNodes } from './moved-nodes.ts'
import { SharedTransaction } from './transaction.ts'
import { Turnstile } from './turnstile.ts'

/** Minimum time for which the lease is kept, if there are changes. */
const HOLD_MS = 10
const RETRY_MS = 250

export interface SharingParts {
  readonly store: Store
  readonly leasing: Leasing
  readonly watching: Watching
  readonly context: Context
  readonly log: Logger
  /** For locks of files among all mounts. */
  readonly locking?: FileLocking | undefined
}

export class Sharing {
  readonly #parts: SharingParts
  readonly #turnstile = new Turnstile()
  /** The store was opened as the holder. */
  #isHeld = true
  #heldSinceMs = 0
  #isRecalled = false
  #obtaining: Promise<void> | undefined
  #confirming: Promise<void> | undefined
  #isReleasing = false
  #settling: Promise<void> | undefined
  #nextSettling: Promise<void> | undefined
  readonly #transaction = new SharedTransaction()
  readonly dropped: DroppedChanges
  /** Work that keeps the lease until it has ended, or is aborted because another mount requests it. */
  readonly #kept = new Set<{ readonly abort: AbortController; readonly ended: Promise<unknown> }>()
  #lost: WriterGoneError | undefined
  readonly moved = new MovedNodes()
  #stop: (() => void) | undefined

  constructor(parts: SharingParts) {
    this.#parts = parts
    this.dropped = new DroppedChanges(parts.context.handles)
    parts.leasing.watch({ onRecall: () => this.#recalled(), onFenced: error => this.#fenced(error) })
  }

  get state(): LeaseState {
    if (this.#lost !== undefined) return 'lost'
    return this.#isHeld ? 'held' : 'not held'
  }

  get isHeld(): boolean {
    return this.#isHeld
  }

  /** The number of moves so far: if it has changed, the kernel may have acted on names and attributes of an earlier moment. */
  get moves(): number {
    return this.moved.moves
  }

  start(): void {
    const { watching, context, log } = this.#parts
    this.#stop ??= watching.watch({
      after: context.live.connection.at,
      intervalMs: INTERVAL_MS,
      onAdvance: tid => this.#turnstile.whileClosed(() => this.#advanceTo(tid)),
      onError: error => log.warn({ err: error }, 'later transactions cannot be shown: trying again'),
    })
    if (this.#isRecalled) this.#recalled()
  }

  stop(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  // ---- operations

  /** Runs an operation that changes nothing. */
  async read<T>(work: () => T | Promise<T>): Promise<T> {
    const wait = this.#turnstile.enter()
    if (wait !== undefined) await wait
    try {
      return await work()
    } finally {
      this.#turnstile.leave()
    }
  }

  /** Runs an operation that may change something, with the lease. @throws WriterGoneError, StoreError */
  async change<T>(work: () => T | Promise<T>): Promise<T> {
    for (;;) {
      const wait = this.#turnstile.enter()
      if (wait !== undefined) await wait
      if (this.#isHeld && this.#lost === undefined && this.#parts.leasing.isConfirmed()) break
      this.#turnstile.leave()
      if (this.#isHeld && this.#lost === undefined) {
        await this.#confirm()
        continue
      }
      if (this.#isHeld) await this.#dropLeaseIfClean()
      if (this.#isHeld && this.#lost !== undefined) throw this.#lost
      await this.#obtain()
    }
    try {
      this.#transaction.assertMayChange()
      return await work()
    } finally {
      this.#turnstile.leave()
    }
  }

  /** Moves to a moment with everything that other mounts had done before the call. @throws StoreError */
  async settle(): Promise<void> {
    if (this.#isHeld) {
      if (this.#lost !== undefined || this.#parts.leasing.isConfirmed()) return
      await this.#confirm()
      if (this.#isHeld) return
    }
    // Those that arrive while one runs share the next.
    this.#nextSettling ??= this.#settleNext(this.#settling)
    await this.#nextSettling
  }

  // ---- work that keeps the lease

  /** Runs `begin`, which opens a delimited transaction. It keeps the lease until {@link Sharing.endTransaction}. */
  async beginTransaction(begin: () => Promise<void>, rollBack: () => Promise<void>): Promise<void> {
    await this.change(async () => {
      await begin()
      this.#transaction.begin(rollBack)
    })
  }

  /** Runs `end`, which ends the transaction. @throws StoreError 'conflict' if it was rolled back, for another mount or by a rejoin. */
  async endTransaction<T>(end: () => Promise<T>): Promise<T> {
    this.#transaction.assertNotRolledBack()
    try {
      return await this.change(() => this.#transaction.end(end))
    } catch (error) {
      // The change may have made the mount rejoin.
      this.#transaction.assertNotRolledBack()
      throw error
    }
  }

  /** @throws as {@link Sharing.endTransaction} */
  async rollBackTransaction(rollBack: () => Promise<void>): Promise<void> {
    this.#transaction.assertNotRolledBack()
    if (!this.#transaction.isOpen) return
    try {
      await this.#transaction.rollBack(rollBack)
    } finally {
      if (this.#lost !== undefined) this.#transaction.forget()
    }
  }

  /** Runs long work with the lease, and aborts it when another mount requests it. */
  async keep<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController()
    let result: Promise<T> | undefined
    await this.change(() => {
      const running = work(abort.signal)
      const kept = { abort, ended: running.catch(() => undefined) }
      this.#kept.add(kept)
      result = running.finally(() => this.#kept.delete(kept))
      result.catch(() => undefined)
    })
    if (this.#isRecalled) this.#recalled()
    return await (result as Promise<T>)
  }

  // ---- the lease

  /** Drops what could not be stored, and continues as a new writer. Does nothing if the lease is not lost. @throws StoreError */
  async rejoin(): Promise<void> {
    await this.#turnstile.whileClosed(() => this.#rejoin())
  }

  async #rejoin(): Promise<void> {
    const lost = this.#lost
    if (lost === undefined) return
    const { leasing, context, store, locking } = this.#parts
    await leasing.rejoin()
    const { isDirty } = context.writeBack
    this.#transaction.drop()
    // A commit that was waiting has no lease: the store is fenced again by it.
    this.#lost = undefined
    try {
      await context.writeBack.revert(async () => {
        // Not before: a request that began meanwhile was storing what is dropped now.
        if (isDirty) this.dropped.note()
        await context.bookkeeping.restart()
        const { live } = context
        live.accessTimes.clear()
        const from = live.connection.forgetNew()
        for (const node of live.nodes)
          if (from !== undefined && node.oid >= from) {
            live.retire(node)
            locking?.forget(node.oid)
          } else await revertNode(node)
      })
    } catch (error) {
      this.#lost ??= lost
      throw error
    }
    this.#dropLease()
    await this.#advanceTo(await store.lastTid())
    context.caches.invalidateTree(context.live)
  }

  /** Finds out whether another mount has taken the lease away, when the database has not answered for a while. */
  async #confirm(): Promise<void> {
    this.#confirming ??= this.#parts.leasing.confirm().finally(() => (this.#confirming = undefined))
    try {
      await this.#confirming
    } catch (error) {
      // Unstored changes decide what follows.
      if (!(error instanceof WriterGoneError)) throw error
      this.#lost ??= error
      await this.#dropLeaseIfClean()
    }
  }

  #obtain(): Promise<void> {
    this.#obtaining ??= this.#acquire().finally(() => (this.#obtaining = undefined))
    return this.#obtaining
  }

  /** Requests nothing if the lease is held already: the answer could arrive after a release that began meanwhile. */
  async #acquire(): Promise<void> {
    const { leasing } = this.#parts
    while (!this.#isHeld) {
      if (this.#lost !== undefined) await this.rejoin()
      const tid = await leasing.acquire()
      try {
        await this.#turnstile.whileClosed(() => this.#begin(tid))
      } catch (error) {
        await leasing.release().catch(() => undefined)
        throw error
      }
    }
    if (this.#isRecalled) this.#recalled()
  }

  /** With the turnstile closed: begins to hold the lease, unless it was released or lost since it was acquired. */
  async #begin(tid: Tid): Promise<void> {
    const { leasing, context } = this.#parts
    if (!leasing.isHolder()) return
    await this.#advanceTo(tid)
    context.live.connection.forgetOids()
    context.mayCommit = true
    this.#isHeld = true
    this.#heldSinceMs = performance.now()
  }

  #recalled(): void {
    const { leasing, log } = this.#parts
    if (!this.#isHeld && this.#obtaining === undefined) {
      // A release has failed, or its answer was lost.
      leasing.release().catch((error: unknown) => log.debug({ err: error }, 'the lease was not released'))
      return
    }
    this.#isRecalled = true
    if (!this.#isHeld || this.#stop === undefined || this.#lost !== undefined || this.#isReleasing) return
    this.#isReleasing = true
    void this.#storeAndRelease().then(() => {
      this.#isReleasing = false
      if (this.#isRecalled) this.#recalled()
    })
  }

  async #storeAndRelease(): Promise<void> {
    const { context, leasing, log } = this.#parts
    const { writeBack } = context
    try {
      await this.#endKept()
      const restMs = this.#heldSinceMs + HOLD_MS - performance.now()
      if (restMs > 0) await sleep(restMs)
      // Leaves little for the time during which no operation runs.
      await writeBack.storeAll()
      await this.#turnstile.whileClosed(async () => {
        if (this.#transaction.isOpen || this.#kept.size > 0) return
        await writeBack.storeAll()
        this.#dropLease()
        await leasing.release()
      })
    } catch (error) {
      if (error instanceof WriterGoneError) {
        this.#isRecalled = false
        return
      }
      log.warn(
        { err: error },
        'another mount is waiting to write, but not everything could be stored: trying again',
      )
      await sleep(RETRY_MS)
    }
  }

  #dropLease(): void {
    this.#isHeld = false
    this.#isRecalled = false
    const { context } = this.#parts
    context.mayCommit = false
    // From the last transaction on, another mount allocates the same.
    context.live.connection.forgetOids()
  }

  /** Resolves when nothing keeps the lease any more. */
  async #endKept(): Promise<void> {
    for (const { abort } of this.#kept)
      abort.abort(new StoreError('it was ended early, because another mount is waiting to write'))
    await Promise.all([...this.#kept].map(({ ended }) => ended))
    if (await this.#transaction.yield())
      this.#parts.log.warn('a transaction was rolled back, because another mount is waiting to write')
  }

  #fenced(error: WriterGoneError): void {
    this.#lost = error
    this.#isRecalled = false
    void this.#dropLeaseIfClean()
  }

  /** Without unstored changes a fenced mount follows, and rejoins when it is to change something. */
  async #dropLeaseIfClean(): Promise<void> {
    await this.#turnstile.whileClosed(() => {
      if (this.#lost !== undefined && !this.#parts.context.writeBack.isDirty) this.#dropLease()
      return Promise.resolve()
    })
  }

  // ---- moves

  async #settleNext(running: Promise<void> | undefined): Promise<void> {
    await running?.catch(() => undefined)
    this.#settling = this.#nextSettling
    this.#nextSettling = undefined
    const { leasing } = this.#parts
    const { tid, isHeld } = await leasing.settle()
    if (isHeld) await this.#obtain()
    else await this.#turnstile.whileClosed(() => this.#advanceTo(tid))
  }

  /** With the turnstile closed. */
  async #advanceTo(tid: Tid): Promise<void> {
    const { store, context, log } = this.#parts
    if (this.#isHeld || tid <= context.live.connection.at) return
    const changed = await advanceTo(tid, store, context)
    this.moved.add(changed, () => context.caches.settled())
    log.debug({ tid: formatTid(tid) }, 'showing a later transaction')
  }
}
