/**
 * An external ZODB database (a FileStorage or RelStorage) as a read-only filesystem:
 *
 *     root/...            the names that the root mapping leads to (core/foreign/naming.ts)
 *     bigfile/<oid>       every ZBigFile, looked up by its oid, 16 hex digits; not listed
 *     @<tid or time>/...  the same at that moment; not listed
 *     .zblkfs/at          the transaction shown, and `config`; not listed
 *
 * That is the layout `names`; layouts.ts has the other one, of WCFS.
 *
 * - The view follows the database: it moves to later transactions several times a second (live-view.ts).
 * - A request that meets damage gets EIO, and a log line; the rest stays readable.
 *
 * | file           | operations                                          |
 * |----------------|-----------------------------------------------------|
 * | names.ts       | lookup, in directories and of moments               |
 * | attributes.ts  | attributes, entries and extended attributes         |
 * | files.ts       | open, read, seek, release                           |
 * | directories.ts | opendir, readdir                                    |
 * | layouts.ts     | the directories above the database's own names      |
 * | nodes.ts       | the inodes that the kernel refers to                |
 * | view.ts        | moments, each with a connection while it is used    |
 */
import { constants } from 'node:fs'
import { stat } from '../../../store/os-files-async.ts'
import { pathToFileURL } from 'node:url'
import { pino, type Logger } from 'pino'
import { formatTid, type Oid, type Tid } from '../../../store/ids.ts'
import { resolveMoment } from '../../../store/moments.ts'
import type { Store } from '../../../store/store.ts'
import { ControlFiles, isControlIno } from '../../file-system/control-files.ts'
import { ErrnoError } from '../../file-system/errno.ts'
import { Handles } from '../../file-system/inodes/handles.ts'
import { CONTROL_NAME } from '../../file-system/reserved-names.ts'
import type { ServedFileSystem } from '../../file-system/served-file-system.ts'
import type {
  Attributes,
  Caller,
  DirectoryEntry,
  Entry,
  Fh,
  FileSystemStatistics,
  Ino,
  Name,
  Notifier,
  OpenFile,
  Operations,
} from '../../file-system/operations.ts'
import { processOwner } from '../../process-owner.ts'
import { attributesOf, timeNs, xattrsOf } from './attributes.ts'
import type { Context } from './context.ts'
import { opendir, readdir } from './directories.ts'
import { close, open, read, seek } from './files.ts'
import { PIN_TIMEOUT_MS, Watches } from '../wcfs/watches.ts'
import { LAYOUT, type LayoutName } from './layouts.ts'
import { LiveView } from './live-view.ts'
import { lookup, noTags, referToMoment } from './names.ts'
import { Nodes, type GeneratedContent, type Node } from './nodes.ts'
import { ReadOnlyOperations } from './read-only-operations.ts'
import { PastViews, type View } from './view.ts'

export interface ZodbFileSystemOptions {
  /** A moment in the notation of store/moments.ts: shows only that one. */
  readonly at?: string
  /** The bound of objects in memory, in bytes. */
  readonly cacheSizeBytes?: number
  /** The interval at which the store is polled for later transactions. */
  readonly followIntervalMs?: number
  readonly layout?: LayoutName
  /** How long a client of WCFS's protocol may take to acknowledge a pin. */
  readonly pinTimeoutMs?: number
  readonly log?: Logger
}

const DEFAULT_CACHE_BYTES = 64 << 20
const DEFAULT_FOLLOW_MS = 500
/** Ratio of the live view's cache to a past view's. */
const PAST_CACHE_PART = 16
const STATFS_BLOCK_BYTES = 4096
const NAME_MAX_BYTES = 255

export class ZodbFileSystem extends ReadOnlyOperations implements ServedFileSystem {
  readonly #context: Context
  readonly #view: View
  readonly #control: ControlFiles
  /** Absent where there is no `head/watch`. */
  readonly #watches: Watches | undefined
  readonly #pinTimeoutMs: number
  #notifier: Notifier | undefined
  /** Stops following the database. */
  readonly #unfollow: (() => void) | undefined
  /** Nothing is changed, so the kernel has nothing to forget. */
  readonly besideKernel: Operations = this
  #closed: Promise<void> | undefined

