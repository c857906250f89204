/**
 * Linux's system calls that Node has no function for, called in this process through koffi.
 *
 * A call that fails throws a {@link SyscallError} with a `code` as Node's own errors have it, so that tests
 * expect both in one way. Calls block: a process that serves a mount must not use them on it. Constants are
 * those of x86-64 and arm64.
 */
import { constants } from 'node:os'
import { constants as fsConstants } from 'node:fs'
import { koffi } from '../../store/koffi.ts'

/** A path: text, or bytes if it is not UTF-8. */
export type Path = string | Uint8Array

/** A failed system call. */
export class SyscallError extends Error {
  override readonly name = 'SyscallError'
  /** The errno's name, as `ENOENT`. */
  readonly code: string
  readonly syscall: string
  constructor(syscall: string, code: string) {
    super(`${code}: ${syscall}`)
    this.syscall = syscall
    this.code = code
  }
}

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const STATX_ALL = 0xfff

export const O_DIRECT = fsConstants.O_DIRECT
export const O_PATH = 0o10000000
export const O_TMPFILE = 0o20000000 | fsConstants.O_DIRECTORY

export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2

export const FALLOC_FL_KEEP_SIZE = 1
export const FALLOC_FL_PUNCH_HOLE = 2
export const FALLOC_FL_COLLAPSE_RANGE = 8
export const FALLOC_FL_ZERO_RANGE = 16

/** `pwritev2`'s flags: at the end, whatever the descriptor says, and at the offset, whatever the descriptor says (Linux 6.9). */
export const RWF_APPEND = 0x10
export const RWF_NOAPPEND = 0x20

export const SEEK_SET = 0
export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

export const XATTR_CREATE = 1
export const XATTR_REPLACE = 2

export const LOCK_SH = 1
export const LOCK_EX = 2
export const LOCK_NB = 4
export const LOCK_UN = 8

/** `utimensat`'s nanoseconds that mean the present, and no change. */
export const UTIME_NOW = 0x3fffffffn
export const UTIME_OMIT = 0x3ffffffen

/** What `mmap` may do with the pages. */
export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 1
export const MAP_PRIVATE = 2
export const MS_SYNC = 4

const libc = koffi.load('libc.so.6')

/** Of names with one number the first in the alphabet: EAGAIN, not EWOULDBLOCK. */
const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno)
    .sort(([a], [b]) => (a < b ? 1 : -1))
    .map(([name, number]) => [number, name]),
)

