/**
 * The delimited transaction of a mount that writes beside others. It keeps the lease. It is rolled back while its command still runs if
 * another mount has waited for the lease for {@link TRANSACTION_MS}, or if the mount was fenced and rejoins. Then every change fails until
 * the command has ended, so that it changes nothing outside of the transaction, and the rollback too, which would drop the change.
 *
 *     closed ──begin──▶ open ──end, rollBack──▶ closed
 *                        │ yield, drop
 *                        ▼
 *                   rolled back ──end, rollBack: 'conflict'──▶ closed
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../../../store/errors.ts'
import { ErrnoError } from '../errno.ts'

/** How long a transaction keeps the lease from another mount. */
const TRANSACTION_MS = 10_000
const POLL_MS = 10

export class SharedTransaction {
  /** Rolls it back. */
  #rollBack: (() => Promise<void>) | undefined
  /** Why it is or was rolled back, kept until both the rollback and its command have ended. */
  #reason: string | undefined
  /** Whether the rollback was reported to its command, which has ended then. */
  #isReported = false
  /** Whether its command is ending it. */
  #isEnding = false

  get isOpen(): boolean {
    return this.#rollBack !== undefined
  }

  begin(rollBack: () => Promise<void>): void {
    this.#rollBack = rollBack
    this.#reason = undefined
    this.#isReported = false
  }

  /** @throws ErrnoError EIO if it is being rolled back, or was and its command is still running. */
  assertMayChange(): void {
    if (this.#reason !== undefined)
      throw new ErrnoError(
        'EIO',
        'the transaction is being rolled back, or was and its command is still running',
      )
  }

  /** Reports a rollback to the command that ends it. @throws StoreError 'conflict' */
  assertNotRolledBack(): void {
    const reason = this.#reason
    if (reason === undefined || this.#isReported) return
    this.#isReported = true
    this.#forgetReason()
    throw new StoreError(`${reason}: the transaction was rolled back, and nothing of it is stored`, {
      code: 'conflict',
    })
  }

  /** Runs `end`, after which it is closed, whether it succeeds or not. */
  async end<T>(end: () => Promise<T>): Promise<T> {
    try {
      return await this.#ending(end)
    } finally {
      this.#close()
    }
  }

  /** Runs `rollBack`. It stays open if that fails, so that it can be repeated. */
  async rollBack(rollBack: () => Promise<void>): Promise<void> {
    await this.#ending(rollBack)
    this.#close()
  }

  /** Closes it without a rollback, after its command: a rejoin drops what it has changed. */
  forget(): void {
    this.#close()
  }

  /** Closes it because a rejoin has dropped what it changed. Its command may go on. */
  drop(): void {
    if (this.#rollBack !== undefined) this.#reason ??= 'this mount was cut off while others wrote'
    this.#close()
  }

  #close(): void {
    this.#rollBack = undefined
    this.#forgetReason()
  }

  /** Not before the rollback has ended, which would drop changes made meanwhile. */
  #forgetReason(): void {
    if (this.#isReported && this.#rollBack === undefined) this.#reason = undefined
  }

  /** Waits until it is closed, and rolls it back after a while. @returns whether it was rolled back. */
  async yield(): Promise<boolean> {
    const start = performance.now()
    while (this.#rollBack !== undefined && (this.#isEnding || performance.now() - start < TRANSACTION_MS))
      await sleep(POLL_MS)
    const rollBack = this.#rollBack
    if (rollBack === undefined) return false
    // Its command may end meanwhile.
    this.#reason = `another mount waited to write for ${TRANSACTION_MS / 1000} s`
    await rollBack()
    this.#close()
    return true
  }

  async #ending<T>(work: () => Promise<T>): Promise<T> {
    this.#isEnding = true
    try {
      return await work()
    } finally {
      this.#isEnding = false
    }
  }
}
