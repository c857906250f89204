/**
 * Locks of files (fcntl, flock) among all mounts of a database, `-o locks=global`. As with NFS, the holder of a lock sees everything that
 * was done under locks before, on any machine: the mount moves to a moment that has it, and the kernel drops its pages of the file if they
 * changed. Unlocking stores nothing: a mount that moves requests what other mounts have not stored yet.
 *
 * Files of the past cannot change: a shared lock of them is granted here, and conflicts with nothing.
 */
import type { FileLocking, LockOwner, LockRange } from '../../../store/file-locking.ts'
import { LOCK_END } from '../../../store/file-locking.ts'
import type { Oid } from '../../../store/ids.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import { isPresent } from '../inodes/tree.ts'
import type { Ino, LockOperations, RequestedLock } from '../operations.ts'
import type { Sharing } from './sharing.ts'

const ALL: LockRange = { start: 0n, last: LOCK_END }

export class SharedLocks implements LockOperations {
  readonly #locking: FileLocking
  readonly #context: Context
  readonly #sharing: Sharing

  constructor(locking: FileLocking, context: Context, sharing: Sharing) {
    this.#locking = locking
    this.#context = context
    this.#sharing = sharing
  }

  async test(ino: Ino, owner: LockOwner, lock: RequestedLock): Promise<RequestedLock | undefined> {
    const oid = this.#oidOf(ino)
    if (oid === undefined) return undefined
    const held = await this.#locking.test(oid, owner, lock)
    // A process of another machine has no number here.
    return held && { ...held, pid: held.isOwn ? held.pid : 0 }
  }

  async lock(ino: Ino, owner: LockOwner, lock: RequestedLock, signal?: AbortSignal): Promise<void> {
    this.#assertThere(ino)
    const oid = this.#oidOf(ino)
    if (oid === undefined) {
      if (lock.isExclusive) throw new ErrnoError('ENOLCK', 'the past cannot change')
      return
    }
    const answer = await this.#locking.lock(oid, owner, lock, signal)
    if (answer === 'busy') throw new ErrnoError('EAGAIN')
    if (answer === 'deadlock') throw new ErrnoError('EDEADLK')
    if (answer === 'aborted') throw new ErrnoError('EINTR')
    try {
      await this.#refresh(oid)
      // While it waited, the mount may have been fenced, and may be rejoining: the lock can have the epoch after that already.
      await this.#sharing.read(() => this.#assertThere(ino))
    } catch (error) {
      await this.#locking.unlock(oid, owner, lock)
      throw error
    }
  }

  async unlock(ino: Ino, owner: LockOwner, range: LockRange): Promise<void> {
    const oid = this.#oidOf(ino)
    if (oid !== undefined) await this.#locking.unlock(oid, owner, range)
  }

  async unlockAll(ino: Ino, owner: LockOwner): Promise<void> {
    const oid = this.#oidOf(ino)
    if (oid !== undefined && this.#locking.hasLocks(oid, owner)) await this.#locking.unlock(oid, owner, ALL)
  }

  /** @throws ErrnoError EIO if locks of a file were lost that a program here relies on. */
  assertKept(ino: Ino): void {
    const oid = this.#oidOf(ino)
    if (oid !== undefined && this.#locking.isLost(oid))
      throw new ErrnoError('EIO', 'a lock of this file was lost while the mount was cut off')
  }

  /** @throws ErrnoError ESTALE for a file that was never stored, and was lost. */
  #assertThere(ino: Ino): void {
    if (isPresent(ino) && this.#context.live.knownOf(ino)?.isGone === true)
      throw new ErrnoError('ESTALE', 'the file was lost')
  }

  async #refresh(oid: Oid): Promise<void> {
    await this.#sharing.settle()
    const { live, caches } = this.#context
    const node = live.known(oid)
    if (node !== undefined && this.#sharing.moved.isStale(node)) await caches.settled()
  }

  /** Undefined for a file of the past, a generated one, and one that a rejoin has dropped: another file may have its oid. */
  #oidOf(ino: Ino): Oid | undefined {
    const { live } = this.#context
    return isPresent(ino) && !live.isRetired(ino) ? live.oidOf(ino) : undefined
  }
}
