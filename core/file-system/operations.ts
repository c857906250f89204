/**
 * What a driver asks of a filesystem: POSIX operations by inode number, with no FUSE types in them.
 *
 * - A driver (mount/kernel, mount/fuse-native) translates its requests into these calls and their results
 *   back; a test calls them directly. `FileSystem` is the real one; `mount/drivers/no-op.ts` measures a driver alone.
 * - An operation fails by throwing; `errnoOf` (core/file-system/errno.ts) tells which errno an error means.
 * - **References.** lookup, mkdir, mknod, symlink, link and create give the kernel one reference to the inode
 *   that they return; `forget` takes them back. An inode without references, handles or links is gone.
 * - **Buffers.** Data handed in is valid until the returned promise settles; data handed out is the driver's to
 *   read, not to change, until it has answered the request.
 * - Offsets and sizes of files are bigints: they reach 2^63 - 1, beyond a double's 2^53.
 * - Names are byte strings: one character per byte (latin1), so that any byte but '/' and NUL can stand in them
 *   and comparing them compares bytes.
 * - Any number of operations may be under way at once. Each is atomic: the others see all of it or nothing.
 */
declare const brand: unique symbol

/** An inode's number on this mount. The root's is {@link ROOT_INO}. */
export type Ino = number & { readonly [brand]: 'Ino' }

/** An open file's or directory's handle, a small integer reused after release. */
export type Fh = number & { readonly [brand]: 'Fh' }

/** A name in a directory: 1 to 255 bytes, one character each. */
export type Name = string & { readonly [brand]: 'Name' }

export const ROOT_INO = 1 as Ino

/** Who asks. */
export interface Caller {
  readonly uid: number
  readonly gid: number
  readonly pid: number
}

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
  /** What is stored of it, in units of 512 bytes. */
  readonly blocks: number
  readonly blksize: number
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly birthtimeNs: bigint
}

/** What the kernel may remember, and for how long. */
export interface Entry {
  readonly attributes: Attributes
  /** Tells one use of an inode number from the next. */
  readonly generation: number
  readonly entryTimeoutMs: number
  readonly attributesTimeoutMs: number
}

/** What setattr changes; what is absent stays. 'now' is the server's clock at the call. */
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
  /** Drop setuid and setgid (the kernel asks for it on chown, truncate and write by others). */
  readonly killSuidgid?: boolean
}

export interface OpenFile {
  readonly fh: Fh
  /** The kernel keeps the pages that it has of this file. */
  readonly keepCache: boolean
  /** Reads and writes bypass the kernel's page cache (files whose content is made up on the spot). */
  readonly directIo: boolean
}

export interface DirectoryEntry {
  readonly name: Name
  readonly ino: Ino
  /** S_IFMT bits of the mode. */
  readonly type: number
  /** Where the next readdir goes on after this entry. Opaque; stable while the directory changes. */
  readonly cookie: bigint
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
}

/** fallocate(2)'s mode. */
export interface AllocateMode {
  readonly keepSize: boolean
  readonly punchHole: boolean
  readonly zeroRange: boolean
}

/** Tells the kernel what it must forget; a driver that cannot, has no notifier. */
export interface Notifier {
  /** Attributes and cached pages `[off, off + len)` of an inode; len 0: to its end; off < 0: attributes only. */
  invalidateInode(ino: Ino, off: bigint, len: bigint): void
  /** What the kernel knows of a name, its absence included. */
  invalidateEntry(parent: Ino, name: Name): void
  /**
   * Resolves when the kernel has forgotten all that it was told to so far. Never await it within an operation, nor
   * with a lock that one may need: the kernel may have to wait for operations before it can forget.
   */
  settled(): Promise<void>
}

export interface Operations {
  lookup(parent: Ino, name: Name, caller: Caller): Promise<Entry>
  /** Takes back `count` references. Never fails. */
  forget(ino: Ino, count: number): void
  getattr(ino: Ino, fh?: Fh): Promise<Attributes>
  setattr(ino: Ino, changes: AttributeChanges, caller: Caller): Promise<Attributes>

  readlink(ino: Ino): Promise<Uint8Array>
  symlink(parent: Ino, name: Name, target: Uint8Array, caller: Caller): Promise<Entry>
  /** A regular file, FIFO, socket or device, by the type bits of `mode`, from which the umask is already gone. */
  mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Promise<Entry>
  mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Promise<Entry>
  link(ino: Ino, parent: Ino, name: Name, caller: Caller): Promise<Entry>
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

  /** `flags` as open(2) has them. */
  open(ino: Ino, flags: number, caller: Caller): Promise<OpenFile>
  create(
    parent: Ino,
    name: Name,
    mode: number,
    flags: number,
    caller: Caller,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }>
  /**
   * Up to `len` bytes from `off`, fewer only at the end of the file; in pieces, to be sent one after the other. They may
   * lie in `into`, where that is given: memory for `len` bytes, which is the operation's until it has settled.
   */
  read(ino: Ino, fh: Fh, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]>
  /** Writes all of `data`; resolves to its length. */
  write(ino: Ino, fh: Fh, off: bigint, data: Uint8Array): Promise<number>
  /** The handle's last descriptor is gone. Closing stores nothing by itself: who must know calls fsync. */
  release(ino: Ino, fh: Fh): Promise<void>
  fsync(ino: Ino, fh: Fh | undefined, dataOnly: boolean): Promise<void>
  allocate(ino: Ino, fh: Fh, mode: AllocateMode, off: bigint, len: bigint): Promise<void>
  /** The next offset `>= off` of data, or of a hole. @throws ENXIO where there is none. */
  seek(ino: Ino, fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint>
  copyFileRange(
    from: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    to: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    len: bigint,
  ): Promise<bigint>

  opendir(ino: Ino, flags: number, caller: Caller): Promise<Fh>
  /** Entries after `cookie` (0n: from the start, with '.' and '..'), a batch of at most `limit`; empty at the end. */
  readdir(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]>
  releasedir(ino: Ino, fh: Fh): Promise<void>
  fsyncdir(ino: Ino, fh: Fh | undefined): Promise<void>

  statfs(ino: Ino): Promise<FileSystemStatistics>
  getxattr(ino: Ino, name: string): Promise<Uint8Array>
  setxattr(ino: Ino, name: string, value: Uint8Array, flags: number, caller: Caller): Promise<void>
  listxattr(ino: Ino): Promise<readonly string[]>
  removexattr(ino: Ino, name: string, caller: Caller): Promise<void>

  /** A driver that can tell the kernel to forget offers itself here, before the first request. */
  attach(notifier: Notifier): void
}
