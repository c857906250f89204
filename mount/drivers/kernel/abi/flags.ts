/** Bits in the protocol's flag fields, those that we send or read. Source: linux/fuse.h and Linux's uapi. */

/** INIT. The bits from 32 on travel in a second field, `flags2`. */
export const InitFlag = {
  /** Several reads of one file at a time. */
  ASYNC_READ: 1n << 0n,
  /** open(2) brings O_TRUNC along instead of a setattr of its own. */
  ATOMIC_O_TRUNC: 1n << 3n,
  BIG_WRITES: 1n << 5n,
  DO_READDIRPLUS: 1n << 13n,
  READDIRPLUS_AUTO: 1n << 14n,
  ASYNC_DIO: 1n << 15n,
  WRITEBACK_CACHE: 1n << 16n,
  PARALLEL_DIROPS: 1n << 18n,
  /** Reading the device after an abort says ECONNABORTED, after an unmount ENODEV. */
  ABORT_ERROR: 1n << 21n,
  MAX_PAGES: 1n << 22n,
  CACHE_SYMLINKS: 1n << 23n,
  /** Cached pages go when a notification says so, not when size or mtime look new. */
  EXPLICIT_INVAL_DATA: 1n << 25n,
  /** The server drops setuid and setgid bits, and spares the kernel a getxattr for each write. */
  HANDLE_KILLPRIV_V2: 1n << 28n,
  SETXATTR_EXT: 1n << 29n,
  INIT_EXT: 1n << 30n,
  /** A file opened for direct I/O can still be mapped shared. */
  DIRECT_IO_ALLOW_MMAP: 1n << 36n,
} as const

/** What the answer to open says of the file. */
export const OpenFlag = { DIRECT_IO: 1 << 0, KEEP_CACHE: 1 << 1 } as const

/** Which fields of a setattr count. */
export const SetattrField = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const

/** A getattr or statx names a handle. */
export const GETATTR_FH = 1 << 0

/** An open with O_TRUNC takes setuid and setgid away. */
export const OPEN_KILL_SUIDGID = 1 << 0

/** A write of dirty pages, without the file that they were written through. */
export const WRITE_CACHE = 1 << 0

/** A write takes setuid and setgid away. */
export const WRITE_KILL_SUIDGID = 1 << 2

/** An fsync is an fdatasync. */
export const FSYNC_FDATASYNC = 1 << 0

/** renameat2(2). */
export const RenameFlag = { NOREPLACE: 1 << 0, EXCHANGE: 1 << 1 } as const

/** fallocate(2). */
export const AllocateFlag = { KEEP_SIZE: 1 << 0, PUNCH_HOLE: 1 << 1, ZERO_RANGE: 1 << 4 } as const

/** lseek(2). */
export const Whence = { DATA: 3, HOLE: 4 } as const
