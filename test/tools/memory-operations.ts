/**
 * A small complete filesystem in memory: what a driver's tests are run against, so that a fault found by them is the
 * driver's. Sparse files of any size: a file is a map of 64 KiB blocks.
 *
 * Longer than 400 lines: it implements one interface.
 */
/* oxlint-disable max-lines -- see above */
import { constants } from 'node:fs'
import { ErrnoError } from '../../core/file-system/errno.ts'
import {
  type AllocateMode,
  type AttributeChanges,
  type Attributes,
  type Caller,
  type DirectoryEntry,
  type Entry,
  type Fh,
  type FileSystemStatistics,
  type Ino,
  type KeepsSetuid,
  type Name,
  type Notifier,
  type OpenFile,
  type Operations,
  type RenameFlags,
  ROOT_INO,
  fh as toFh,
  name as toName,
  ino as toIno,
} from '../../core/file-system/operations.ts'

const { S_IFMT, S_IFDIR, S_IFREG, S_IFLNK } = constants
const BLOCK = 65536

interface Node {
  readonly ino: Ino
  mode: number
  nlink: number
  uid: number
  gid: number
  readonly rdev: number
  size: bigint
  atimeNs: bigint
  mtimeNs: bigint
  ctimeNs: bigint
  readonly birthtimeNs: bigint
  references: number
  handles: number
  parent: Ino
  readonly target: Uint8Array
  readonly blocks: Map<bigint, Buffer>
  readonly entries: Map<Name, { readonly ino: Ino; readonly cookie: bigint }>
  readonly xattrs: Map<string, Uint8Array>
}

const now = (): bigint => BigInt(Date.now()) * 1_000_000n

export class MemoryOperations implements Operations {
  /** Offered by the driver. */
  notifier: Notifier | undefined
  /** What fsync waits for, to hold it back. */
  fsyncGate: Promise<void> = Promise.resolve()
  readonly #nodes = new Map<Ino, Node>()
  readonly #handles = new Map<Fh, Ino>()
  #nextIno: number = ROOT_INO
  #nextCookie = 2n

