/** Names: looking them up, making, linking and removing them. Renaming has a file of its own. */
import { constants } from 'node:fs'
import { Directory } from '../../tree/directory.ts'
import { Inode } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import { ErrnoError } from '../errno.ts'
import type { Caller, Entry, Ino, Name } from '../operations.ts'
import {
  assertDirectory,
  checkName,
  checkNewName,
  entryOf,
  isDirectory,
  S_ISGID,
  setTimes,
} from './attributes.ts'
import { activateAll, type Context } from '../context.ts'
import type { Node } from '../inodes/node.ts'
import { isLiveRoot, isReserved, MOMENT_PREFIX } from '../reserved-names.ts'
import { treeNumberOf } from '../inodes/tree.ts'

const { S_IFMT, S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR } = constants
const NODE_TYPES: readonly number[] = [S_IFREG, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR]
const PERMISSIONS = 0o7777
/** As many as XFS allows. */
const LINK_MAX = 2 ** 31 - 1
const TARGET_MAX_BYTES = 4095
/** `@2h` leads to another moment soon. */
const MOMENT_TIMEOUT_MS = 1000
/** About what a new inode and its entry take in memory until they are serialised, in bytes. */
const CREATION_BYTES = 4000

interface NewEntry {
  readonly mode: number
  readonly rdev?: number
  readonly target?: Uint8Array
  /** What to do where the name is taken: fail, or open what is there. */
  readonly orExisting?: boolean
}

