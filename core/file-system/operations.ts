/**
 * The contract between a driver and a filesystem: POSIX operations by inode number, without FUSE types.
 *
 * - A driver (mount/drivers/kernel, mount/drivers/fuse-native) translates its requests into these calls and their
 *   results back; tests call them directly. `FileSystem` is the implementation over a database,
 *   `mount/drivers/no-op.ts` one that measures a driver alone.
 * - An operation fails by throwing; `errnoOf` (core/file-system/errno.ts) maps the error to an errno.
 * - **References.** lookup, mkdir, mknod, symlink, link and create add one reference to the inode that they return;
 *   `forget` removes references. An inode without references, handles and links is deleted.
 * - **Validity.** What an operation returns may be cached, for as long as {@link Validity} says.
 * - **Setuid.** A change of a file's data clears its setuid and setgid bits in the same operation, unless the caller may
 *   keep them ({@link KeepsSetuid}); it always removes its file capabilities.
 * - **Buffers.** Data passed in is valid until the returned promise settles; data returned may be read, not changed,
 *   until the driver has answered the request.
 * - Offsets and sizes of files are bigints: they reach 2^63 - 1, beyond a double's 2^53.
 * - Names are byte strings: one character per byte (latin1). They may contain any byte but '/' and NUL, and comparing
 *   them compares bytes.
 * - Any number of operations may run concurrently. Each is atomic: the others see all of it or nothing.
 */
import type { Awaitable } from '../../store/awaitable.ts'
import type { LockOwner, LockRange } from '../../store/file-locking.ts'
declare const brand: unique symbol

/** An inode number on this mount. The root's is {@link ROOT_INO}. */
export type Ino = number & { readonly [brand]: 'Ino' }

/** An open file's or directory's handle, a small integer reused after release. */
export type Fh = number & { readonly [brand]: 'Fh' }

/** A name in a directory: 1 to 255 bytes, one character each. */
export type Name = string & { readonly [brand]: 'Name' }

/** An Ino of a number. Unchecked: which inodes exist is known to the filesystem alone. */
export const ino = (value: number): Ino => value as Ino

/** An Fh of a number. Unchecked, as {@link ino}. */
export const fh = (value: number): Fh => value as Fh

/** A Name of a text in latin1. Unchecked: `checkNewName` (operations/attributes.ts) says which may be given to a file. */
export const name = (text: string): Name => text as Name

export const ROOT_INO = ino(1)

/** A directory's own name in itself, and its parent's. */
export const DOT = name('.')
export const DOT_DOT = name('..')

/** The calling process. */
export interface Caller {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Permission bits that a new file does not get; absent if they are removed from the mode already. */
  readonly umask?: number
}

/**
 * Whether the caller may keep setuid and setgid on a file whose data it changes (Linux: CAP_FSETID). Called only for
 * files that have such a bit, so it may be slow.
 */
export type KeepsSetuid = () => boolean

/**
 * How long a result may be cached: for ever; until the filesystem notifies ({@link Notifier}) or an operation of the same
 * driver changes it; for about a second, because it also changes without an operation; for some milliseconds; or not at all.
 */
export type Validity = 'forever' | 'until changed' | 'briefly' | 'momentarily' | 'never'

/** Times are nanoseconds since 1970. */
export interface Attributes {
  readonly ino: Ino
  /** File type and permission bits, as st_mode. */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  /** In bytes, in `[0, 2^63)`. */
  readonly size: bigint
  /** Stored bytes, in units of 512. */
  readonly blocks: number
  readonly blksize: number
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly birthtimeNs: bigint
  /** How long these attributes hold. */
  readonly validity: Validity
}

/** The inode of a name. */
export interface Entry {
  readonly attributes: Attributes
  /** Distinguishes uses of the same inode number. */
  readonly generation: number
  /** How long the association of name and inode may be cached. */
  readonly nameValidity: Validity
}

/** The attributes that setattr changes; absent ones are unchanged. 'now' is the filesystem's clock at the call. */
export interface AttributeChanges {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly size?: bigint
  readonly atimeNs?: bigint | 'now'
  readonly mtimeNs?: bigint | 'now'
  readonly ctimeNs?: bigint
  /** The handle through which a size is changed (ftruncate). */
  readonly fh?: Fh
  /** For a change of size, the inverse of {@link KeepsSetuid}; by default false. A change of owner always drops them. */
  readonly dropsSetuid?: boolean
  /** Drops privileges as a change of owner does: chown(2) that keeps owner and group. */
  readonly dropsPrivileges?: boolean
}

