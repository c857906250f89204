/** Linux's calls on ranges of files that Node does not have, and the errors of a disk that cannot read or write one. */
import { systemCode } from '../errors.ts'
import koffi from 'koffi'

const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
const SEEK_DATA = 3
const SYNC_FILE_RANGE_WRITE = 2

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

/** Frees a range: it reads as zeros from now on. False where the filesystem cannot. */
export const punchHole = (fd: number, offset: number, length: number): boolean =>
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === 0

/** Whether there is anything but a hole in `[offset, end)`; true where the filesystem does not know. */
export function hasData(fd: number, offset: number, end: number): boolean {
  const data = lseek(fd, offset, SEEK_DATA)
  // Beyond the last byte of data it fails. A filesystem that does not know answers `offset`.
  return data >= 0 && data < end
}

/** Whether a disk could not read a range. */
export const isReadFailure = (error: unknown): boolean => systemCode(error) === 'EIO'

/** Whether the kernel rejects a call as it was made: a direct write to a file that allows none, for example. */
export const isInvalidArgument = (error: unknown): boolean => systemCode(error) === 'EINVAL'

/** Starts to write a range to the disk without waiting. */
export function startWriteOut(fd: number, offset: number, length: number): void {
  // Best effort: what it does not write is written when the file is synced.
  syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE)
}