  private constructor(store: Store, view: View, past: PastViews, options: ZodbFileSystemOptions) {
    super()
    this.#view = view
    const { layout: layoutName = 'names', pinTimeoutMs = PIN_TIMEOUT_MS } = options
    const layout = LAYOUT[layoutName]
    const nodes = new Nodes(view, layout.root, unused => past.drop(unused))
    const handles = new Handles<Node>()
    const owner = processOwner()
    const log = options.log ?? pino({ level: 'silent' })
    this.#context = { store, past, nodes, handles, owner, log, layout }
    this.#pinTimeoutMs = pinTimeoutMs
    if (layoutName === 'wcfs' && view instanceof LiveView) this.#watches = this.#watchesOf(view)
    const { followIntervalMs = DEFAULT_FOLLOW_MS, at } = options
    const moment = at !== undefined && { at }
    const config = { database: store.name, readOnly: true, layout: layoutName, ...moment, followIntervalMs }
    this.#control = new ControlFiles(
      {
        at: async () => `${formatTid(await this.sync())}\n`,
        config: () => `${JSON.stringify(config, undefined, 2)}\n`,
      },
      handles,
      owner,
      timeNs(view.at),
    )
    if (view.isLive) this.#unfollow = this.#follow(followIntervalMs)
  }

  /** Opens the filesystem, which closes the store. @throws StoreError; then the caller closes it. */
  static async open(store: Store, options: ZodbFileSystemOptions = {}): Promise<ZodbFileSystem> {
    const { cacheSizeBytes = DEFAULT_CACHE_BYTES } = options
    const past = new PastViews(store, Math.floor(cacheSizeBytes / PAST_CACHE_PART))
    const at = options.at === undefined ? undefined : await resolveMoment(store, options.at, noTags)
    const view = at === undefined ? await LiveView.open(store, cacheSizeBytes) : past.get(at)
    await view.use(connection => connection.root())
    return new ZodbFileSystem(store, view, past, options)
  }

  // ---- names

  async lookup(parent: Ino, name: Name): Promise<Entry> {
    if (isControlIno(parent)) return await this.#control.lookup(parent, name)
    const directory = this.#node(parent)
    if (directory === this.#context.nodes.root && name === CONTROL_NAME)
      return await this.#control.directory()
    return await lookup(this.#context, directory, name)
  }

  forget(ino: Ino, count: number): void {
    const { nodes } = this.#context
    const node = nodes.known(ino)
    if (node !== undefined && node !== nodes.root) nodes.release(node, count)
  }

  // ---- attributes

  async getattr(ino: Ino): Promise<Attributes> {
    if (isControlIno(ino)) return this.#control.attributes(ino)
    return await attributesOf(this.#context, this.#node(ino))
  }

  async readlink(): Promise<Uint8Array> {
    throw new ErrnoError('EINVAL')
  }

  async getxattr(ino: Ino, name: string): Promise<Uint8Array> {
    const value = (await this.#xattrs(ino)).get(name)
    if (value === undefined) throw new ErrnoError('ENODATA')
    return Buffer.from(value)
  }

  async listxattr(ino: Ino): Promise<readonly string[]> {
    return [...(await this.#xattrs(ino)).keys()]
  }

  // ---- files

  async open(ino: Ino, flags: number, caller: Caller): Promise<OpenFile> {
    if (isControlIno(ino)) return await this.#control.open(ino, flags)
    const node = this.#node(ino)
    if (node.target.kind === 'watch') return this.#openWatch(caller)
    if (node.target.kind !== 'generated') return open(this.#context, node, flags)
    if (flags & (constants.O_WRONLY | constants.O_RDWR)) throw new ErrnoError('EROFS')
    const content = Buffer.from(await this.#generate(node, node.target.content))
    return { fh: this.#context.handles.add({ kind: 'generated', content }), pages: 'bypass' }
  }

  async read(ino: Ino, fh: Fh, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]> {
    if (isControlIno(ino)) return this.#control.read(fh, off, len)
    const handle = this.#context.handles.get(fh)
    if (handle.kind === 'file') return await this.#readFile(handle.node, off, len, into)
    if (handle.kind === 'stream') return [await handle.stream.read(len)]
    if (handle.kind !== 'generated') throw new ErrnoError('EISDIR')
    const from = Math.min(Number(off), handle.content.length)
    return [handle.content.subarray(from, from + len)]
  }

  /** Only `head/watch` can be written. @throws ErrnoError EROFS */
  override async write(_ino: Ino, fh: Fh, _off: bigint, data: Uint8Array): Promise<number> {
    const handle = this.#context.handles.get(fh)
    if (handle.kind !== 'stream' || handle.stream.write === undefined)
      throw new ErrnoError('EROFS', 'a ZODB database is read-only')
    handle.stream.write(data)
    return data.length
  }

  /** Writes to a stream, which has no end. @throws as {@link ZodbFileSystem.write} */
  override async append(ino: Ino, fh: Fh, data: Uint8Array): Promise<bigint> {
    return BigInt(await this.write(ino, fh, 0n, data))
  }

  async seek(ino: Ino, _fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
    if (isControlIno(ino)) throw new ErrnoError('EINVAL')
    return await seek(this.#node(ino), off, whence)
  }

  async release(_ino: Ino, fh: Fh): Promise<void> {
    close(this.#context, fh)
  }

  async fsync(): Promise<void> {}

  // ---- directories

  async opendir(ino: Ino): Promise<Fh> {
    return isControlIno(ino) ? this.#control.opendir(ino) : opendir(this.#context, this.#node(ino))
  }

  async readdir(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    if (isControlIno(ino)) return this.#control.readdir(cookie, limit)
    return await readdir(this.#context, fh, cookie, limit)
  }

  async releasedir(ino: Ino, fh: Fh): Promise<void> {
    await this.release(ino, fh)
  }

  async fsyncdir(): Promise<void> {}

  // ---- the whole

  async statfs(): Promise<FileSystemStatistics> {
    const { size } = await stat(this.#context.store.name)
    return {
      blockSize: STATFS_BLOCK_BYTES,
      blocks: Math.ceil(size / STATFS_BLOCK_BYTES),
      blocksFree: 0,
      blocksAvailable: 0,
      files: 0,
      filesFree: 0,
      nameMax: NAME_MAX_BYTES,
    }
  }

  attach(notifier: Notifier): void {
    this.#notifier = notifier
    if (!(this.#view instanceof LiveView)) return
    this.#view.tell({
      pages: (file, off, len) => {
        for (const ino of this.#liveFiles(file)) notifier.invalidateInode(ino, off, len)
      },
      attributes: () => {
        for (const ino of this.#liveFiles()) notifier.invalidateInode(ino, -1n, 0n)
      },
    })
  }

  /** The transaction shown. */
  async lastTid(): Promise<Tid> {
    return this.#view.at
  }

  /** Moves to the newest transaction, unless only one moment is shown. */
  async sync(): Promise<Tid> {
    if (this.#view instanceof LiveView) await this.#view.refresh()
    return this.#view.at
  }

  close(): Promise<void> {
    this.#unfollow?.()
    this.#watches?.close()
    this.#closed ??= this.#context.store.close()
    return this.#closed
  }

  // ----

  /** @throws ErrnoError ESTALE */
  #node(ino: Ino): Node {
    return this.#context.nodes.get(ino)
  }

  /** A read of the head waits until the clients that watch the file read changed blocks elsewhere. */
  async #readFile(node: Node, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]> {
    const { target, view } = node
    const watches = view.isLive && target.kind === 'file' ? this.#watches : undefined
    for (;;) {
      const at = target.kind === 'file' ? await watches?.beforeRead(target.file, off, len) : undefined
      const pieces = await read(node, off, len, into, at)
      if (pieces !== undefined) return pieces
    }
  }

  /** @throws ErrnoError EOPNOTSUPP if the driver cannot drop the kernel's pages. */
  #openWatch({ pid }: Caller): OpenFile {
    if (this.#watches === undefined || this.#notifier === undefined)
      throw new ErrnoError('EOPNOTSUPP', 'head/watch needs the kernel driver')
    return {
      fh: this.#context.handles.add({ kind: 'stream', stream: this.#watches.open(pid) }),
      pages: 'stream',
    }
  }

  async #generate({ view }: Node, content: GeneratedContent): Promise<string> {
    if (content === 'zurl') return pathToFileURL(this.#context.store.name).href
    if (content === 'pintimeout') return (this.#pinTimeoutMs / 1000).toFixed(1)
    if (view instanceof LiveView) {
      await view.refresh()
      const { at } = view
      // No page of an earlier transaction is served after this answer.
      await this.#notifier?.settled()
      return formatTid(at)
    }
    return formatTid(view.at)
  }

  #watchesOf(live: LiveView): Watches {
    const { nodes, log } = this.#context
    return new Watches({
      live,
      log,
      pinTimeoutMs: this.#pinTimeoutMs,
      settled: async () => await this.#notifier?.settled(),
      hold: at => {
        const node = referToMoment(this.#context, at)
        return { view: node.view, release: () => nodes.release(node, 1) }
      },
    })
  }

  async #xattrs(ino: Ino): Promise<Map<string, string>> {
    return isControlIno(ino) ? new Map() : await xattrsOf(this.#node(ino))
  }

  #follow(intervalMs: number): (() => void) | undefined {
    const { store, log } = this.#context
    return store.capabilities.watching?.watch({
      after: this.#view.at,
      intervalMs,
      onAdvance: async () => void (await this.sync()),
      onError: error => {
        if (this.#closed === undefined)
          log.warn(
            { err: error },
            'the database cannot be followed; the mount keeps showing the last transaction that it read',
          )
      },
    })
  }

  /** The inodes of one file, or of all, in the live view. */
  *#liveFiles(file?: Oid): Generator<Ino> {
    for (const { ino, view, target } of this.#context.nodes.all())
      if (view.isLive && target.kind === 'file' && (file === undefined || target.file === file)) yield ino
  }
}