export interface OpenFile {
  readonly fh: Fh
  /**
   * What to do with pages cached by earlier reads: keep them, drop them, or bypass the cache altogether (generated
   * content, whose length is not known in advance). A stream has no positions: reads and writes do not wait for each other.
   */
  readonly pages: 'keep' | 'drop' | 'bypass' | 'stream'
}

export interface DirectoryEntry {
  readonly name: Name
  readonly ino: Ino
  /** S_IFMT bits of the mode. */
  readonly type: number
  /** Position after this entry, for the next readdir. Opaque; stable while the directory changes. */
  readonly cookie: bigint
}

/** An entry of a directory, and what it leads to. */
export interface ListedEntry {
  readonly entry: DirectoryEntry
  readonly found: Entry | undefined
}

export interface FileSystemStatistics {
  readonly blockSize: number
  readonly blocks: number
  readonly blocksFree: number
  readonly blocksAvailable: number
  readonly files: number
  readonly filesFree: number
  readonly nameMax: number
}

/** rename(2)'s flags. */
export interface RenameFlags {
  readonly noReplace?: boolean
  readonly exchange?: boolean
  /** Leaves a character device 0:0 under the old name, which overlayfs takes for a deleted file. */
  readonly whiteout?: boolean
  /** What has the new name is renamed to this in the same step, in the same directory, instead of being replaced. Not for the kernel. */
  readonly aside?: Name
}

/** fallocate(2)'s mode. */
export interface AllocateMode {
  readonly keepSize: boolean
  readonly punchHole: boolean
  readonly zeroRange: boolean
}

/** Invalidates the kernel's caches. A driver that cannot do that has no notifier. */
export interface Notifier {
  /** Invalidates attributes and cached pages `[off, off + len)` of an inode; len 0: to its end; off < 0: attributes only. */
  invalidateInode(ino: Ino, off: bigint, len: bigint): void
  /** Invalidates a name, or the cached absence of one. */
  invalidateEntry(parent: Ino, name: Name): void
  /** Invalidates all cached names, and the cached absence of names, if {@link Notifier.invalidatesNames}. */
  invalidateNames(): void
  /** Whether it can invalidate all names at once: without a wait for operations, which single names may need. */
  readonly invalidatesNames?: boolean
  /** Has the kernel forget inodes that nothing uses, for which it removes its references. One that is in use stays. */
  forgetUnused?(inos: readonly Ino[]): void
  /** Invalidates attributes; resolves when that is done. It waits for no operation, so an operation may await it. */
  invalidateAttributes(ino: Ino): Promise<void>
  /**
   * Resolves when every invalidation so far is done. Never await it within an operation, nor while holding a lock that
   * an operation may need: the kernel may have to wait for operations before it can drop pages and names.
   */
  settled(): Promise<void>
}

/** A lock of `[start, last]` of a file. `pid`: the process that has it. */
export interface RequestedLock extends LockRange {
  readonly isExclusive: boolean
  readonly pid: number
}

/** Advisory locks of files, as of fcntl(2) and flock(2). */
export interface LockOperations {
  /** A conflicting lock; undefined if there is none. Its pid is 0 if its process is on another machine. */
  test(ino: Ino, owner: LockOwner, lock: RequestedLock): Promise<RequestedLock | undefined>
  /**
   * Takes a lock, or changes one. @param signal waits until it is free, or the signal is aborted.
   * @throws ErrnoError EAGAIN, EDEADLK; EINTR if it was aborted.
   */
  lock(ino: Ino, owner: LockOwner, lock: RequestedLock, signal?: AbortSignal): Promise<void>
  unlock(ino: Ino, owner: LockOwner, range: LockRange): Promise<void>
  /** Releases all locks that an owner has of a file. */
  unlockAll(ino: Ino, owner: LockOwner): Promise<void>
}

/** Operations that need no more than what is in memory may answer, or throw, without a promise. */
export interface Operations {
  /** Absent if the kernel keeps locks of files, among the programs of this machine. */
  readonly locks?: LockOperations | undefined
  /** @throws NAME_ABSENT (core/file-system/errno.ts) if there is no such name, which may be cached; ENOENT if it may not. */
  lookup(parent: Ino, name: Name, caller: Caller): Awaitable<Entry>
  /** Removes `count` references. Never fails. */
  forget(ino: Ino, count: number): void
  /** @param needsBlocks whether st_blocks counts pages of mappings that the kernel has not sent yet; the default is true. */
  getattr(ino: Ino, fh?: Fh, needsBlocks?: boolean): Awaitable<Attributes>
  setattr(ino: Ino, changes: AttributeChanges, caller: Caller): Promise<Attributes>

