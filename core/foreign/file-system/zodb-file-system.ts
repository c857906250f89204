/**
 * A ZODB database of somebody else's (a FileStorage or RelStorage) as a filesystem that only reads:
 *
 *     root/...            what the root mapping leads to (core/foreign/naming.ts says how)
 *     bigfile/<oid>       every ZBigFile that is asked for by its oid, 16 hex digits; not listed
 *     @<tid or time>/...  the same as of then; not listed
 *     .zblkfs/at          the transaction that is seen; `config` beside it; not listed
 *
 * - The database is followed: several times a second it is asked for later transactions (live-view.ts).
 * - Times of files are those of the transaction seen: when a file has changed last is not kept anywhere.
 * - What is damaged is EIO where it is met, and in the log; the rest goes on.
 */
import { processOwner } from '../../process-owner.ts'
import { constants } from 'node:fs'
import { stat } from 'node:fs/promises'
import { pino, type Logger } from 'pino'
import type { Connection } from '../../objects/connection.ts'
import { readArray, type ForeignArray } from '../array.ts'
import { openForeignFile } from '../file.ts'
import { ForeignDirectory, type ForeignEntry } from '../naming.ts'
import { findMoment, resolveMoment } from '../../../store/moments.ts'
import { PersistentMapping } from '../../objects/persistent-mapping.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { classOfRecord, DATA_HEAD_MAX } from '../../objects/record.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import {
  formatOid,
  formatTid,
  parseOid,
  ROOT_OID,
  timeFromTid,
  type Oid,
  type Tid,
} from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import type { ServedFileSystem } from '../../file-system/served-file-system.ts'
import { ErrnoError } from '../../file-system/errno.ts'
import { ControlFiles, isControlIno } from '../../file-system/control-files.ts'
import {
  COOKIE_PARENT,
  COOKIE_SELF,
  DirectoryListing,
} from '../../file-system/operations/directory-cookies.ts'
import { Handles } from '../../file-system/inodes/handles.ts'
import { CONTROL_NAME, MOMENT_PREFIX } from '../../file-system/reserved-names.ts'
import {
  type Attributes,
  type DirectoryEntry,
  type Entry,
  type Fh,
  type FileSystemStatistics,
  type Ino,
  type Name,
  type Notifier,
  type OpenFile,
} from '../../file-system/operations.ts'
import { LiveView } from './live-view.ts'
import { Nodes, targetOf, type Node, type Target } from './nodes.ts'
import { ReadOnlyOperations } from './read-only-operations.ts'
import { PastViews, type View } from './view.ts'

export interface ZodbFileSystemOptions {
  /** A moment as a person writes it: only that one is shown. */
  readonly at?: string
  /** The bound for objects kept in memory, in bytes. */
  readonly cacheSizeBytes?: number
  /** How often the database is asked for later transactions. */
  readonly followIntervalMs?: number
  readonly log?: Logger
}

const DEFAULT_CACHE_BYTES = 64 << 20
const DEFAULT_FOLLOW_MS = 500
/** A view of the past may keep this part of what the live one may. */
const PAST_CACHE_PART = 16

const BLKSIZE = 65_536
const STAT_BLOCK_BYTES = 512n
const STATFS_BLOCK_BYTES = 4096
const NAME_MAX_BYTES = 255

const { S_IFDIR, S_IFREG, O_WRONLY, O_RDWR } = constants
const TOP_NAMES: readonly (readonly [Name, Target])[] = [
  ['bigfile' as Name, { kind: 'bigfiles' }],
  ['root' as Name, { kind: 'directory', ref: new Ref(ROOT_OID, PersistentMapping.CLASS_NAME) }],
]

interface OpenDirectory {
  readonly node: Node
  readonly listing: DirectoryListing
}

export class ZodbFileSystem extends ReadOnlyOperations implements ServedFileSystem {
  readonly #store: Store
  readonly #view: View
  readonly #past: PastViews
  readonly #nodes: Nodes
  readonly #control: ControlFiles
  readonly #controlHandles = new Handles()
  readonly #open = new Map<Fh, Node | OpenDirectory>()
  readonly #log: Logger
  readonly #owner = processOwner()
  /** Stops following the database. */
  readonly #unfollow: (() => void) | undefined
  #lastFh = 0
  #closed: Promise<void> | undefined

