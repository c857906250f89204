/**
 * The filesystem: {@link Operations} over the objects of a database, with write-back, the past, and made-up files.
 *
 * Inode numbers tell which tree an inode is of (file-system/tree.ts): the live one, one of the past (views.ts), or
 * the made-up one (file-system/control-files.ts). Operations of one kind are together in a file each:
 * names, rename, metadata, file-data, space, directories. They share file-system/context.ts, which says how locks
 * are taken. file-system/write-back.ts says when changes become transactions.
 *
 * Who may do what is checked by the kernel (default_permissions), which knows the caller's groups and capabilities.
 */
import type { ConnectionStatistics } from '../objects/connection.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { ErrnoError, type ErrnoName } from './errno.ts'
import { processOwner } from '../process-owner.ts'
import { assemble, type Assembly, type FileSystemOptions } from './assembly.ts'
import type { Context } from './context.ts'
import { ControlFiles, isControlIno, paddedJson } from './control-files.ts'
import { Directories } from './operations/readdir.ts'
import { FileData } from './operations/io.ts'
import { Files } from './operations/open.ts'
import { History } from './history/history.ts'
import { KernelCaches } from './inodes/kernel-caches.ts'
import { Metadata } from './operations/setattr.ts'
import { Names } from './operations/create.ts'
import { OperationCounts, type OperationName } from './operation-counts.ts'
import { rename } from './operations/rename.ts'
import { CONTROL_NAME } from './reserved-names.ts'
import { availableBytes, spaceStatistics } from './operations/statfs.ts'
import { Space } from './operations/space.ts'
import type { WriteBack } from './commit/write-back.ts'
import {
  ROOT_INO,
  type AllocateMode,
  type AttributeChanges,
  type Attributes,
  type Caller,
  type DirectoryEntry,
  type Entry,
  type Fh,
  type FileSystemStatistics,
  type Ino,
  type Name,
  type Notifier,
  type OpenFile,
  type Operations,
  type RenameFlags,
} from './operations.ts'

export type { FileSystemOptions } from './assembly.ts'

/** Sizes in bytes. */
export interface FileSystemStats {
  /** How often each was asked for. */
  readonly operations: Readonly<Record<string, number>>
  readonly bytesRead: number
  readonly bytesWritten: number
  readonly commits: number
  readonly cacheBytes: number
  readonly dirtyBytes: number
  /** Of the live tree. */
  readonly inodesInUse: number
  readonly openMoments: number
  /** In memory, by class and status. */
  readonly objects: ConnectionStatistics['classes']
  readonly residentBytes: number
}

export class FileSystem implements Operations {
  readonly #store: Store
  readonly #context: Context
  readonly #writeBack: WriteBack | undefined
  readonly #names: Names
  readonly #metadata: Metadata
  readonly #data: FileData
  readonly #files: Files
  readonly #space: Space
  readonly #directories: Directories
  readonly #control: ControlFiles
  readonly #counts = new OperationCounts()
  readonly #caches = new KernelCaches()
  readonly #history: History
  #closed: Promise<void> | undefined