/** Binds a C function that returns -1 on failure. */
function bind(prototype: string): (...args: readonly unknown[]) => bigint {
  const call = libc.func(prototype)
  const name = /(\w+)\(/.exec(prototype)?.[1] ?? prototype
  return (...args) => {
    const result = BigInt(call(...args) as number | bigint)
    if (result === -1n || result === 0xffff_ffff_ffff_ffffn)
      throw new SyscallError(name, ERRNO_NAMES.get(koffi.errno()) ?? `errno ${koffi.errno()}`)
    return result
  }
}

const c = {
  renameat2: bind('int renameat2(int from, void *a, int to, void *b, unsigned int flags)'),
  fallocate: bind('int fallocate(int fd, int mode, int64_t off, int64_t len)'),
  lseek: bind('int64_t lseek(int fd, int64_t off, int whence)'),
  ftruncate: bind('int ftruncate(int fd, int64_t len)'),
  truncate: bind('int truncate(void *path, int64_t len)'),
  pread: bind('int64_t pread(int fd, void *buffer, size_t len, int64_t off)'),
  pwrite: bind('int64_t pwrite(int fd, void *buffer, size_t len, int64_t off)'),
  pwritev2: bind('int64_t pwritev2(int fd, void *vector, int count, int64_t off, int flags)'),
  mknod: bind('int mknod(void *path, unsigned int mode, uint64_t device)'),
  utimensat: bind('int utimensat(int fd, void *path, void *times, int flags)'),
  statx: bind('int statx(int fd, void *path, int flags, unsigned int mask, void *result)'),
  copyFileRange: bind(
    'int64_t copy_file_range(int in, void *inOff, int out, void *outOff, size_t len, unsigned int flags)',
  ),
  flock: bind('int flock(int fd, int operation)'),
  fcntl: bind('int fcntl(int fd, int command, void *lock)'),
  mmap: bind('void *mmap(void *at, size_t len, int protection, int flags, int fd, int64_t off)'),
  munmap: bind('int munmap(void *at, size_t len)'),
  msync: bind('int msync(void *at, size_t len, int flags)'),
  lsetxattr: bind('int lsetxattr(void *path, void *name, void *value, size_t len, int flags)'),
  lgetxattr: bind('int64_t lgetxattr(void *path, void *name, void *value, size_t len)'),
  llistxattr: bind('int64_t llistxattr(void *path, void *list, size_t len)'),
  lremovexattr: bind('int lremovexattr(void *path, void *name)'),
  syncfs: bind('int syncfs(int fd)'),
}

/** A C string. */
const cString = (text: Path): Buffer => Buffer.concat([Buffer.from(text as string), Buffer.alloc(1)])

/** rename(2) with flags. */
export function renameat2(from: Path, to: Path, flags: number): void {
  c.renameat2(AT_FDCWD, cString(from), AT_FDCWD, cString(to), flags)
}

/** Allocates, punches or zeroes `[off, off + len)`. */
export function fallocate(fd: number, mode: number, off: number | bigint, len: number | bigint): void {
  c.fallocate(fd, mode, off, len)
}

/** Moves a descriptor's offset, or finds data and holes. */
export function lseek(fd: number, off: number | bigint, whence: number): bigint {
  return c.lseek(fd, off, whence)
}

export function ftruncate(fd: number, len: number | bigint): void {
  c.ftruncate(fd, len)
}

export function truncate(path: Path, len: number | bigint): void {
  c.truncate(cString(path), len)
}

/** Reads at an offset up to 2^63 - 1; returns how many bytes. */
export function pread(fd: number, buffer: Uint8Array, off: number | bigint): number {
  return Number(c.pread(fd, buffer, buffer.length, off))
}

/** Writes at an offset up to 2^63 - 1; returns how many bytes. */
export function pwrite(fd: number, data: Uint8Array, off: number | bigint): number {
  return Number(c.pwrite(fd, data, data.length, off))
}

/** pwritev2(2) of one buffer. */
export function pwritev2(fd: number, data: Uint8Array, off: number | bigint, flags: number): number {
  const vector = Buffer.alloc(16)
  vector.writeBigUInt64LE(koffi.address(data), 0)
  vector.writeBigUInt64LE(BigInt(data.length), 8)
  return Number(c.pwritev2(fd, vector, 1, off, flags))
}

/** Makes a FIFO, socket, device or file, by the type bits of `mode`. */
export function mknod(path: Path, mode: number, device = 0): void {
  c.mknod(cString(path), mode, device)
}

/** A time in nanoseconds since 1970, the present, or the one that is there. */
export type TimeChange = bigint | 'now' | 'omit'

/** Sets atime and mtime of the path itself, symlinks not followed. */
export function utimensat(path: Path, atime: TimeChange, mtime: TimeChange): void {
  const times = new BigInt64Array(4)
  for (const [index, time] of [atime, mtime].entries()) {
    const seconds = typeof time === 'bigint' ? BigInt.asIntN(64, (time - mod(time)) / 1_000_000_000n) : 0n
    times[index * 2] = seconds
    times[index * 2 + 1] = time === 'now' ? UTIME_NOW : time === 'omit' ? UTIME_OMIT : mod(time)
  }
  c.utimensat(AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW)
}

const mod = (time: bigint): bigint => ((time % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n

/** The time of a path's birth in nanoseconds since 1970; undefined where the filesystem keeps none. */
export function birthTime(path: Path): bigint | undefined {
  const result = Buffer.alloc(256)
  c.statx(AT_FDCWD, cString(path), AT_SYMLINK_NOFOLLOW, STATX_ALL, result)
  const known = (result.readUInt32LE(0) & 0x800) !== 0
  return known ? result.readBigInt64LE(80) * 1_000_000_000n + BigInt(result.readUInt32LE(88)) : undefined
}

/** Copies bytes from one file into another; returns how many. */
export function copyFileRange(
  from: { readonly fd: number; readonly off: number | bigint },
  to: { readonly fd: number; readonly off: number | bigint },
  len: number,
): number {
  const fromOff = BigInt64Array.of(BigInt(from.off))
  const toOff = BigInt64Array.of(BigInt(to.off))
  return Number(c.copyFileRange(from.fd, fromOff, to.fd, toOff, len, 0))
}

export function flock(fd: number, operation: number): void {
  c.flock(fd, operation)
}

/** A record lock of fcntl(2) on `[off, off + len)`; len 0 reaches to the end of every file. */
export interface RecordLock {
  readonly type: 'read' | 'write' | 'unlock'
  readonly off: number
  readonly len: number
}

const LOCK_TYPES = { read: 0, write: 1, unlock: 2 } as const
const F_GETLK = 5
const F_SETLK = 6
const F_OFD_SETLK = 37

function packLock(lock: RecordLock): Buffer {
  const bytes = Buffer.alloc(32)
  bytes.writeInt16LE(LOCK_TYPES[lock.type], 0)
  bytes.writeBigInt64LE(BigInt(lock.off), 8)
  bytes.writeBigInt64LE(BigInt(lock.len), 16)
  return bytes
}

/** Takes or gives back a record lock without waiting: of this process, or of the open file description. */
export function setLock(fd: number, lock: RecordLock, owner: 'process' | 'description' = 'process'): void {
  c.fcntl(fd, owner === 'process' ? F_SETLK : F_OFD_SETLK, packLock(lock))
}

/** The pid of a process whose lock conflicts with `lock`; undefined if none does. */
export function conflictingLock(fd: number, lock: RecordLock): number | undefined {
  const bytes = packLock(lock)
  c.fcntl(fd, F_GETLK, bytes)
  return bytes.readInt16LE(0) === LOCK_TYPES.unlock ? undefined : bytes.readInt32LE(24)
}

/** A part of a file in memory. */
export class Mapping {
  readonly bytes: Buffer
  readonly #address: bigint

  constructor(
    fd: number,
    len: number,
    options: { off?: number; private?: boolean; readOnly?: boolean } = {},
  ) {
    const protection = options.readOnly === true ? PROT_READ : PROT_READ | PROT_WRITE
    const flags = options.private === true ? MAP_PRIVATE : MAP_SHARED
    this.#address = c.mmap(null, len, protection, flags, fd, options.off ?? 0)
    this.bytes = Buffer.from(koffi.view(this.#address, len))
  }

  /** Waits until the file's changed pages are written. */
  sync(): void {
    c.msync(this.#address, this.bytes.length, MS_SYNC)
  }

  /** Ends the mapping; its bytes must not be touched afterwards. */
  [Symbol.dispose](): void {
    c.munmap(this.#address, this.bytes.length)
  }
}

/** Sets an extended attribute of the path itself, symlinks not followed. */
export function setxattr(path: Path, name: string, value: Uint8Array, flags = 0): void {
  c.lsetxattr(cString(path), cString(name), value, value.length, flags)
}

export function getxattr(path: Path, name: string): Buffer {
  const value = Buffer.alloc(65536)
  return value.subarray(0, Number(c.lgetxattr(cString(path), cString(name), value, value.length)))
}

/** The bytes that an attribute's value takes, asked with an empty buffer. */
export function getxattrSize(path: Path, name: string): number {
  return Number(c.lgetxattr(cString(path), cString(name), null, 0))
}

/** Like {@link getxattr} into a buffer of `len` bytes: ERANGE if it is too small. */
export function getxattrInto(path: Path, name: string, len: number): number {
  return Number(c.lgetxattr(cString(path), cString(name), Buffer.alloc(len), len))
}

/** The names of a path's extended attributes, sorted. */
export function listxattr(path: Path): string[] {
  const list = Buffer.alloc(65536)
  const len = Number(c.llistxattr(cString(path), list, list.length))
  return list.toString('latin1', 0, len).split('\0').slice(0, -1).sort()
}

export function removexattr(path: Path, name: string): void {
  c.lremovexattr(cString(path), cString(name))
}

/** Waits until all of the filesystem that holds `fd` is stored. */
export function syncfs(fd: number): void {
  c.syncfs(fd)
}