  private constructor(store: Store, view: View, past: PastViews, options: ZodbFileSystemOptions) {
    super()
    this.#store = store
    this.#view = view
    this.#past = past
    this.#log = options.log ?? pino({ level: 'silent' })
    this.#nodes = new Nodes(view, unused => past.drop(unused))
    const { followIntervalMs = DEFAULT_FOLLOW_MS, at } = options
    const config = { database: store.name, readOnly: true, ...(at !== undefined && { at }), followIntervalMs }
    this.#control = new ControlFiles(
      {
        at: async () => `${formatTid(await this.sync())}\n`,
        config: () => `${JSON.stringify(config, undefined, 2)}\n`,
      },
      this.#controlHandles,
      this.#owner,
      timeNs(view.at),
    )
    if (view.isLive)
      this.#unfollow = store.capabilities.watching?.watch({
        after: view.at,
        intervalMs: followIntervalMs,
        onAdvance: async () => void (await this.sync()),
        onError: error => {
          if (this.#closed === undefined)
            this.#log.warn({ err: error }, 'the database cannot be followed; what was read before is shown')
        },
      })
  }

  /** Opens the filesystem, which closes the store. @throws StoreError; then the store is the caller's. */
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
    const directory = this.#nodes.get(parent)
    if (directory === this.#nodes.root) {
      if (name === CONTROL_NAME) return await this.#control.directory()
      if (name.startsWith(MOMENT_PREFIX)) return await this.#lookupMoment(directory, name)
    }
    if (name === '.') return await this.#entry(this.#again(directory))
    if (name === '..') return await this.#entry(this.#again(directory.parent ?? directory))
    const target = await this.#find(directory, name)
    if (target === undefined) throw new ErrnoError('ENOENT')
    return await this.#entry(this.#nodes.refer(directory, name, target))
  }

  forget(ino: Ino, count: number): void {
    const node = this.#nodes.known(ino)
    if (node !== undefined && node !== this.#nodes.root) this.#nodes.release(node, count)
  }

  // ---- attributes

  async getattr(ino: Ino): Promise<Attributes> {
    return await (isControlIno(ino) ? this.#control.attributes(ino) : this.#attributes(this.#nodes.get(ino)))
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

  async open(ino: Ino, flags: number): Promise<OpenFile> {
    if (isControlIno(ino)) return await this.#control.open(ino, flags)
    if (flags & (O_WRONLY | O_RDWR)) throw new ErrnoError('EROFS')
    const node = this.#nodes.get(ino)
    if (node.target.kind !== 'file') throw new ErrnoError('EISDIR')
    const { view } = node
    const isKnown = !(view instanceof LiveView) || view.tellsKernel
    return { fh: this.#newFh(this.#again(node)), pages: isKnown ? 'keep' : 'drop' }
  }

  async read(ino: Ino, fh: Fh, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]> {
    if (isControlIno(ino)) return this.#control.read(fh, off, len)
    return await this.#withFile(this.#nodes.get(ino), async ({ object, data, size }, view) => {
      const wanted = off >= size ? 0 : Number(size - off < BigInt(len) ? size - off : BigInt(len))
      if (view instanceof LiveView) await view.note(object, off, wanted)
      return wanted === 0 ? [] : await data.read(off, wanted, into)
    })
  }

  async release(ino: Ino, fh: Fh): Promise<void> {
    if (isControlIno(ino)) this.#controlHandles.remove(fh)
    else this.#closeFh(fh)
  }

  async fsync(): Promise<void> {}

  async seek(ino: Ino, _fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
    if (isControlIno(ino)) throw new ErrnoError('EINVAL')
    return await this.#withFile(this.#nodes.get(ino), async ({ data, size }) => {
      if (off < 0n || off >= size) throw new ErrnoError('ENXIO')
      const found = whence === 'data' ? await data.seekData(off) : await data.seekHole(off, size)
      if (found === undefined || (whence === 'data' && found >= size)) throw new ErrnoError('ENXIO')
      return found
    })
  }

  // ---- directories

  async opendir(ino: Ino): Promise<Fh> {
    if (isControlIno(ino)) return this.#control.opendir(ino)
    const node = this.#nodes.get(ino)
    if (node.target.kind === 'file') throw new ErrnoError('ENOTDIR')
    return this.#newFh({ node: this.#again(node), listing: new DirectoryListing() })
  }

  async readdir(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    if (isControlIno(ino)) return this.#control.readdir(cookie, limit)
    const opened = this.#open.get(fh)
    if (opened === undefined || !('listing' in opened)) throw new ErrnoError('EBADF')
    const { node, listing } = opened
    const entries: DirectoryEntry[] = []
    if (cookie < COOKIE_SELF) entries.push({ name: '.' as Name, ino, type: S_IFDIR, cookie: COOKIE_SELF })
    if (cookie < COOKIE_PARENT)
      entries.push({
        name: '..' as Name,
        ino: (node.parent ?? node).ino,
        type: S_IFDIR,
        cookie: COOKIE_PARENT,
      })
    let after = cookie < COOKIE_PARENT ? COOKIE_PARENT : cookie
    const rest = Math.max(1, limit - entries.length)
    for (const [name, target] of await this.#list(node, listing.nameAt(after), rest)) {
      after = listing.cookieOf(name, after)
      const type = target.kind === 'file' ? S_IFREG : S_IFDIR
      entries.push({ name, ino: this.#nodes.inoOf(node, name, target), type, cookie: after })
    }
    return entries.slice(0, limit)
  }

  async releasedir(ino: Ino, fh: Fh): Promise<void> {
    await this.release(ino, fh)
  }

  async fsyncdir(): Promise<void> {}

  // ---- the whole

  async statfs(): Promise<FileSystemStatistics> {
    const { size } = await stat(this.#store.name)
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
    if (!(this.#view instanceof LiveView)) return
    this.#view.tell({
      pages: (file, off, len) => {
        for (const { ino, view, target } of this.#nodes.all())
          if (view.isLive && target.kind === 'file' && target.file === file)
            notifier.invalidateInode(ino, off, len)
      },
      attributes: () => {
        for (const { ino, view, target } of this.#nodes.all())
          if (view.isLive && target.kind === 'file') notifier.invalidateInode(ino, -1n, 0n)
      },
    })
  }

  /** The transaction that is seen. */
  async lastTid(): Promise<Tid> {
    return this.#view.at
  }

  /** Moves on to the newest transaction, if it is the newest that is shown. */
  async sync(): Promise<Tid> {
    if (this.#view instanceof LiveView) await this.#view.refresh()
    return this.#view.at
  }

  close(): Promise<void> {
    this.#unfollow?.()
    this.#closed ??= this.#store.close()
    return this.#closed
  }

  // ----

  async #lookupMoment(root: Node, name: Name): Promise<Entry> {
    const text = Buffer.from(name, 'latin1').toString('utf8').slice(MOMENT_PREFIX.length)
    const at = await findMoment(this.#store, text, noTags)
    if (at === undefined) throw new ErrnoError('ENOENT')
    const view = this.#past.get(at)
    const node = this.#nodes.refer(root, `${MOMENT_PREFIX}${formatTid(at)}` as Name, { kind: 'top' }, view)
    return await this.#entry(node)
  }

  /** What a name in a directory leads to. */
  async #find(directory: Node, name: Name): Promise<Target | undefined> {
    const { target, view } = directory
    if (target.kind === 'top') return TOP_NAMES.find(([known]) => known === name)?.[1]
    if (target.kind === 'file') throw new ErrnoError('ENOTDIR')
    return await view.use(async connection => {
      if (target.kind === 'bigfiles') {
        const file = parseOid(name)
        if (file === undefined || formatOid(file) !== name) return undefined
        return (await isBigFile(connection, file)) ? { kind: 'file', file } : undefined
      }
      const entry = await (await this.#directory(connection, target.ref)).get(name)
      return entry === undefined ? undefined : await resolveTarget(connection, entry)
    })
  }

  async #list(node: Node, after: Name | undefined, limit: number): Promise<(readonly [Name, Target])[]> {
    const { target, view } = node
    if (target.kind === 'top')
      return TOP_NAMES.filter(([name]) => after === undefined || name > after).slice(0, limit)
    if (target.kind !== 'directory') return []
    return await view.use(async connection => {
      const directory = await this.#directory(connection, target.ref)
      return (await directory.after(after, limit)).map(
        entry => [entry.name as Name, targetOf(entry)] as const,
      )
    })
  }

  #directory(connection: Connection, ref: Ref): Promise<ForeignDirectory> {
    return ForeignDirectory.open(connection, ref, reason => this.#log.debug(reason))
  }

  async #withFile<T>(
    { target, view }: Node,
    work: (file: Awaited<ReturnType<typeof openForeignFile>>, view: View) => Promise<T>,
  ): Promise<T> {
    if (target.kind !== 'file') throw new ErrnoError('EISDIR')
    return await view.use(async connection => work(await openForeignFile(connection, target.file), view))
  }

  /** The node's entry; when it cannot be told, the reference that it was given is taken back. */
  async #entry(node: Node): Promise<Entry> {
    try {
      const validity = node.view.isLive ? 'briefly' : 'forever'
      return {
        attributes: await this.#attributes(node),
        generation: 0,
        nameValidity: validity,
        attributesValidity: validity,
      }
    } catch (error) {
      this.#nodes.release(node, 1)
      throw error
    }
  }

  #again(node: Node): Node {
    node.references++
    return node
  }

  async #attributes(node: Node): Promise<Attributes> {
    const { ino, target, view } = node
    const isFile = target.kind === 'file'
    const size = isFile ? await this.#withFile(node, async ({ size }) => size) : 0n
    const time = timeNs(view.at)
    return {
      ...this.#owner,
      ino,
      mode: isFile ? S_IFREG | 0o444 : S_IFDIR | 0o555,
      // How many directories there are in one is not counted; 1 says so.
      nlink: 1,
      rdev: 0,
      size,
      blocks: Number((size + STAT_BLOCK_BYTES - 1n) / STAT_BLOCK_BYTES),
      blksize: BLKSIZE,
      atimeNs: time,
      mtimeNs: time,
      ctimeNs: time,
      birthtimeNs: time,
    }
  }

  async #xattrs(ino: Ino): Promise<Map<string, string>> {
    const xattrs = new Map<string, string>()
    if (isControlIno(ino)) return xattrs
    const { target, view } = this.#nodes.get(ino)
    if (target.kind !== 'file') return xattrs
    const { file, array } = target
    await view.use(async connection => {
      const { data } = await openForeignFile(connection, file)
      xattrs.set('user.zblkfs.oid', formatOid(file))
      xattrs.set('user.zblkfs.blksize', String(data.blksize))
      if (array !== undefined) describeArray(await readArray(connection, array), xattrs)
    })
    return xattrs
  }

  #newFh(opened: Node | OpenDirectory): Fh {
    this.#lastFh++
    this.#open.set(this.#lastFh as Fh, opened)
    return this.#lastFh as Fh
  }

  #closeFh(fh: Fh): void {
    const opened = this.#open.get(fh)
    if (opened === undefined) throw new ErrnoError('EBADF', `handle ${fh} is not open`)
    this.#open.delete(fh)
    this.#nodes.release('listing' in opened ? opened.node : opened, 1)
  }
}

const timeNs = (tid: Tid): bigint => BigInt(Math.round(timeFromTid(tid) * 1000)) * 1000n

function describeArray({ dtype, shape, strides, order }: ForeignArray, xattrs: Map<string, string>): void {
  if (dtype !== undefined) xattrs.set('user.zblkfs.dtype', dtype)
  if (shape !== undefined) xattrs.set('user.zblkfs.shape', shape.join(','))
  if (strides !== undefined) xattrs.set('user.zblkfs.strides', strides.join(','))
  xattrs.set('user.zblkfs.order', order)
}

async function resolveTarget(connection: Connection, entry: ForeignEntry): Promise<Target> {
  if (entry.kind !== 'array') return targetOf(entry)
  return targetOf(entry, (await readArray(connection, entry.ref.oid)).zfile.oid)
}

/** Looked up by the record: an object must not be met under a class that it is not of. */
async function isBigFile(connection: Connection, oid: Oid): Promise<boolean> {
  const part = await connection.records.start(oid, DATA_HEAD_MAX)
  return part !== undefined && classOfRecord(part.bytes) === ZBigFile.CLASS_NAME
}

const noTags = (): Promise<undefined> => Promise.resolve(undefined)
