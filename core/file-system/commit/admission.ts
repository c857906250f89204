/**
 * Admission: a change waits here, before it takes any lock, until the memory for it is within the dirty bound.
 *
 * Changes that wait are served in the order of their arrival, so that small ones cannot starve a large one. A change without
 * data is only held back when the bound is reached; data also while commits fail, because it could not be stored. A waiting
 * change waits for one commit attempt that began after it arrived, and fails with that attempt's error.
 */
import { NoSpaceError } from '../../../store/errors.ts'
import { ReadWriteLock } from '../locks.ts'
import type { Committer } from './committer.ts'

export class Admission {
  readonly #committer: Committer
  readonly #dirtySizeBytes: number
  /** Data of changes that were admitted and have not finished. */
  #admittedBytes = 0
  /** Held exclusively by the first change that waits for room; the others wait for it. */
  readonly #line = new ReadWriteLock()

  constructor(committer: Committer, dirtySizeBytes: number) {
    this.#committer = committer
    this.#dirtySizeBytes = dirtySizeBytes
  }

  /**
   * Admits a change of `dataBytes` of data, at once or when the returned promise resolves; {@link Admission.leave} follows.
   * @throws the error of a commit that began since, ConflictError
   */
  admit(dataBytes: number): Promise<void> | undefined {
    const isFirst = dataBytes === 0 || this.#line.isFree
    if (!isFirst || !this.#isOpenTo(dataBytes)) return this.#waitForRoom(dataBytes)
    this.#admittedBytes += dataBytes
    return undefined
  }

  /** An admitted change has finished or failed. */
  leave(dataBytes: number): void {
    this.#admittedBytes -= dataBytes
  }

  #isOpenTo(dataBytes: number): boolean {
    const { conflict, failure } = this.#committer
    return conflict === undefined && (dataBytes === 0 || failure === undefined) && this.#hasRoom(dataBytes)
  }

  /** A change that is alone is admitted whatever its size. */
  #hasRoom(dataBytes: number): boolean {
    const bytes = this.#committer.dirtyBytes + this.#admittedBytes
    return bytes === 0 || bytes + dataBytes < this.#dirtySizeBytes
  }

  async #waitForRoom(dataBytes: number): Promise<void> {
    const committer = this.#committer
    const attemptsBefore = committer.attempts
    const turn = this.#line.alone()
    if (turn !== undefined) await turn
    try {
      while (!this.#isOpenTo(dataBytes)) {
        const { conflict, failure } = committer
        if (conflict !== undefined) throw conflict
        if (failure !== undefined && failure.attempt > attemptsBefore) throw failure.error
        if (committer.isPaused)
          throw new NoSpaceError(
            `a transaction may change ${this.#dirtySizeBytes} bytes at most: mount with a larger dirty_size`,
          )
        await committer.nextCommit().catch(() => undefined)
      }
      this.#admittedBytes += dataBytes
    } finally {
      this.#line.release()
    }
  }
}