  readlink(ino: Ino): Promise<Uint8Array>
  symlink(parent: Ino, name: Name, target: Uint8Array, caller: Caller): Promise<Entry>
  /** Creates a regular file, FIFO, socket or device, by the type bits of `mode`, to which the umask has been applied. */
  mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Promise<Entry>
  mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Promise<Entry>
  /** `replaces`: a file without a name (O_TMPFILE) takes the place of a file that has the name. */
  link(ino: Ino, parent: Ino, name: Name, caller: Caller, replaces?: boolean): Promise<Entry>
  unlink(parent: Ino, name: Name, caller: Caller): Promise<void>
  rmdir(parent: Ino, name: Name, caller: Caller): Promise<void>
  rename(
    parent: Ino,
    name: Name,
    newParent: Ino,
    newName: Name,
    flags: RenameFlags,
    caller: Caller,
  ): Promise<void>

  /** `flags` are those of open(2). `keepsSetuid` is for O_TRUNC. */
  open(ino: Ino, flags: number, caller: Caller, keepsSetuid?: KeepsSetuid): Promise<OpenFile>
  create(
    parent: Ino,
    name: Name,
    mode: number,
    flags: number,
    caller: Caller,
    keepsSetuid?: KeepsSetuid,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }>
  /** Creates and opens a file without a name (O_TMPFILE); {@link Operations.link} may give it one. Absent if that is not supported. */
  createUnnamed?(
    parent: Ino,
    mode: number,
    flags: number,
    caller: Caller,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }>
  /**
   * Reads up to `len` bytes from `off`, fewer only at the end of the file, as consecutive pieces. Pieces may be
   * in `into`, if given: memory for `len` bytes, which belongs to the operation until it has ended.
   */
  read(ino: Ino, fh: Fh, off: bigint, len: number, into?: Uint8Array): Awaitable<readonly Uint8Array[]>
  /** Writes all of `data`; resolves to its length. */
  write(ino: Ino, fh: Fh, off: bigint, data: Uint8Array, keepsSetuid?: KeepsSetuid): Awaitable<number>
  /**
   * Writes all of `data` at the end of the file, wherever that is by then: appends that arrive one after another follow each other.
   * Resolves to the new end.
   * @param known the end that the caller, which serialises its appends, has computed. It is used unless the file was changed otherwise
   *   than through the driver.
   */
  append(ino: Ino, fh: Fh, data: Uint8Array, keepsSetuid?: KeepsSetuid, known?: bigint): Promise<bigint>
  /** Closes a handle. This does not store anything: call fsync for that. */
  release(ino: Ino, fh: Fh): Awaitable<void>
  fsync(ino: Ino, fh: Fh | undefined, dataOnly: boolean): Promise<void>
  allocate(
    ino: Ino,
    fh: Fh,
    mode: AllocateMode,
    off: bigint,
    len: bigint,
    keepsSetuid?: KeepsSetuid,
  ): Promise<void>
  /** The next offset `>= off` of data, or of a hole. @throws ENXIO if there is none. */
  seek(ino: Ino, fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint>
  copyFileRange(
    from: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    to: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    len: bigint,
    keepsSetuid?: KeepsSetuid,
  ): Promise<bigint>

  opendir(ino: Ino, flags: number, caller: Caller): Promise<Fh>
  /** At most `limit` entries after `cookie` (0n: from the start, with '.' and '..'); empty at the end. */
  readdir(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]>
  /**
   * As readdir, with the inode of each entry as lookup gives it, with a reference: absent for '.', '..', and an inode that cannot
   * be read. It ends before the first entry that does not fit, by `fits`, which is called with each in order.
   */
  readdirplus?(
    ino: Ino,
    fh: Fh,
    cookie: bigint,
    limit: number,
    fits: (entry: DirectoryEntry) => boolean,
  ): Promise<readonly ListedEntry[]>
  releasedir(ino: Ino, fh: Fh): Promise<void>
  fsyncdir(ino: Ino, fh: Fh | undefined): Promise<void>

  statfs(ino: Ino): Promise<FileSystemStatistics>
  getxattr(ino: Ino, name: string): Awaitable<Uint8Array>
  /** `dropsSetgid`: setting an access ACL drops setgid. */
  setxattr(
    ino: Ino,
    name: string,
    value: Uint8Array,
    flags: number,
    caller: Caller,
    dropsSetgid?: boolean,
  ): Promise<void>
  /** `seesTrusted`: whether the caller has CAP_SYS_ADMIN, without which `trusted.*` is not listed. Called only if needed. */
  listxattr(ino: Ino, seesTrusted?: () => boolean): Promise<readonly string[]>
  removexattr(ino: Ino, name: string, caller: Caller): Promise<void>

  /** Called before the first request by a driver that can invalidate the kernel's caches. */
  attach(notifier: Notifier): void
}
