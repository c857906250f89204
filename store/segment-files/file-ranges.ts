/** Ranges of files: what Linux does with them and Node has no call for, and what a disk says that cannot give or take one. */
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

/** Gives a range's room back: it reads as zeros from now on. False where the filesystem cannot. */
export const punchHole = (fd: number, offset: number, length: number): boolean =>
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === 0

/** Whether there is anything but a hole from `offset` on, before `end`. Where nobody knows, there is. */
export function hasData(fd: number, offset: number, end: number): boolean {
  const data = lseek(fd, offset, SEEK_DATA)
  // Beyond the last byte of data it fails; so it does where the filesystem does not know, and then it says `offset`.
  return data >= 0 && data < end
}

/** Whether a disk could not give what it has. */
export const isReadFailure = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EIO'

/** Whether the kernel says that a call cannot be made so: what cannot be written past its cache, for one. */
export const isInvalidArgument = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EINVAL'

/** Begins to write a range to the disk, and waits for nothing. */
export function startWriteOut(fd: number, offset: number, length: number): void {
  // It may fail; then the range is written when the file is synced.
  syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE)
}
