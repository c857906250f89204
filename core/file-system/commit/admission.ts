/**
 * Admission: a change waits here, before it takes any lock, until its memory fits within the dirty bound and its data fits
 * on the database's disk.
 *
 * Changes that wait are served in the order of their arrival, so that small ones cannot starve a large one. A change without
 * data is held back only when a bound is reached; a change with data also while commits fail, because it could not be stored. A waiting
 * change waits for one commit attempt that began after it arrived, and fails with that attempt's error.
 *
 * Admitted changes must fit on the disk: a write without free space fails here (ENOSPC), not in a later commit. A
 * While the disk is short of space, unstored changes are bounded by what the store has **secured** for them: another program that
 * fills the disk cannot prevent the commit of admitted data, nor of the deletions that follow it in the same commit. A
 * change that **frees** space (a deletion, a truncation) needs none, and is admitted while commits fail, within
 * {@link FREEING_FACTOR} times the dirty bound: it is the way out of a full disk.
 */
import type { Measuring } from '../../../store/capabilities.ts'
import { NoSpaceError } from '../../../store/errors.ts'
import { ReadWriteLock } from '../locks.ts'
import type { Committer } from './committer.ts'

/** Multiple of the dirty bound up to which changes that free space are admitted while commits fail. */
const FREEING_FACTOR = 4
/** Fraction of the free space that data may fill; records, index and checksums take the rest. */
const DATA_PART = 15 / 16

/** Measures the free space of the database's disk. */
export type DiskRoom = Pick<Measuring, 'availableBytes' | 'securedBytes'>

export class Admission {
  readonly #committer: Committer
  /** Maximum bytes of changes in memory. */
  dirtySizeBytes: number
  readonly #disk: DiskRoom | undefined
  /** Whether every change is admitted; true while intents are replayed. */
  isUnbounded = false
  /** Bytes of admitted changes that have not finished. */
  #admittedBytes = 0
  /** Bytes of data in memory that fit on the disk, measured since the last commit; 0 until then. */
  #roomBytes = 0
  /** Number of commits that have ended. */
  #commits = 0
  /** Held exclusively by the first waiting change; later ones queue on it. */
  readonly #line = new ReadWriteLock()

  /** @param disk undefined if its space is unlimited. */
  constructor(committer: Committer, dirtySizeBytes: number, disk: DiskRoom | undefined) {
    this.#committer = committer
    this.dirtySizeBytes = dirtySizeBytes
    this.#disk = disk
    committer.onSettled = () => {
      this.#commits++
      // What was stored is not in memory any more, and the room that it took is not free any more.
      this.#roomBytes = 0
      // If this fails, the next change measures again.
      void this.#measure().catch(() => undefined)
    }
  }

  /**
   * Admits a change of `dataBytes` of data, at once or when the returned promise resolves; {@link Admission.leave} follows.
   * @param frees whether the change frees space.
   * @param recordBytes further memory that the change takes: the attributes in the inode's record.
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
    if (frees && failure !== undefined) return this.#fits(bytes, FREEING_FACTOR * this.dirtySizeBytes)
    if (failure !== undefined && dataBytes > 0) return false
    return this.#fits(bytes, this.#boundBytes) && (frees || this.#hasDiskRoom(bytes))
  }

  /** Maximum bytes of changes in memory while commits succeed. */
  get #boundBytes(): number {
    return Math.min(this.dirtySizeBytes, this.#committer.securedBytes)
  }

  /** Whether a change fits within a memory bound. A change without others is admitted whatever its size. */
  #fits(more: number, boundBytes: number): boolean {
    const bytes = this.#committer.dirtyBytes + this.#admittedBytes
    return bytes === 0 || bytes + more < boundBytes
  }

  #hasDiskRoom(more: number): boolean {
    return this.#committer.dirtyBytes + this.#admittedBytes + more < this.#roomBytes
  }

  async #measure(): Promise<void> {
    for (;;) {
      const commits = this.#commits
      const roomBytes = ((await this.#disk?.availableBytes()) ?? Infinity) * DATA_PART
      const securedBytes = (await this.#disk?.securedBytes()) ?? Infinity
      // A measurement from before the end of a commit may count room that this commit has taken.
      if (commits !== this.#commits) continue
      this.#roomBytes = roomBytes
      this.#committer.securedBytes = securedBytes
      return
    }
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
        // No change in memory can free space any more.
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
