/** The bits of the protocol's flag fields that are used here. Source: linux/fuse.h and Linux's uapi. */

/** INIT. Bits 32 and above are sent in a second field, `flags2`. */
export const InitFlag = {
  /** Several reads of one file at a time. */
  ASYNC_READ: 1n << 0n,
  /** The server keeps locks of fcntl(2). */
  POSIX_LOCKS: 1n << 1n,
  /** OPEN carries O_TRUNC; there is no separate SETATTR. */
  ATOMIC_O_TRUNC: 1n << 3n,
  BIG_WRITES: 1n << 5n,
  /** The server applies the umask, which a default ACL replaces. */
  DONT_MASK: 1n << 6n,
  DO_READDIRPLUS: 1n << 13n,
  READDIRPLUS_AUTO: 1n << 14n,
  /** The server keeps locks of flock(2). */
  FLOCK_LOCKS: 1n << 10n,
  ASYNC_DIO: 1n << 15n,
  PARALLEL_DIROPS: 1n << 18n,
  /** The kernel checks access by the POSIX ACLs that the server stores. */
  POSIX_ACL: 1n << 20n,
  /** Reading the device fails with ECONNABORTED after an abort, with ENODEV after an unmount. */
  ABORT_ERROR: 1n << 21n,
  MAX_PAGES: 1n << 22n,
  CACHE_SYMLINKS: 1n << 23n,
  /** The kernel drops cached pages on a notification, not when size or mtime have changed. */
  EXPLICIT_INVAL_DATA: 1n << 25n,
  /** The server drops setuid, setgid and capabilities, which saves the kernel a getxattr per write. */
  HANDLE_KILLPRIV_V2: 1n << 28n,
  SETXATTR_EXT: 1n << 29n,
  INIT_EXT: 1n << 30n,
  /** A file opened for direct I/O can still be mapped shared. */
  DIRECT_IO_ALLOW_MMAP: 1n << 36n,
} as const

/** Flags in the reply to OPEN. */
export const OpenFlag = { DIRECT_IO: 1 << 0, KEEP_CACHE: 1 << 1, STREAM: 1 << 4 } as const

/** The valid fields of a SETATTR. */
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

/** A GETATTR or STATX has a handle. */
export const GETATTR_FH = 1 << 0

/** An OPEN with O_TRUNC drops setuid and setgid. */
export const OPEN_KILL_SUIDGID = 1 << 0

/** A WRITE of dirty pages from the page cache. */
export const WRITE_CACHE = 1 << 0

/** A WRITE drops setuid and setgid. */
export const WRITE_KILL_SUIDGID = 1 << 2

/** A SETXATTR of an access ACL drops setgid. */
export const SETXATTR_ACL_KILL_SGID = 1 << 0

/** An FSYNC is an fdatasync. */
export const FSYNC_FDATASYNC = 1 << 0

/** A lock is one of flock(2). */
export const LOCK_FLOCK = 1 << 0

/** A RELEASE ends the locks of flock(2) of its owner. */
export const RELEASE_FLOCK_UNLOCK = 1 << 1

/** renameat2(2). */
export const RenameFlag = { NOREPLACE: 1 << 0, EXCHANGE: 1 << 1, WHITEOUT: 1 << 2 } as const

/** fallocate(2). */
export const AllocateFlag = { KEEP_SIZE: 1 << 0, PUNCH_HOLE: 1 << 1, ZERO_RANGE: 1 << 4 } as const

/** lseek(2). */
export const Whence = { DATA: 3, HOLE: 4 } as const
