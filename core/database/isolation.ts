/** Isolates a transaction from other operations of the same process. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { StoreError } from '../../store/errors.ts'
import { ReadWriteLock } from '../file-system/locks.ts'
import type { Guard } from './file.ts'

export class Isolation {
  readonly #lock = new ReadWriteLock()
  readonly #inside = new AsyncLocalStorage<true>()

  /** Runs an operation outside of transactions: it waits until none is open. */
  readonly outside: Guard = async work => {
    this.#assertOutside()
    return await this.#lock.whileShared(work)
  }

  /** Runs a transaction: operations outside wait until it has settled. @throws StoreError within another one. */
  async inside<T>(work: () => Promise<T>): Promise<T> {
    this.#assertOutside()
    return await this.#lock.whileAlone(() => this.#inside.run(true, work))
  }

  /** @throws StoreError in the function of a transaction, which would deadlock. */
  #assertOutside(): void {
    if (this.#inside.getStore() === true)
      throw new StoreError('a transaction is open: use the files that its function received', {
        code: 'transaction-open',
      })
  }
}