  private constructor(store: Store, { context, superblock, writeBack, config }: Assembly) {
    this.#history = new History(store, context, superblock, this.#caches)
    this.#store = store
    this.#context = context
    this.#writeBack = writeBack
    this.#data = new FileData(context)
    this.#names = new Names(context)
    this.#metadata = new Metadata(context, this.#data)
    this.#files = new Files(context, this.#data, this.#names)
    this.#space = new Space(context, this.#data, () => availableBytes(store.name))
    this.#directories = new Directories(context, this.#data)
    this.#control = new ControlFiles(
      {
        at: () => `${formatTid(context.live.connection.at)}\n`,
        stats: () => paddedJson(this.stats()),
        config: () => `${JSON.stringify(config, undefined, 2)}\n`,
      },
      context.handles,
      processOwner(),
      context.nowNs(),
    )
  }

  /**
   * Opens the filesystem in a database; makes one where the database is empty. The filesystem closes the store.
   * @throws CannotOpenError, StoreError; then the store is the caller's.
   */
  static async open(store: Store, options: FileSystemOptions = {}): Promise<FileSystem> {
    return new FileSystem(store, await assemble(store, options))
  }

  // ---- names

  async lookup(parent: Ino, name: Name): Promise<Entry> {
    this.#counts.count('lookup')
    if (isControlIno(parent)) return await this.#control.lookup(parent, name)
    if (parent === ROOT_INO && name === CONTROL_NAME) return await this.#control.directory()
    return await this.#names.lookup(parent, name)
  }

  forget(ino: Ino, count: number): void {
    this.#counts.count('forget')
    if (!isControlIno(ino)) this.#names.forget(ino, count)
  }

  async symlink(parent: Ino, name: Name, target: Uint8Array, caller: Caller): Promise<Entry> {
    this.#change('symlink', parent)
    return await this.#names.symlink(parent, name, target, caller)
  }

  async mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Promise<Entry> {
    this.#change('mknod', parent)
    return await this.#names.mknod(parent, name, mode, rdev, caller)
  }

  async mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Promise<Entry> {
    this.#change('mkdir', parent)
    return await this.#names.mkdir(parent, name, mode, caller)
  }

  async link(ino: Ino, parent: Ino, name: Name): Promise<Entry> {
    this.#change('link', parent, ino)
    return await this.#names.link(ino, parent, name)
  }

  async unlink(parent: Ino, name: Name): Promise<void> {
    this.#change('unlink', parent)
    await this.#names.unlink(parent, name)
  }

  async rmdir(parent: Ino, name: Name): Promise<void> {
    this.#change('rmdir', parent)
    await this.#names.rmdir(parent, name)
  }

  async rename(parent: Ino, name: Name, newParent: Ino, newName: Name, flags: RenameFlags): Promise<void> {
    this.#change('rename', parent, newParent)
    await rename(this.#context, { parent, name }, { parent: newParent, name: newName }, flags)
  }

  // ---- attributes

  async getattr(ino: Ino): Promise<Attributes> {
    this.#counts.count('getattr')
    return await (isControlIno(ino) ? this.#control.attributes(ino) : this.#metadata.getattr(ino))
  }

  async setattr(ino: Ino, changes: AttributeChanges): Promise<Attributes> {
    this.#change('setattr', ino)
    return await this.#metadata.setattr(ino, changes)
  }

  async readlink(ino: Ino): Promise<Uint8Array> {
    this.#counts.count('readlink')
    assertStored(ino, 'EINVAL')
    return await this.#metadata.readlink(ino)
  }

  async getxattr(ino: Ino, name: string): Promise<Uint8Array> {
    this.#counts.count('getxattr')
    assertStored(ino, 'ENODATA')
    return await this.#metadata.getxattr(ino, name)
  }

  async setxattr(ino: Ino, name: string, value: Uint8Array, flags: number): Promise<void> {
    this.#change('setxattr', ino)
    await this.#metadata.setxattr(ino, name, value, flags)
  }

  async listxattr(ino: Ino): Promise<readonly string[]> {
    this.#counts.count('listxattr')
    return isControlIno(ino) ? [] : await this.#metadata.listxattr(ino)
  }

  async removexattr(ino: Ino, name: string): Promise<void> {
    this.#change('removexattr', ino)
    await this.#metadata.removexattr(ino, name)
  }

  // ---- files

  async open(ino: Ino, flags: number): Promise<OpenFile> {
    this.#counts.count('open')
    return await (isControlIno(ino) ? this.#control : this.#files).open(ino, flags)
  }

  async create(
    parent: Ino,
    name: Name,
    mode: number,
    flags: number,
    caller: Caller,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
    this.#change('create', parent)
    return await this.#files.create(parent, name, mode, flags, caller)
  }

  async read(ino: Ino, fh: Fh, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]> {
    this.#counts.count('read')
    if (isControlIno(ino)) return this.#control.read(fh, off, len)
    const pieces = await this.#data.read(ino, off, len, into)
    for (const { length } of pieces) this.#counts.bytesRead += length
    return pieces
  }

  async write(ino: Ino, _fh: Fh, off: bigint, data: Uint8Array): Promise<number> {
    this.#change('write', ino)
    const written = await this.#data.write(ino, off, data)
    this.#counts.bytesWritten += written
    return written
  }

  async release(_ino: Ino, fh: Fh): Promise<void> {
    this.#counts.count('release')
    await Promise.resolve(this.#files.release(fh))
  }

  /** Covers everything before it, on the whole filesystem. */
  async fsync(): Promise<void> {
    this.#counts.count('fsync')
    await this.#writeBack?.fsync()
  }

  async allocate(ino: Ino, _fh: Fh, mode: AllocateMode, off: bigint, len: bigint): Promise<void> {
    this.#change('allocate', ino)
    await this.#space.allocate(ino, mode, off, len)
  }

  async seek(ino: Ino, _fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
    this.#counts.count('seek')
    assertStored(ino, 'EINVAL')
    return await this.#space.seek(ino, off, whence)
  }

  async copyFileRange(
    from: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    to: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    len: bigint,
  ): Promise<bigint> {
    this.#change('copyFileRange', to.ino)
    assertStored(from.ino, 'EOPNOTSUPP')
    return await this.#space.copy(from, to, len)
  }

  // ---- directories

  async opendir(ino: Ino): Promise<Fh> {
    this.#counts.count('opendir')
    return isControlIno(ino) ? this.#control.opendir(ino) : await this.#directories.open(ino)
  }

  async readdir(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    this.#counts.count('readdir')
    if (isControlIno(ino)) return this.#control.readdir(cookie, limit)
    return await this.#directories.read(ino, fh, cookie, limit)
  }

  async releasedir(_ino: Ino, fh: Fh): Promise<void> {
    this.#counts.count('releasedir')
    await Promise.resolve(this.#files.release(fh))
  }

  async fsyncdir(): Promise<void> {
    this.#counts.count('fsyncdir')
    await this.#writeBack?.fsync()
  }

  // ---- the whole

  async statfs(): Promise<FileSystemStatistics> {
    this.#counts.count('statfs')
    return await spaceStatistics(this.#store.name, this.#context.bookkeeping.usage)
  }

  /** The kernel is told of what changes without its doing. */
  attach(notifier: Notifier): void {
    this.#caches.attach(notifier)
  }

  /** What changes the present by means of the past; undefined where nothing can be changed. */
  get history(): History | undefined {
    return this.#writeBack === undefined ? undefined : this.#history
  }

  /** The last stored transaction that this filesystem shows. */
  lastTid(): Promise<Tid> {
    return Promise.resolve(this.#context.live.connection.at)
  }

  /**
   * Stores everything up to now; resolves to the last transaction's tid.
   * @param message - describes the transaction; if absent, the files that it changes do. Where there is nothing to
   *   store, a transaction is made for the message.
   * @throws StoreError; nothing is lost, and it may be repeated.
   */
  async sync(message?: string): Promise<Tid> {
    if (this.#writeBack === undefined) return await this.lastTid()
    const before = this.#context.live.connection.at
    const tid = await this.#writeBack.sync(message)
    return message === undefined ? tid : await this.#history.keepMessage(message, before, tid)
  }

  /** Stores everything while nothing is under way that may go on to take bytes of the past, for a pack. @throws StoreError */
  async settle(): Promise<void> {
    await this.#writeBack?.settle()
  }

  /** Stores everything and closes the store. @throws StoreError; then it is still open, and this may be repeated. */
  close(): Promise<void> {
    this.#closed ??= this.#close().catch((error: unknown) => {
      this.#closed = undefined
      throw error
    })
    return this.#closed
  }

  /** The moments that are open: what a pack must leave alone. */
  get openTids(): readonly Tid[] {
    const { live, views } = this.#context
    return live.readOnly ? [live.connection.at, ...views.openTids] : views.openTids
  }

  /** Has the kernel forget the moments before one that it only remembers, and nobody has looked at for so long. */
  forgetIdleMoments(before: Tid, idleMs: number): void {
    for (const text of this.#context.views.idleNames(before, idleMs)) this.#caches.forgetMoment(text)
  }

  /** What `/.zblkfs/stats` tells. */
  stats(): FileSystemStats {
    const { connection } = this.#context.live
    const { classes, cacheBytes } = connection.statistics()
    return {
      operations: this.#counts.byName,
      bytesRead: this.#counts.bytesRead,
      bytesWritten: this.#counts.bytesWritten,
      commits: this.#writeBack?.commits ?? 0,
      cacheBytes,
      dirtyBytes: this.#writeBack?.dirtyBytes ?? 0,
      inodesInUse: this.#context.live.nodeCount,
      openMoments: this.#context.views.openTids.length,
      objects: classes,
      residentBytes: process.memoryUsage.rss(),
    }
  }

  async #close(): Promise<void> {
    await this.#writeBack?.close()
    await this.#store.close()
  }

  /** Counts a change. @throws ErrnoError EPERM where it is of what is made up. */
  #change(name: OperationName, ...inos: readonly Ino[]): void {
    this.#counts.count(name)
    for (const ino of inos) assertStored(ino, 'EPERM')
  }
}

/** @throws ErrnoError `code` for what is made up. */
function assertStored(ino: Ino, code: ErrnoName): void {
  if (isControlIno(ino)) throw new ErrnoError(code)
}