  constructor() {
    const caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: 0 }
    const root = this.#make(S_IFDIR | 0o755, caller)
    root.nlink = 2
  }

  /** Number of inodes, including those that are only referenced. */
  get inodes(): number {
    return this.#nodes.size
  }

  attach(notifier: Notifier): void {
    this.notifier = notifier
  }

  /** Changes a file's bytes without notifying the kernel. */
  poke(ino: Ino, off: bigint, data: Uint8Array): void {
    this.#write(this.#node(ino), off, data)
  }

  /** The inode of a name, without a reference. */
  find(parent: Ino, name: string): Ino {
    const entry = this.#node(parent).entries.get(toName(name))
    if (!entry) throw new ErrnoError('ENOENT')
    return entry.ino
  }

  /** The kernel's references to an inode. */
  references(parent: Ino, name: string): number {
    return this.#node(this.find(parent, name)).references
  }

  /** Removes a name without notifying the kernel. */
  vanish(parent: Ino, name: string): void {
    this.#node(parent).entries.delete(toName(name))
  }

  async lookup(parent: Ino, name: Name): Promise<Entry> {
    if (name.length > 255) throw new ErrnoError('ENAMETOOLONG')
    return this.#entry(this.#node(this.find(parent, name)))
  }
  forget(ino: Ino, count: number): void {
    const node = this.#nodes.get(ino)
    if (!node) return
    node.references -= count
    this.#reap(node)
  }
  async getattr(ino: Ino): Promise<Attributes> {
    return this.#attributes(this.#node(ino))
  }
  async setattr(ino: Ino, changes: AttributeChanges): Promise<Attributes> {
    const node = this.#node(ino)
    if (changes.mode !== undefined) node.mode = (node.mode & S_IFMT) | changes.mode
    if (changes.dropsSetuid && !(node.mode & S_IFDIR)) node.mode &= ~0o6000
    node.uid = changes.uid ?? node.uid
    node.gid = changes.gid ?? node.gid
    if (changes.size !== undefined) this.#truncate(node, changes.size)
    if (changes.atimeNs !== undefined) node.atimeNs = changes.atimeNs === 'now' ? now() : changes.atimeNs
    if (changes.mtimeNs !== undefined) node.mtimeNs = changes.mtimeNs === 'now' ? now() : changes.mtimeNs
    node.ctimeNs = now()
    return this.#attributes(node)
  }

  async readlink(ino: Ino): Promise<Uint8Array> {
    return this.#node(ino).target
  }
  async symlink(parent: Ino, name: Name, target: Uint8Array, caller: Caller): Promise<Entry> {
    return this.#add(parent, name, this.#make(S_IFLNK | 0o777, caller, 0, target))
  }
  async mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Promise<Entry> {
    return this.#add(parent, name, this.#make(mode, caller, rdev))
  }
  async mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Promise<Entry> {
    const entry = this.#add(parent, name, this.#make(S_IFDIR | (mode & 0o7777), caller))
    this.#node(entry.attributes.ino).nlink = 2
    this.#node(parent).nlink++
    return entry
  }
  async link(ino: Ino, parent: Ino, name: Name): Promise<Entry> {
    return this.#add(parent, name, this.#node(ino))
  }
  async unlink(parent: Ino, name: Name): Promise<void> {
    this.#remove(parent, name)
  }
  async rmdir(parent: Ino, name: Name): Promise<void> {
    if (this.#node(this.find(parent, name)).entries.size > 0) throw new ErrnoError('ENOTEMPTY')
    this.#remove(parent, name)
  }
  async rename(parent: Ino, name: Name, newParent: Ino, newName: Name, flags: RenameFlags): Promise<void> {
    const ino = this.find(parent, name)
    const target = this.#node(newParent).entries.get(newName)?.ino
    if (flags.noReplace && target !== undefined) throw new ErrnoError('EEXIST')
    if (flags.exchange && target === undefined) throw new ErrnoError('ENOENT')
    if (target === ino) return
    if (target !== undefined && this.#node(target).entries.size > 0 && !flags.exchange)
      throw new ErrnoError('ENOTEMPTY')
    this.#node(parent).entries.delete(name)
    if (target !== undefined && !flags.exchange) this.#remove(newParent, newName)
    this.#enter(newParent, newName, ino)
    if (flags.exchange && target !== undefined) this.#enter(parent, name, target)
  }

  async open(ino: Ino, flags: number): Promise<OpenFile> {
    if (flags & constants.O_TRUNC) this.#truncate(this.#node(ino), 0n)
    return this.#open(ino)
  }
  async create(parent: Ino, name: Name, mode: number, _flags: number, caller: Caller) {
    const entry = this.#add(parent, name, this.#make(S_IFREG | (mode & 0o7777), caller))
    return { entry, file: this.#open(entry.attributes.ino) }
  }
  async read(ino: Ino, _fh: Fh, off: bigint, len: number): Promise<readonly Uint8Array[]> {
    const node = this.#node(ino)
    const end = off + BigInt(len) < node.size ? off + BigInt(len) : node.size
    const pieces: Uint8Array[] = []
    for (let at = off; at < end;) {
      const within = Number(at % BigInt(BLOCK))
      const length = Math.min(BLOCK - within, Number(end - at))
      const block = node.blocks.get(at / BigInt(BLOCK)) ?? Buffer.alloc(BLOCK)
      pieces.push(block.subarray(within, within + length))
      at += BigInt(length)
    }
    return pieces
  }
  async write(
    ino: Ino,
    _fh: Fh,
    off: bigint,
    data: Uint8Array,
    keepsSetuid: KeepsSetuid = () => true,
  ): Promise<number> {
    const node = this.#node(ino)
    this.#write(node, off, data)
    if (node.mode & 0o6000 && !keepsSetuid()) {
      node.mode &= ~0o6000
      await this.notifier?.invalidateAttributes(ino)
    }
    return data.length
  }

  async append(ino: Ino, fh: Fh, data: Uint8Array, keepsSetuid?: KeepsSetuid): Promise<bigint> {
    const { size } = this.#node(ino)
    return size + BigInt(await this.write(ino, fh, size, data, keepsSetuid))
  }
  async release(ino: Ino, fh: Fh): Promise<void> {
    this.#handles.delete(fh)
    const node = this.#node(ino)
    node.handles--
    this.#reap(node)
  }
  async fsync(): Promise<void> {
    await this.fsyncGate
  }
  async allocate(ino: Ino, _fh: Fh, mode: AllocateMode, off: bigint, len: bigint): Promise<void> {
    const node = this.#node(ino)
    const end = off + len
    if (mode.punchHole || mode.zeroRange) {
      const stop = end < node.size ? end : node.size
      if (stop > off) this.#write(node, off, Buffer.alloc(Number(stop - off)))
    }
    if (!mode.keepSize && end > node.size) node.size = end
  }
  async seek(ino: Ino, _fh: Fh, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
    const node = this.#node(ino)
    if (off >= node.size) throw new ErrnoError('ENXIO')
    for (let at = off; at < node.size; at = (at / BigInt(BLOCK) + 1n) * BigInt(BLOCK))
      if (node.blocks.has(at / BigInt(BLOCK)) === (whence === 'data')) return at
    if (whence === 'data') throw new ErrnoError('ENXIO')
    return node.size
  }
  async copyFileRange(
    from: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    to: { readonly ino: Ino; readonly fh: Fh; readonly off: bigint },
    len: bigint,
  ): Promise<bigint> {
    const data = Buffer.concat(await this.read(from.ino, from.fh, from.off, Number(len)))
    this.#write(this.#node(to.ino), to.off, data)
    return BigInt(data.length)
  }

  async opendir(ino: Ino): Promise<Fh> {
    return this.#open(ino).fh
  }
  async readdir(ino: Ino, _fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    const node = this.#node(ino)
    const listed: DirectoryEntry[] = [
      { name: toName('.'), ino, type: S_IFDIR, cookie: 1n },
      { name: toName('..'), ino: node.parent, type: S_IFDIR, cookie: 2n },
    ].slice(Number(cookie > 2n ? 2n : cookie))
    for (const [name, entry] of node.entries) {
      if (listed.length >= limit) break
      if (entry.cookie > cookie)
        listed.push({ name, ino: entry.ino, type: this.#node(entry.ino).mode & S_IFMT, cookie: entry.cookie })
    }
    return listed.slice(0, limit)
  }
  async releasedir(ino: Ino, fh: Fh): Promise<void> {
    await this.release(ino, fh)
  }
  async fsyncdir(): Promise<void> {}

  async statfs(): Promise<FileSystemStatistics> {
    return {
      blockSize: 4096,
      blocks: 1000,
      blocksFree: 600,
      blocksAvailable: 500,
      files: this.#nodes.size,
      filesFree: 1_000_000,
      nameMax: 255,
    }
  }
  async getxattr(ino: Ino, name: string): Promise<Uint8Array> {
    const value = this.#node(ino).xattrs.get(name)
    if (!value) throw new ErrnoError('ENODATA')
    return value
  }
  async setxattr(ino: Ino, name: string, value: Uint8Array, flags: number): Promise<void> {
    const { xattrs } = this.#node(ino)
    if (flags & 1 && xattrs.has(name)) throw new ErrnoError('EEXIST')
    if (flags & 2 && !xattrs.has(name)) throw new ErrnoError('ENODATA')
    xattrs.set(name, Uint8Array.from(value))
  }
  async listxattr(ino: Ino): Promise<readonly string[]> {
    return [...this.#node(ino).xattrs.keys()]
  }
  async removexattr(ino: Ino, name: string): Promise<void> {
    if (!this.#node(ino).xattrs.delete(name)) throw new ErrnoError('ENODATA')
  }

  #node(ino: Ino): Node {
    const node = this.#nodes.get(ino)
    if (!node) throw new ErrnoError('ESTALE')
    return node
  }

  #make(mode: number, caller: Caller, rdev = 0, target: Uint8Array = new Uint8Array()): Node {
    const time = now()
    const node: Node = {
      ino: toIno(this.#nextIno++),
      mode,
      nlink: 0,
      uid: caller.uid,
      gid: caller.gid,
      rdev,
      size: BigInt(target.length),
      atimeNs: time,
      mtimeNs: time,
      ctimeNs: time,
      birthtimeNs: time,
      references: 0,
      handles: 0,
      parent: ROOT_INO,
      target,
      blocks: new Map(),
      entries: new Map(),
      xattrs: new Map(),
    }
    this.#nodes.set(node.ino, node)
    return node
  }

  #add(parent: Ino, name: Name, node: Node): Entry {
    if (this.#node(parent).entries.has(name)) throw new ErrnoError('EEXIST')
    node.nlink++
    this.#enter(parent, name, node.ino)
    return this.#entry(node)
  }

  #enter(parent: Ino, name: Name, ino: Ino): void {
    const directory = this.#node(parent)
    directory.entries.delete(name)
    directory.entries.set(name, { ino, cookie: ++this.#nextCookie })
    directory.mtimeNs = now()
    this.#node(ino).parent = parent
  }

  #remove(parent: Ino, name: Name): void {
    const node = this.#node(this.find(parent, name))
    this.#node(parent).entries.delete(name)
    if (node.mode & S_IFDIR && !(node.mode & S_IFREG)) {
      node.nlink = 0
      this.#node(parent).nlink--
    } else node.nlink--
    node.ctimeNs = now()
    this.#reap(node)
  }

  #reap(node: Node): void {
    if (node.nlink === 0 && node.references <= 0 && node.handles === 0) this.#nodes.delete(node.ino)
  }

  #open(ino: Ino): OpenFile {
    let fh = 1
    while (this.#handles.has(toFh(fh))) fh++
    this.#handles.set(toFh(fh), ino)
    this.#node(ino).handles++
    return { fh: toFh(fh), pages: 'keep' }
  }

  #truncate(node: Node, size: bigint): void {
    if (size < node.size) {
      const last = size / BigInt(BLOCK)
      for (const block of node.blocks.keys()) if (block > last) node.blocks.delete(block)
      node.blocks.get(last)?.fill(0, Number(size % BigInt(BLOCK)))
    }
    node.size = size
    node.mtimeNs = now()
  }

  #write(node: Node, off: bigint, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const at = off + BigInt(done)
      const within = Number(at % BigInt(BLOCK))
      const length = Math.min(BLOCK - within, data.length - done)
      const index = at / BigInt(BLOCK)
      const block = node.blocks.get(index) ?? Buffer.alloc(BLOCK)
      node.blocks.set(index, block)
      block.set(data.subarray(done, done + length), within)
      done += length
    }
    const end = off + BigInt(data.length)
    if (end > node.size) node.size = end
    node.mtimeNs = now()
  }

  #entry(node: Node): Entry {
    node.references++
    return {
      attributes: this.#attributes(node),
      generation: 0,
      nameValidity: 'until changed',
    }
  }

  #attributes(node: Node): Attributes {
    const { ino, mode, nlink, uid, gid, rdev, size, atimeNs, mtimeNs, ctimeNs, birthtimeNs } = node
    const blocks = (node.blocks.size * BLOCK) / 512
    const blksize = 4096
    return {
      ino,
      mode,
      nlink,
      uid,
      gid,
      rdev,
      size,
      blocks,
      blksize,
      atimeNs,
      mtimeNs,
      ctimeNs,
      birthtimeNs,
      validity: 'until changed',
    }
  }
}
