/** The capability to lock files among all processes that write a database beside each other. */
import type { Oid } from './ids.ts'

/**
 * The owner of locks. `kind` separates locks of fcntl(2) from those of flock(2), which do not conflict. `id` is an unsigned 64-bit
 * number.
 */
export interface LockOwner {
  readonly kind: 'fcntl' | 'flock'
  readonly id: bigint
}

/** Bytes of an object, `last` included. */
export interface LockRange {
  readonly start: bigint
  /** {@link LOCK_END}: to the end, wherever that will be. */
  readonly last: bigint
}

export interface FileLock extends LockRange {
  readonly isExclusive: boolean
  /** The process that took it, on its machine. */
  readonly pid: number
}

/** A lock that conflicts with another. */
export interface HeldLock extends FileLock {
  /** Whether a process of this machine's mount has it. */
  readonly isOwn: boolean
}

export const LOCK_END = (1n << 63n) - 1n

/**
 * Advisory locks of ranges of files, as of fcntl(2) and flock(2). A lock is held until its owner unlocks it, or the store is fenced or
 * closed. So a process that was cut off cannot store anything any more once its locks are free.
 */
export interface FileLocking {
  /** Makes the locks usable. @throws StoreError if the database cannot have them. */
  start(): Promise<void>

  /**
   * Takes a lock; it replaces what its owner has in the range.
   * @param signal waits until the lock is free, or it is aborted; undefined: does not wait.
   * @returns 'busy': another lock conflicts; 'deadlock': the owner of that lock waits, directly or not, for this one; 'aborted'.
   * @throws StoreError, WriterGoneError
   */
  lock(
    oid: Oid,
    owner: LockOwner,
    lock: FileLock,
    signal?: AbortSignal,
  ): Promise<'locked' | 'busy' | 'deadlock' | 'aborted'>

  /** Unlocks a range. If the database does not answer, it is unlocked later. */
  unlock(oid: Oid, owner: LockOwner, range: LockRange): Promise<void>

  /** A conflicting lock; undefined if there is none. @throws StoreError */
  test(oid: Oid, owner: LockOwner, lock: FileLock): Promise<HeldLock | undefined>

  /** Whether an owner may have locks of an object. Does not query the database. */
  hasLocks(oid: Oid, owner: LockOwner): boolean

  /**
   * Whether locks of this object were lost because the store was fenced, and their owners have not unlocked them since. Until then the
   * owners may rely on locks that others hold.
   */
  isLost(oid: Oid): boolean

  /** Forgets locks of an object that were lost with it: it was never stored, and another object may get its oid. */
  forget(oid: Oid): void
}
