/**
 * The filesystem: {@link Operations} over the objects of a database, with write-back, moments of the past, and generated files.
 *
 * The inode number tells which tree an inode belongs to (inodes/tree.ts): the live one, one of the past (inodes/views.ts), or the
 * generated one (control-files.ts). operations/ has a file for each group of operations; they share context.ts, which states
 * the lock order. commit/write-back.ts explains how changes become transactions.
 *
 * Longer than most files because it has one short method for each operation; the work is done elsewhere.
 *
 * The kernel checks permissions (default_permissions): it has the caller's groups and capabilities.
 */
/* oxlint-disable max-lines -- see above */
import { constants } from 'node:fs'
import type { Logger } from 'pino'
import { chain, type Awaitable } from '../../store/awaitable.ts'
import type { Watching } from '../../store/capabilities.ts'
import type { Leasing } from '../../store/leasing.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { ErrnoError, type ErrnoName } from './errno.ts'
import { processOwner } from '../process-owner.ts'
import { assemble, type Assembly, type FileSystemOptions } from './assembly.ts'
import { besideKernel } from './beside-kernel.ts'
import type { Context } from './context.ts'
import { ControlFiles, isControlIno, paddedJson } from './control-files.ts'
import type { FileSystemStats } from './file-system-stats.ts'
import { Follower } from './following.ts'
import { sharedOperations, type SharingOptions } from './shared/operations.ts'
import { SharedLocks } from './shared/locks.ts'
import { Sharing } from './shared/sharing.ts'
import { History } from './history/history.ts'
import { AccessLog } from './access-log.ts'
import { nodePath } from './inodes/node-path.ts'
import { OperationCounts } from './operation-counts.ts'
import type { OperationName } from './operation-names.ts'
import { copy } from './operations/copy.ts'
import { mkdir, mknod, symlink } from './operations/create.ts'
import { append, read, write } from './operations/io.ts'
import { link } from './operations/link.ts'
import { forget, lookup } from './operations/lookup.ts'
import { create, open, openUnnamed, release } from './operations/open.ts'
import { opendir, readdir, readdirplus } from './operations/readdir.ts'
import { rmdir, unlink } from './operations/remove.ts'
import { rename } from './operations/rename.ts'
import { getattr, readlink, setattr } from './operations/setattr.ts'
import { allocate, seek } from './operations/space.ts'
import { statfs, UNKNOWN_BYTES } from './operations/statfs.ts'
import { getxattr, listxattr, removexattr, setxattr } from './operations/xattr.ts'
import { CONTROL_NAME } from './reserved-names.ts'
import { unstoredPaths } from './unstored-paths.ts'
import { treeNumberOf } from './inodes/tree.ts'
import type { Adjustments, LeaseState, Unstored, UnstoredPath } from './served-file-system.ts'
import type { WriteBack } from './commit/write-back.ts'
import {
  ROOT_INO,
  type AllocateMode,
  type AttributeChanges,
  type Attributes,
  type Caller,
  type DirectoryEntry,
  type Entry,
  type ListedEntry,
  type Fh,
  type FileSystemStatistics,
  type Ino,
  type KeepsSetuid,
  type Name,
  type Notifier,
  type OpenFile,
  type Operations,
  type RenameFlags,
} from './operations.ts'

export type { FileSystemOptions } from './assembly.ts'

const KEEPS: KeepsSetuid = () => true
const { O_TRUNC } = constants

export class FileSystem implements Operations {
  readonly #store: Store
  readonly #context: Context
  readonly #writeBack: WriteBack | undefined
  readonly #control: ControlFiles
  readonly #counts = new OperationCounts()
  readonly #history: History
  /** The callers of open and create, by handle: the kernel names none for the pages that it writes back. */
  readonly #openers: (Caller | undefined)[] = []
  readonly accessLog: AccessLog
  #follower: Follower | undefined
  #sharing: Sharing | undefined
  readonly besideKernel: Operations
  #closed: Promise<void> | undefined

