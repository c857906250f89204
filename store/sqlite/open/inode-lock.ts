/**
 * The writer's lock of a database: a lock of an open file description (fcntl(2), F_OFD_SETLK) on one byte of the database file, far
 * beyond its end. It applies to the inode, under any name, and does not conflict with SQLite's locks, which are below 2 GiB. A flock(2) of
 * the file would conflict on NFS, which turns it into a lock of all bytes. The kernel releases the lock when the process ends.
 */
import { koffi } from '../../koffi.ts'

const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2
const EACCES = 13
const EAGAIN = 11

/** struct flock on 64-bit Linux. Source: fcntl(2), asm-generic/fcntl.h. */
const FLOCK_BYTES = 32
const TYPE_OFFSET = 0
const START_OFFSET = 8
const LENGTH_OFFSET = 16

/** The byte that the writer locks. */
const WRITER_BYTE = 2n ** 62n

const libc = koffi.load(null)
/** Declared with the one argument that these commands take: on 64-bit Linux it is passed like a variadic one. */
const fcntl = libc.func('int fcntl(int fd, int command, void *lock)') as (
  fd: number,
  command: number,
  lock: Buffer,
) => number

function writerLock(type = F_WRLCK): Buffer {
  const lock = Buffer.alloc(FLOCK_BYTES)
  lock.writeInt16LE(type, TYPE_OFFSET)
  lock.writeBigInt64LE(WRITER_BYTE, START_OFFSET)
  lock.writeBigInt64LE(1n, LENGTH_OFFSET)
  return lock
}

/**
 * Locks a database's inode for one writer, until `fd` (open for writing) is closed; false if another writer has it.
 * @throws Error if the filesystem does not support locks.
 */
export const tryLockInode = (fd: number): boolean => trySet(fd, writerLock())

/** Takes a shared lock of a database's inode against writers, until `fd` is closed; false if a writer has it. */
export const tryShareInode = (fd: number): boolean => trySet(fd, writerLock(F_RDLCK))

function trySet(fd: number, lock: Buffer): boolean {
  if (fcntl(fd, F_OFD_SETLK, lock) === 0) return true
  const errno = koffi.errno()
  if (errno === EAGAIN || errno === EACCES) return false
  throw new Error(`its filesystem cannot lock files (errno ${errno})`)
}

/** Releases the lock of {@link tryLockInode} without closing the descriptor. */
export function unlockInode(fd: number): void {
  fcntl(fd, F_OFD_SETLK, writerLock(F_UNLCK))
}

/** Whether another open file description has the writer's lock of a database's inode. */
export function isInodeLocked(fd: number): boolean {
  const lock = writerLock()
  return fcntl(fd, F_OFD_GETLK, lock) === 0 && lock.readInt16LE(TYPE_OFFSET) !== F_UNLCK
}
