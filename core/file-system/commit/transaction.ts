/**
 * Delimited transactions: changes that are stored as one transaction or not at all.
 *
 *     begin --> changes in memory, and in parts --> end: one transaction    (a failure rolls them back)
 *                                               \--> rollBack: none of them is left
 *
 * Changes that reach the dirty bound are stored as a part of the transaction, which no moment shows until the transaction ends (`Spilling`
 * in store/capabilities.ts): it may be as large as the disk.
 *
 * {@link Transactions.isolate} is the short form, for one piece of work that runs while nothing else changes.
 */
import { StoreError } from '../../../store/errors.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Committer } from './committer.ts'

/** Restores in-memory state to the moment of the snapshot; called after the changes were dropped. */
export type Restore = () => Promise<void>

export interface TransactionOptions {
  /** Takes a snapshot of in-memory state once everything is committed. */
  readonly snapshot: () => Promise<Restore>
  /** Has the kernel send pages changed through mappings, before a transaction begins and ends. */
  readonly collectPages: () => Promise<void> | undefined
}

export class Transactions {
  readonly #committer: Committer
  readonly #options: TransactionOptions
  /** Set while a transaction is open. Guarded by the gate, exclusively. */
  #restore: Restore | undefined

  constructor(committer: Committer, options: TransactionOptions) {
    this.#committer = committer
    this.#options = options
  }

  /** Whether a transaction is open. */
  get isOpen(): boolean {
    return this.#restore !== undefined
  }

  /** @throws StoreError while a transaction is open. */
  assertNotOpen(): void {
    if (this.isOpen)
      throw new StoreError('a transaction is open on this mount: repeat this when it has ended', {
        code: 'transaction-open',
      })
  }

  /**
   * Commits everything, runs `work` while nothing else changes, and commits its changes as a separate transaction. On
   * failure all of them are rolled back. @throws what `work` throws, StoreError
   */
  async isolate(message: string, work: () => Promise<void>): Promise<Tid> {
    await this.#options.collectPages()
    return await this.#committer.exclusively(async () => {
      this.assertNotOpen()
      await this.#committer.commitExclusively()
      const restore = await this.#options.snapshot()
      try {
        await work()
        return await this.#committer.commitExclusively(message)
      } catch (error) {
        await this.#drop(restore)
        throw error
      }
    })
  }

  /** Opens a transaction: nothing is stored until {@link Transactions.end} or {@link Transactions.rollBack}. @throws StoreError */
  async begin(): Promise<void> {
    await this.#options.collectPages()
    await this.#committer.exclusively(async () => {
      this.assertNotOpen()
      await this.#committer.commitExclusively()
      this.#restore = await this.#options.snapshot()
      this.#committer.pause()
    })
  }

  /** Stores everything since {@link Transactions.begin} as one transaction; if that fails, rolls it back. @throws StoreError */
  async end(message?: string): Promise<Tid> {
    await this.#options.collectPages()
    return await this.#committer.exclusively(async () => {
      const restore = this.#close()
      if (restore === undefined) throw new StoreError('no transaction is open', { code: 'no-transaction' })
      try {
        return await this.#committer.commitExclusively(message)
      } catch (error) {
        await this.#drop(restore)
        throw error
      }
    })
  }

  /** Drops everything since {@link Transactions.begin}. */
  async rollBack(): Promise<void> {
    await this.#committer.exclusively(async () => {
      const restore = this.#close()
      if (restore !== undefined) await this.#drop(restore)
    }, false)
  }

  /** Ends a transaction whose changes are dropped with all others. Within {@link Committer.exclusively}. */
  forget(): void {
    this.#close()
  }

  #close(): Restore | undefined {
    const restore = this.#restore
    this.#restore = undefined
    this.#committer.resume()
    return restore
  }

  async #drop(restore: Restore): Promise<void> {
    await this.#committer.discard()
    await restore()
  }
}
