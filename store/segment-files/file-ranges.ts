/** Linux system calls on ranges of files that Node lacks, and the errors of failing disks. */
import { systemCode } from '../errors.ts'
import { constants } from 'node:os'
import { koffi } from '../koffi.ts'

const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
const SEEK_DATA = 3
const SYNC_FILE_RANGE_WRITE = 2
const POSIX_FADV_WILLNEED = 3
const RWF_NOWAIT = 8

const libc = koffi.load(null)
const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t len)') as (
  fd: number,
  mode: number,
  offset: number,
  length: number,
) => number
const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)') as (
  fd: number,
  offset: number,
  whence: number,
) => number
const syncFileRange = libc.func(
  'int sync_file_range(int fd, int64_t offset, int64_t nbytes, uint32_t flags)',
) as (fd: number, offset: number, length: number, flags: number) => number

const fadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t len, int advice)') as (
  fd: number,
  offset: number,
  length: number,
  advice: number,
) => number
const preadv2 = libc.func('int64_t preadv2(int fd, void *vectors, int count, int64_t offset, int flags)') as (
  fd: number,
  vectors: Uint8Array,
  count: number,
  offset: number,
  flags: number,
) => number

const VECTOR_BYTES = 16
/** For {@link isCached}: a vector of the byte behind it. Passed as an object, so that it stays alive. */
const probe = Buffer.allocUnsafeSlow(VECTOR_BYTES + 1)
probe.writeBigUInt64LE(koffi.address(probe) + BigInt(VECTOR_BYTES), 0)
probe.writeBigUInt64LE(1n, 8)

/** Whether a byte can be read without waiting for the disk; true if the filesystem cannot tell. */
export const isCached = (fd: number, offset: number): boolean =>
  preadv2(fd, probe, 1, offset, RWF_NOWAIT) >= 0 || koffi.errno() !== constants.errno.EAGAIN

/** Starts to read a range from the disk into the kernel's cache, without waiting. */
export function startReading(fd: number, offset: number, length: number): void {
  // Best effort: reading the range waits for the rest.
  fadvise(fd, offset, length, POSIX_FADV_WILLNEED)
}

/** Frees a range, which reads as zeros afterwards; false if the filesystem does not support that. */
export const punchHole = (fd: number, offset: number, length: number): boolean =>
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === 0

/**
 * Allocates blocks up to a length, and extends the file to it. True also if the disk is too full for that; false if the filesystem does
 * not support it, or a quota forbids it.
 */
export function allocateBlocks(fd: number, length: number): boolean {
  for (;;) {
    if (fallocate(fd, 0, 0, length) === 0) return true
    const errno = koffi.errno()
    if (errno !== constants.errno.EINTR) return errno === constants.errno.ENOSPC
  }
}

/** Whether `[offset, end)` contains data; true if the filesystem cannot tell. */
export function hasData(fd: number, offset: number, end: number): boolean {
  const data = lseek(fd, offset, SEEK_DATA)
  // Fails beyond the last byte of data. A filesystem without support returns `offset`.
  return data >= 0 && data < end
}

/** Whether the disk failed to read a range. */
export const isReadFailure = (error: unknown): boolean => systemCode(error) === 'EIO'

/** Whether the kernel rejects a call as invalid: a direct write to a file that does not support it, for example. */
export const isInvalidArgument = (error: unknown): boolean => systemCode(error) === 'EINVAL'

/** Starts to write a range to the disk without waiting. */
export function startWriteOut(fd: number, offset: number, length: number): void {
  // Best effort: the sync writes the rest.
  syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE)
}