  private constructor(store: Store, { context, superblock, writeBack, config }: Assembly) {
    this.#store = store
    this.#context = context
    this.#writeBack = writeBack
    this.#history = new History(store, context, superblock)
    this.besideKernel = besideKernel(this, context.caches)
    this.accessLog = new AccessLog({ pathOf: ino => this.#pathOf(ino), isLeftOut: isControlIno })
    this.#control = new ControlFiles(
      {
        accesslog: this.accessLog,
        at: () => `${formatTid(context.live.connection.committedAt)}\n`,
        stats: () => paddedJson(this.stats()),
        config: () => `${JSON.stringify(config, undefined, 2)}\n`,
      },
      context.handles,
      processOwner(),
      context.nowNs(),
    )
  }

  /**
   * Opens the filesystem of a database; creates one in an empty database. The filesystem closes the store, unless this throws.
   * @throws CannotOpenError, StoreError
   */
  static async open(store: Store, options: FileSystemOptions = {}): Promise<FileSystem> {
    return new FileSystem(store, await assemble(store, options))
  }

  /**
   * This filesystem, as it follows the commits of another process from the time on at which a notifier is attached. Only for one
   * that is read-only and shows the present.
   */
  following(watching: Watching, log: Logger): FileSystem {
    const follower = new Follower({ store: this.#store, watching, context: this.#context, log })
    this.#follower = follower
    return follower.serve(this)
  }

  /**
   * This filesystem, as it writes beside others from the time on at which a notifier is attached. The store is the holder of the lease.
   * @param locking for locks of files among all mounts.
   */
  sharing(leasing: Leasing, watching: Watching, { log, isFresh, locking }: SharingOptions): FileSystem {
    const context = this.#context
    const sharing = new Sharing({ store: this.#store, leasing, watching, context, log, locking })
    this.#sharing = sharing
    const locks = locking && new SharedLocks(locking, context, sharing)
    return sharedOperations({ fileSystem: this, context, sharing, locks, isFresh })
  }

  /** The lease of a filesystem that writes beside others. */
  get lease(): LeaseState | undefined {
    return this.#sharing?.state
  }

  async settled(): Promise<void> {
    await this.#context.caches.settled()
  }

  /** As {@link Sharing.rejoin}. */
  async rejoin(): Promise<void> {
    await this.#sharing?.rejoin()
  }

  /** @throws StoreError; also while a transaction is open: its changes may be stored in parts. */
  async unstoredPaths(): Promise<readonly UnstoredPath[]> {
    const find = async (): Promise<readonly UnstoredPath[]> => {
      this.#writeBack?.transactions.assertNotOpen()
      return await unstoredPaths(this.#store, this.#context)
    }
    return await (this.#sharing === undefined ? find() : this.#sharing.read(find))
  }

  /** Runs long work that may change the database. It is aborted when another mount is waiting to write. */
  async keep<T>(work: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
    return await (this.#sharing === undefined ? work(undefined) : this.#sharing.keep(work))
  }

  // ---- names

  lookup(parent: Ino, name: Name): Awaitable<Entry> {
    this.#counts.count('lookup')
    if (isControlIno(parent)) return this.#control.lookup(parent, name)
    if (parent === ROOT_INO && name === CONTROL_NAME) return this.#control.directory()
    return lookup(this.#context, parent, name)
  }

  forget(ino: Ino, count: number): void {
    this.#counts.count('forget')
    if (!isControlIno(ino)) forget(this.#context, ino, count)
  }

  async symlink(parent: Ino, name: Name, target: Uint8Array, caller: Caller): Promise<Entry> {
    this.#change('symlink', parent)
    return await this.#by(caller, symlink(this.#context, parent, name, target, caller))
  }

  async mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Promise<Entry> {
    this.#change('mknod', parent)
    return await this.#by(caller, mknod(this.#context, parent, name, mode, rdev, caller))
  }

  async mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Promise<Entry> {
    this.#change('mkdir', parent)
    return await this.#by(caller, mkdir(this.#context, parent, name, mode, caller))
  }

  async link(ino: Ino, parent: Ino, name: Name, caller?: Caller, replaces = false): Promise<Entry> {
    this.#change('link', parent, ino)
    return await this.#by(caller, link(this.#context, ino, parent, name, replaces))
  }

  async unlink(parent: Ino, name: Name, caller?: Caller): Promise<void> {
    this.#change('unlink', parent)
    await this.#by(caller, unlink(this.#context, parent, name))
  }

  async rmdir(parent: Ino, name: Name, caller?: Caller): Promise<void> {
    this.#change('rmdir', parent)
    await this.#by(caller, rmdir(this.#context, parent, name))
  }

  async rename(
    parent: Ino,
    name: Name,
    newParent: Ino,
    newName: Name,
    flags: RenameFlags,
    caller: Caller,
  ): Promise<void> {
    this.#change('rename', parent, newParent)
    const [from, to] = [
      { parent, name },
      { parent: newParent, name: newName },
    ]
    await this.#by(caller, rename(this.#context, from, to, flags, caller))
  }

  // ---- attributes

  getattr(ino: Ino, _fh?: Fh, needsBlocks = true): Awaitable<Attributes> {
    this.#counts.count('getattr')
    return isControlIno(ino) ? this.#control.attributes(ino) : getattr(this.#context, ino, needsBlocks)
  }

  async setattr(ino: Ino, changes: AttributeChanges, caller?: Caller): Promise<Attributes> {
    this.#change('setattr', ino)
    return await this.#by(caller, setattr(this.#context, ino, changes))
  }

  async readlink(ino: Ino): Promise<Uint8Array> {
    this.#counts.count('readlink')
    assertStored(ino, 'EINVAL')
    return await readlink(this.#context, ino)
  }

  getxattr(ino: Ino, name: string): Awaitable<Uint8Array> {
    this.#counts.count('getxattr')
    assertStored(ino, 'ENODATA')
    return getxattr(this.#context, ino, name)
  }

  async setxattr(
    ino: Ino,
    name: string,
    value: Uint8Array,
    flags: number,
    caller?: Caller,
    dropsSetgid = false,
  ): Promise<void> {
    this.#change('setxattr', ino)
    await this.#by(caller, setxattr(this.#context, ino, name, value, flags, dropsSetgid))
  }

  async listxattr(ino: Ino, seesTrusted = (): boolean => true): Promise<readonly string[]> {
    this.#counts.count('listxattr')
    return isControlIno(ino) ? [] : await listxattr(this.#context, ino, seesTrusted)
  }

  async removexattr(ino: Ino, name: string, caller?: Caller): Promise<void> {
    this.#change('removexattr', ino)
    await this.#by(caller, removexattr(this.#context, ino, name))
  }

  // ---- files

  async open(ino: Ino, flags: number, caller?: Caller, keepsSetuid: KeepsSetuid = KEEPS): Promise<OpenFile> {
    this.#counts.count('open')
    const file = await this.#opening(
      caller,
      () =>
        isControlIno(ino) ? this.#control.open(ino, flags) : open(this.#context, ino, flags, keepsSetuid),
      ({ fh }) => fh,
    )
    if (flags & O_TRUNC && !isControlIno(ino)) this.#note(caller, false)
    return file
  }

  async create(
    parent: Ino,
    name: Name,
    mode: number,
    flags: number,
    caller: Caller,
    keepsSetuid: KeepsSetuid = KEEPS,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
    this.#change('create', parent)
    return await this.#opening(
      caller,
      () => this.#by(caller, create(this.#context, parent, name, mode, flags, caller, keepsSetuid)),
      ({ file }) => file.fh,
    )
  }

  async createUnnamed(
    parent: Ino,
    mode: number,
    flags: number,
    caller: Caller,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
    this.#change('create', parent)
    return await this.#opening(
      caller,
      () => this.#by(caller, openUnnamed(this.#context, parent, mode, flags, caller)),
      ({ file }) => file.fh,
    )
  }

  /** Opens a file, within the bound of its user's handles, and records who opened it. */
  async #opening<T>(caller: Caller | undefined, open: () => Promise<T>, fhOf: (opened: T) => Fh): Promise<T> {
    const opened = await this.#context.handles.opening(caller?.uid ?? 0, open, fhOf)
    this.#openers[fhOf(opened)] = caller
    return opened
  }

  read(ino: Ino, fh: Fh, off: bigint, len: number, into?: Uint8Array): Awaitable<readonly Uint8Array[]> {
    this.#counts.count('read')
    if (isControlIno(ino)) return this.#control.read(fh, off, len)
    return chain(read(this.#context, ino, fh, off, len, into), pieces => this.#countRead(pieces))
  }

  #countRead(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
    for (const { length } of pieces) this.#counts.bytesRead += length
    return pieces
  }

  write(
    ino: Ino,
    fh: Fh,
    off: bigint,
    data: Uint8Array,
    keepsSetuid: KeepsSetuid = KEEPS,
  ): Awaitable<number> {
    this.#change('write', ino)
    const opener = this.#openers[fh]
    this.#note(opener, true)
    return chain(write(this.#context, ino, off, data, keepsSetuid), written => {
      this.#note(opener, true)
      this.#counts.bytesWritten += written
      return written
    })
  }

  async append(
    ino: Ino,
    fh: Fh,
    data: Uint8Array,
    keepsSetuid: KeepsSetuid = KEEPS,
    known?: bigint,
  ): Promise<bigint> {
    this.#change('write', ino)
    const opener = this.#openers[fh]
    this.#note(opener, true)
    const end = await append(this.#context, ino, data, keepsSetuid, known)
    this.#note(opener, true)
    this.#counts.bytesWritten += data.length
    return end
  }

  release(_ino: Ino, fh: Fh): Awaitable<void> {
    this.#counts.count('release')
    release(this.#context, fh)
  }

  /** Covers all earlier changes of the whole filesystem. */
  async fsync(): Promise<void> {
    this.#counts.count('fsync')
    await this.#writeBack?.fsync()
  }

  async allocate(
    ino: Ino,
    fh: Fh,
    mode: AllocateMode,
    off: bigint,
    len: bigint,
    keepsSetuid: KeepsSetuid = KEEPS,
  ): Promise<void> {
    this.#change('allocate', ino)
    await allocate(this.#context, ino, mode, { off, len }, keepsSetuid, () => this.#roomBytes())
    this.#note(this.#openers[fh], true)
  }

  async seek(ino: Ino, fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
    this.#counts.count('seek')
    assertStored(ino, 'EINVAL')
    await this.#collectPages(ino, fh)
    return await seek(this.#context, ino, off, whence)
  }

  async copyFileRange(
    from: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    to: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    len: bigint,
    keepsSetuid: KeepsSetuid = KEEPS,
  ): Promise<bigint> {
    this.#change('copyFileRange', to.ino)
    assertStored(from.ino, 'EOPNOTSUPP')
    await this.#collectPages(from.ino, from.fh)
    const copied = await copy(this.#context, from, to, len, keepsSetuid)
    this.#note(this.#openers[to.fh], true)
    return copied
  }

  /** Call before data or holes of a live file are read: it may be mapped. */
  async #collectPages(ino: Ino, fh: Fh): Promise<void> {
    const { live, mappedPages, handles } = this.#context
    if (treeNumberOf(ino) === live.number) await mappedPages.collectFor(live.nodeOf(ino), handles.get(fh))
  }

  // ---- directories

  async opendir(ino: Ino, flags = 0, caller?: Caller): Promise<Fh> {
    this.#counts.count('opendir')
    return await this.#context.handles.opening(
      caller?.uid ?? 0,
      async () => (isControlIno(ino) ? this.#control.opendir(ino) : await opendir(this.#context, ino, flags)),
      fh => fh,
    )
  }

  async readdir(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    this.#counts.count('readdir')
    if (isControlIno(ino)) return this.#control.readdir(cookie, limit)
    return await readdir(this.#context, ino, fh, cookie, limit)
  }

  async readdirplus(
    ino: Ino,
    fh: Fh,
    cookie: bigint,
    limit: number,
    fits: (entry: DirectoryEntry) => boolean,
  ): Promise<readonly ListedEntry[]> {
    this.#counts.count('readdirplus')
    if (isControlIno(ino)) return await this.#control.readdirplus(cookie, limit, fits)
    return await readdirplus(this.#context, ino, fh, cookie, limit, fits)
  }

  async releasedir(_ino: Ino, fh: Fh): Promise<void> {
    this.#counts.count('releasedir')
    await Promise.resolve(release(this.#context, fh))
  }

  async fsyncdir(): Promise<void> {
    this.#counts.count('fsyncdir')
    await this.#writeBack?.fsync()
  }

  // ---- the whole

  async statfs(): Promise<FileSystemStatistics> {
    this.#counts.count('statfs')
    return statfs(this.#context.bookkeeping.usage, await this.#roomBytes())
  }

  /** Invalidates kernel caches through `notifier` from now on. */
  attach(notifier: Notifier): void {
    this.#context.caches.attach(notifier)
    this.#follower?.start()
    this.#sharing?.start()
  }

  /** Changes to the present that use the past; undefined for a read-only filesystem. */
  get history(): History | undefined {
    return this.#writeBack === undefined ? undefined : this.#history
  }

  /** Changes options in use. */
  adjust({ ignoresAccess, ...limits }: Adjustments): void {
    if (ignoresAccess !== undefined) this.#context.ignoresAccess = ignoresAccess
    this.#writeBack?.limit(limits)
  }

  /** The last stored transaction. */
  lastTid(): Promise<Tid> {
    return Promise.resolve(this.#context.live.connection.committedAt)
  }

  /**
   * Stores everything up to now; resolves to the last transaction's tid.
   * @param message describes the transaction; the default is the names of its files. If there is nothing to store, a
   *   transaction is made for the message.
   * @throws StoreError; nothing is lost, and it may be repeated.
   */
  async sync(message?: string): Promise<Tid> {
    if (this.#writeBack === undefined) return await this.lastTid()
    const before = this.#context.live.connection.committedAt
    const tid = await this.#writeBack.sync(message)
    await this.#store.capabilities.presence?.assertThere()
    return message === undefined ? tid : await this.#history.keepMessage(message, before, tid)
  }

  /**
   * Stores everything while no operation runs, before a pack: none may still refer to bytes of the past. What a full disk has no
   * room for stays in memory.
   * @returns the moments whose bytes that shares. @throws StoreError
   */
  async quiesce(): Promise<readonly Tid[]> {
    return (await this.#writeBack?.quiesce()) ?? []
  }

  get unstored(): Unstored | undefined {
    return this.#writeBack && { bytes: this.#writeBack.dirtyBytes, failure: this.#writeBack.failure }
  }

  /** @throws StoreError */
  async storeUnnamed(): Promise<void> {
    const { presence } = this.#store.capabilities
    await presence?.storeUnnamed(true)
    try {
      await this.#writeBack?.sync()
    } finally {
      await presence?.storeUnnamed(false)
    }
  }

  /** Drops what is not stored and closes the store. */
  async abandon(): Promise<void> {
    this.accessLog.close()
    this.#sharing?.stop()
    this.#context.mappedPages.stop()
    await this.#writeBack?.abandon()
    await this.#store.close()
  }

  /** Stores everything and closes the store. @throws StoreError; then it is still open, and this may be repeated. */
  close(): Promise<void> {
    this.#closed ??= this.#close().catch((error: unknown) => {
      this.#closed = undefined
      throw error
    })
    return this.#closed
  }

  /** The open moments, which a pack must keep. */
  get openTids(): readonly Tid[] {
    const { live, views } = this.#context
    // The holder of the lease needs no pin: no other mount packs.
    return live.readOnly || this.lease === 'not held'
      ? [live.connection.at, ...views.openTids]
      : views.openTids
  }

  /** Invalidates moments before `before` that have been idle for `idleMs`: the kernel's cache may be all that refers to them. */
  forgetIdleMoments(before: Tid, idleMs: number): void {
    for (const text of this.#context.views.idleNames(before, idleMs))
      this.#context.caches.invalidateMoment(text)
  }

  /** The content of `/.zblkfs/stats`. */
  stats(): FileSystemStats {
    const { connection } = this.#context.live
    const { classes, ...cache } = connection.statistics()
    const writeBack = this.#writeBack
    return {
      operations: this.#counts.byName,
      bytesRead: this.#counts.bytesRead,
      bytesWritten: this.#counts.bytesWritten,
      commits: writeBack?.figures.commits ?? 0,
      failedCommits: writeBack?.figures.failures ?? 0,
      commitMs: writeBack?.figures.totalMs ?? 0,
      cacheBytes: cache.cacheBytes,
      cacheLimitBytes: cache.cacheLimitBytes,
      cacheHits: cache.hits,
      cacheMisses: cache.misses,
      dirtyBytes: writeBack?.dirtyBytes ?? 0,
      dirtyLimitBytes: writeBack?.dirtyLimitBytes ?? 0,
      dirtyAgeMs: writeBack?.figures.dirtyAgeMs ?? 0,
      inodesInUse: this.#context.live.nodeCount,
      openMoments: this.#context.views.openTids.length,
      objects: classes,
      residentBytes: process.memoryUsage.rss(),
    }
  }

  async #close(): Promise<void> {
    this.accessLog.close()
    this.#follower?.stop()
    this.#sharing?.stop()
    this.#context.mappedPages.stop()
    await this.#writeBack?.close()
    await this.#store.close()
  }

  /** The path of an inode of the present, if its directories are in memory. */
  #pathOf(ino: Ino): string | undefined {
    const { live } = this.#context
    if (treeNumberOf(ino) !== live.number) return undefined
    if (ino === ROOT_INO) return ''
    const node = live.knownOf(ino)
    const found = node && nodePath(node)
    return found?.isWhole === true ? found.path : undefined
  }

  /** Bytes that the disk of the database has room for, beside the changes in memory. */
  async #roomBytes(): Promise<number> {
    const available = await this.#store.capabilities.measuring?.availableBytes()
    return available === undefined
      ? UNKNOWN_BYTES
      : Math.max(0, available - (this.#writeBack?.dirtyBytes ?? 0))
  }

  /** Resolves as `change` does, and records who made it. */
  async #by<T>(caller: Caller | undefined, change: Awaitable<T>): Promise<T> {
    const result = await change
    this.#note(caller, false)
    return result
  }

  /** Records the process whose operation changes something. */
  #note(caller: Caller | undefined, writes: boolean): void {
    if (caller !== undefined) this.#writeBack?.noteWriter(caller, writes)
  }

  /** Counts a change. @throws ErrnoError EPERM for generated files. */
  #change(name: OperationName, ...inos: readonly Ino[]): void {
    this.#counts.count(name)
    for (const ino of inos) assertStored(ino, 'EPERM')
  }
}

/** @throws ErrnoError `code` for generated files. */
function assertStored(ino: Ino, code: ErrnoName): void {
  if (isControlIno(ino)) throw new ErrnoError(code)
}
