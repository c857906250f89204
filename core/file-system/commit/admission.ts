/**
 * Admission: a change waits here, before it takes any lock, until there is memory for it within the dirty bound, and room for it
 * on the disk of the database.
 *
 * Changes that wait are served in the order of their arrival, so that small ones cannot starve a large one. A change without
 * data is only held back when a bound is reached; data also while commits fail, because it could not be stored. A waiting
 * change waits for one commit attempt that began after it arrived, and fails with that attempt's error.
 *
 * What is admitted must fit on the disk: a write that finds no room fails here (ENOSPC), not in a commit long after it. A
 * change that **frees** room (a deletion, a truncation) needs none, and is admitted while commits fail, within
 * {@link FREEING_FACTOR} times the dirty bound: it is the way out of a full disk.
 */
import { NoSpaceError } from '../../../store/errors.ts'
import { ReadWriteLock } from '../locks.ts'
import type { Committer } from './committer.ts'

/** How far beyond the dirty bound changes that free room may go while commits fail. */
const FREEING_FACTOR = 4
/** The part of the free room that data may fill; records, index and checksums take the rest. */
const DATA_PART = 15 / 16

export class Admission {
  readonly #committer: Committer
  readonly #dirtySizeBytes: number
  readonly #availableBytes: () => Promise<number | undefined>
  /** Whether everything is admitted: while intents are replayed. */
  isUnbounded = false
  /** Bytes of changes that were admitted and have not finished. */
  #admittedBytes = 0
  /** How much data in memory the disk had room for when it was last measured: before the first change, and after each commit. */
  #roomBytes = 0
  /** Held exclusively by the first change that waits for room; the others wait for it. */
  readonly #line = new ReadWriteLock()

  /** @param availableBytes measures the free room of the disk; undefined where that is not limited. */
  constructor(
    committer: Committer,
    dirtySizeBytes: number,
    availableBytes: () => Promise<number | undefined>,
  ) {
    this.#committer = committer
    this.#dirtySizeBytes = dirtySizeBytes
    this.#availableBytes = availableBytes
    // A failure to measure leaves the room as it was: the next change that needs more measures again.
    committer.onSettled = () => void this.#measure().catch(() => undefined)
  }

  /**
   * Admits a change of `dataBytes` of data, at once or when the returned promise resolves; {@link Admission.leave} follows.
   * @param frees whether it frees room.
   * @param recordBytes further memory that the change takes: the attributes that the inode's record has.
   * @throws the error of a commit that began since, ConflictError, NoSpaceError
   */
  admit(dataBytes: number, frees = false, recordBytes = 0): Promise<void> | undefined {
    if (this.isUnbounded) {
      this.#admittedBytes += dataBytes + recordBytes
      return undefined
    }
    const isFirst = dataBytes + recordBytes === 0 || frees || this.#line.isFree
    if (!isFirst || !this.#isOpenTo(dataBytes, frees, recordBytes))
      return this.#waitForRoom(dataBytes, frees, recordBytes)
    this.#admittedBytes += dataBytes + recordBytes
    return undefined
  }

  /** An admitted change has finished or failed. */
  leave(dataBytes: number, recordBytes = 0): void {
    this.#admittedBytes -= dataBytes + recordBytes
  }

  #isOpenTo(dataBytes: number, frees: boolean, recordBytes: number): boolean {
    const { conflict, failure } = this.#committer
    const bytes = dataBytes + recordBytes
    if (conflict !== undefined) return false
    if (frees && failure !== undefined) return this.#fits(bytes, FREEING_FACTOR * this.#dirtySizeBytes)
    if (failure !== undefined && dataBytes > 0) return false
    return this.#fits(bytes, this.#dirtySizeBytes) && (frees || this.#hasDiskRoom(bytes))
  }

  /** Within a bound of memory. A change that is alone is admitted whatever its size. */
  #fits(more: number, boundBytes: number): boolean {
    const bytes = this.#committer.dirtyBytes + this.#admittedBytes
    return bytes === 0 || bytes + more < boundBytes
  }

  #hasDiskRoom(more: number): boolean {
    return this.#committer.dirtyBytes + this.#admittedBytes + more < this.#roomBytes
  }

  async #measure(): Promise<void> {
    this.#roomBytes = ((await this.#availableBytes()) ?? Infinity) * DATA_PART
  }

  async #waitForRoom(dataBytes: number, frees: boolean, recordBytes: number): Promise<void> {
    const committer = this.#committer
    const attemptsBefore = committer.attempts
    const turn = this.#line.alone()
    if (turn !== undefined) await turn
    try {
      await this.#measure()
      while (!this.#isOpenTo(dataBytes, frees, recordBytes)) {
        const { conflict, failure } = committer
        if (conflict !== undefined) throw conflict
        if (failure !== undefined && failure.attempt > attemptsBefore) throw failure.error
        const lacksDisk = !frees && !this.#hasDiskRoom(dataBytes + recordBytes)
        // Nothing in memory can become free room any more.
        if (lacksDisk && (committer.attempts > attemptsBefore || !committer.isDirty))
          throw new NoSpaceError('the disk of the database is full')
        if (committer.isPaused && lacksDisk)
          throw new NoSpaceError('the transaction does not fit on the disk of the database')
        await committer.nextCommit().catch(() => undefined)
        await this.#measure()
      }
      this.#admittedBytes += dataBytes + recordBytes
    } finally {
      this.#line.release()
    }
  }
}