export class Names {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** @throws ErrnoError ENOENT, ENOTDIR, ENAMETOOLONG */
  lookup(parent: Ino, name: Name): Promise<Entry> {
    checkName(name)
    return this.#context.read(parent, async (node, inode) => {
      assertDirectory(inode)
      const found = await this.#find(node, inode, name)
      if (found !== undefined) return await this.#enterFound(node, name, found)
      if (isLiveRoot(node) && name.startsWith(MOMENT_PREFIX))
        return await this.#enterMoment(name.slice(MOMENT_PREFIX.length))
      throw new ErrnoError('ENOENT')
    })
  }

  /** Takes back references of the kernel. Never fails. */
  forget(ino: Ino, count: number): void {
    const context = this.#context
    const number = treeNumberOf(ino)
    const tree = number === 0 ? context.live : context.views.known(number)
    const node = tree?.known(tree.oidOf(ino))
    if (node === undefined) return
    node.lookups = Math.max(0, node.lookups - count)
    context.settle(node)
  }

  mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Promise<Entry> {
    return this.#make(parent, name, { mode: S_IFDIR | (mode & PERMISSIONS) }, caller)
  }

  /** @throws ErrnoError EINVAL for a type that has no node. */
  async mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Promise<Entry> {
    const type = mode & S_IFMT || S_IFREG
    if (!NODE_TYPES.includes(type)) throw new ErrnoError('EINVAL')
    const isDevice = type === S_IFBLK || type === S_IFCHR
    return await this.#make(
      parent,
      name,
      { mode: type | (mode & PERMISSIONS), rdev: isDevice ? rdev : 0 },
      caller,
    )
  }

  async symlink(parent: Ino, name: Name, target: Uint8Array, caller: Caller): Promise<Entry> {
    if (target.length === 0) throw new ErrnoError('ENOENT', 'a symbolic link leads somewhere')
    if (target.length > TARGET_MAX_BYTES) throw new ErrnoError('ENAMETOOLONG')
    return await this.#make(parent, name, { mode: S_IFLNK | 0o777, target }, caller)
  }

  /** A regular file. With `orExisting` one that is there already is as good. */
  createFile(parent: Ino, name: Name, mode: number, caller: Caller, orExisting: boolean): Promise<Entry> {
    return this.#make(parent, name, { mode: S_IFREG | (mode & PERMISSIONS), orExisting }, caller)
  }

  /** @throws ErrnoError EPERM for directories, EXDEV, EMLINK, EEXIST, ENOENT for what has no name any more. */
  link(ino: Ino, parent: Ino, name: Name): Promise<Entry> {
    checkNewName(name)
    const context = this.#context
    return context.changeNames([parent, ino], async (...[directory, node]) => {
      if (directory === undefined || node === undefined) throw new ErrnoError('EINVAL')
      if (node.tree !== directory.tree) throw new ErrnoError('EXDEV')
      return await context.lockAll([directory, node], async () => {
        const { inode } = node
        assertDirectory(directory.inode)
        if (isDirectory(inode)) throw new ErrnoError('EPERM')
        if (inode.nlink === 0) throw new ErrnoError('ENOENT')
        if (inode.nlink >= LINK_MAX) throw new ErrnoError('EMLINK')
        if ((await this.#findTaken(directory, name)) !== undefined) throw new ErrnoError('EEXIST')
        await this.#add(directory, name, inode)
        await activateAll([directory, node])
        inode.named(directory.inode.ref, name)
        inode.nlink++
        setTimes(inode, context.nowNs(), 'ctime')
        node.name = { parent: directory.oid, name }
        context.changed(node)
        return entryOf(node)
      })
    })
  }

  /** @throws ErrnoError ENOENT, EISDIR */
  unlink(parent: Ino, name: Name): Promise<void> {
    return this.#remove(parent, name, async (directory, node) => {
      if (isDirectory(node.inode)) throw new ErrnoError('EISDIR')
      await Directory.of(directory.tree.connection, directory.inode).delete(name)
      await activateAll([directory, node])
      node.inode.unnamed(directory.oid, name)
      node.inode.nlink--
    })
  }

  /** @throws ErrnoError ENOENT, ENOTDIR, ENOTEMPTY */
  rmdir(parent: Ino, name: Name): Promise<void> {
    if (name === '.') throw new ErrnoError('EINVAL')
    if (name === '..') throw new ErrnoError('ENOTEMPTY')
    return this.#remove(parent, name, async (directory, node) => {
      const { connection } = directory.tree
      assertDirectory(node.inode)
      if (!(await Directory.of(connection, node.inode).isEmpty())) throw new ErrnoError('ENOTEMPTY')
      await directory.inode.activate()
      await Directory.of(connection, directory.inode).delete(name)
      await activateAll([directory, node])
      node.inode.unnamed(directory.oid, name)
      node.inode.nlink = 0
      directory.inode.nlink--
    })
  }

  async #find(node: Node, inode: Inode, name: Name): Promise<Oid | undefined> {
    if (name === '.') return node.oid
    if (name === '..') return inode.parent?.oid
    return await Directory.of(node.tree.connection, inode).get(name)
  }

  async #enterFound(directory: Node, name: Name, oid: Oid): Promise<Entry> {
    const node = this.#context.hold(directory.tree.node(oid))
    try {
      await node.inode.activate()
      if (oid !== directory.tree.rootOid) node.name = { parent: directory.oid, name }
      return entryOf(node)
    } finally {
      this.#context.leave(node)
    }
  }

  async #enterMoment(text: string): Promise<Entry> {
    const context = this.#context
    const tree = await context.views.find(text)
    if (tree === undefined) throw new ErrnoError('ENOENT')
    const { root } = tree
    try {
      await context.views.attach(tree)
      await root.inode.activate()
      return { ...entryOf(root), entryTimeoutMs: MOMENT_TIMEOUT_MS }
    } finally {
      context.leave(root)
    }
  }

  #make(parent: Ino, name: Name, wanted: NewEntry, caller: Caller): Promise<Entry> {
    checkNewName(name)
    const context = this.#context
    return context.changeNames([parent], async (...[directory]) => {
      if (directory === undefined) throw new ErrnoError('EINVAL')
      return await context.lockAll([directory], async () => {
        const existing = await this.#findTaken(directory, name)
        if (existing !== undefined) {
          if (wanted.orExisting !== true) throw new ErrnoError('EEXIST')
          return await this.#enterFound(directory, name, existing)
        }
        const inode = await this.#newInode(directory, name, wanted, caller)
        await this.#add(directory, name, inode)
        if (isDirectory(inode)) directory.inode.nlink++
        context.bookkeeping.created()
        const node = context.hold(directory.tree.node(inode.oid))
        node.name = { parent: directory.oid, name }
        context.changed(node, CREATION_BYTES)
        try {
          await inode.activate()
          return entryOf(node)
        } finally {
          context.leave(node)
        }
      })
    })
  }

  async #newInode(
    directory: Node,
    name: Name,
    { mode, rdev = 0, target }: NewEntry,
    { uid, gid }: Caller,
  ): Promise<Inode> {
    const { tree, inode: parent } = directory
    const inherits = (parent.mode & S_ISGID) !== 0
    const isDirectoryWanted = (mode & S_IFMT) === S_IFDIR
    const inode = await Inode.create(tree.connection, {
      mode: inherits && isDirectoryWanted ? mode | S_ISGID : mode,
      uid,
      gid: inherits ? parent.gid : gid,
      nlink: isDirectoryWanted ? 2 : 1,
      rdev,
      timeNs: this.#context.nowNs(),
    })
    if (target !== undefined) inode.target = target
    if (isDirectoryWanted) await Directory.create(tree.connection, inode, parent)
    inode.named(parent.ref, name)
    return inode
  }

  /** Which inode has a name that is to be given to another. @throws ErrnoError ENOTDIR, ENOENT, EPERM */
  async #findTaken(directory: Node, name: Name): Promise<Oid | undefined> {
    assertDirectory(directory.inode)
    if (directory.inode.nlink === 0) throw new ErrnoError('ENOENT')
    const oid = await Directory.of(directory.tree.connection, directory.inode).get(name)
    if (oid === undefined && isReserved(directory, name)) throw new ErrnoError('EPERM')
    await directory.inode.activate()
    return oid
  }

  /** Enters a name into a directory that is locked. */
  async #add(directory: Node, name: Name, inode: Inode): Promise<void> {
    await Directory.of(directory.tree.connection, directory.inode).set(name, inode)
    await directory.inode.activate()
    setTimes(directory.inode, this.#context.nowNs(), 'mtime', 'ctime')
    this.#context.changed(directory)
  }

  /** Finds the inode of a name that is to be removed, locks both, and keeps their times. */
  #remove(parent: Ino, name: Name, take: (directory: Node, node: Node) => Promise<void>): Promise<void> {
    checkName(name)
    const context = this.#context
    return context.changeNames([parent], async (...[directory]) => {
      if (directory === undefined) throw new ErrnoError('EINVAL')
      assertDirectory(directory.inode)
      const oid = await Directory.of(directory.tree.connection, directory.inode).get(name)
      if (oid === undefined) throw new ErrnoError(isReserved(directory, name) ? 'EPERM' : 'ENOENT')
      const node = context.hold(directory.tree.node(oid))
      try {
        await context.lockAll([directory, node], async () => {
          await take(directory, node)
          const nowNs = context.nowNs()
          setTimes(directory.inode, nowNs, 'mtime', 'ctime')
          setTimes(node.inode, nowNs, 'ctime')
          if (node.inode.nlink === 0) context.bookkeeping.orphaned(node)
          context.changed(node)
          context.changed(directory)
        })
      } finally {
        context.leave(node)
      }
    })
  }
}
