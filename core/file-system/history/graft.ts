/**
 * Makes a copy of what a moment has, a file or a whole directory, that shares its bytes (core/history/share.ts).
 *
 * The copy is made in steps, between which others work and commits happen, so that it may be of any size. Until it
 * gets its name, its top is an unlinked inode in use: nobody sees it, a pack leaves it alone, and where it comes to
 * nothing, or the process dies, it is dropped as any such inode is. The moment is held open until all of it is stored.
 */
import { constants } from 'node:fs'
import type { MomentView } from '../../history/moment-view.ts'
import { SHARED_RECORD_BYTES, SharedFile } from '../../history/share.ts'
import { Directory } from '../../tree/directory.ts'
import { Inode } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import { setTimes } from '../operations/attributes.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/node.ts'

const { S_IFMT, S_IFDIR } = constants
/** Records made in one go. */
const STEP_RECORDS = 2048
/** About what a copied inode and its entry take in memory, in bytes. */
const INODE_BYTES = 4000

/** A copy that has no name yet. */
export interface Copy {
  /** In use, so that it stays: the caller leaves it. */
  readonly node: Node
  /** What its data takes, in bytes. Its inode does not say so yet. */
  readonly stored: number
  /** What comes with it beside its own inode; bytes include its own. */
  readonly bytes: number
  readonly inodes: number
}

export class Graft {
  readonly #context: Context
  readonly #source: MomentView
  /** Copies of inodes that have several names. */
  readonly #linked = new Map<Oid, Oid>()
  #bytes = 0
  #inodes = 0

  constructor(context: Context, source: MomentView) {
    this.#context = context
    this.#source = source
  }

  /** Copies what a path of the moment leads to. @throws StoreError, ErrnoError */
  async copy(top: Inode, path: string): Promise<Copy> {
    const context = this.#context
    const node = await context.through(0, async () => {
      await top.activate()
      const node = context.hold(context.live.node((await this.#newInode(top)).oid))
      context.bookkeeping.created()
      context.bookkeeping.orphaned(node)
      context.changed(node, INODE_BYTES)
      return node
    })
    try {
      const stored = await this.#fill(top, node.oid)
      await top.activate()
      if (isDirectory(top)) await this.#copyBelow(top.oid, path, node.oid)
      return { node, stored, bytes: this.#bytes, inodes: this.#inodes }
    } catch (error) {
      context.leave(node)
      throw error
    }
  }

  /** Copies what is below a directory. */
  async #copyBelow(top: Oid, path: string, copy: Oid): Promise<void> {
    const copies = new Map<Oid, Oid>([[top, copy]])
    for await (const { directory, name, inode } of this.#source.walk(top, path)) {
      const parent = copies.get(directory)
      if (parent === undefined) throw this.#source.connection.corrupt(directory, 'it is entered twice')
      const { oid } = inode
      const known = this.#linked.get(oid)
      const made = known ?? (await this.#copyInto(inode, parent, name))
      if (known !== undefined) await this.#enter(parent, name, known)
      await inode.activate()
      if (isDirectory(inode)) copies.set(oid, made)
      else if (inode.nlink > 1) this.#linked.set(oid, made)
    }
  }

  async #copyInto(inode: Inode, parent: Oid, name: string): Promise<Oid> {
    const context = this.#context
    const oid = await context.through(0, async () => {
      await inode.activate()
      const copy = await this.#newInode(inode)
      copy.nlink = isDirectory(inode) ? 2 : 0
      return copy.oid
    })
    this.#inodes++
    const stored = await this.#fill(inode, oid)
    await this.#enter(parent, name, oid, stored)
    return oid
  }

  /** Enters a copy into the copy of its directory; `stored`: of data that is new with it. */
  #enter(parent: Oid, name: string, oid: Oid, stored?: number): Promise<void> {
    const { live } = this.#context
    return this.#context.through(0, async () => {
      const [directory, copy] = [live.inodeAt(parent), live.inodeAt(oid)]
      await directory.activate()
      await Directory.of(live.connection, directory).set(name, copy)
      await directory.activate()
      await copy.activate()
      copy.named(directory.ref, name)
      if (stored !== undefined) copy.stored = stored
      if (isDirectory(copy)) directory.nlink++
      else copy.nlink++
      this.#context.writeBack.touch(INODE_BYTES)
    })
  }

  /** A new inode with the attributes of an old one, without a name, data, or entries. */
  async #newInode(from: Inode): Promise<Inode> {
    const { connection } = this.#context.live
    const { mode, uid, gid, rdev } = from
    const inode = await Inode.create(connection, { mode, uid, gid, rdev, nlink: 0, timeNs: 0n })
    await from.activate()
    copyAttributes(from, inode)
    if (isDirectory(from)) await Directory.create(connection, inode, inode)
    return inode
  }

  /** Gives a copy its data, in steps; resolves to what that takes. */
  async #fill(from: Inode, copy: Oid): Promise<number> {
    await from.activate()
    const { data, stored } = from
    if (data === undefined) return 0
    const context = this.#context
    const { live } = context
    const shared = await context.through(0, async () => {
      const shared = await SharedFile.begin(this.#source.connection, data, live.connection)
      const inode = live.inodeAt(copy)
      await inode.activate()
      inode.data = shared.ref
      this.#context.writeBack.touch(INODE_BYTES)
      return shared
    })
    this.#bytes += stored
    for (let made = 1; made > 0;)
      made = await context.through(STEP_RECORDS * SHARED_RECORD_BYTES, async () => {
        const made = await shared.step(STEP_RECORDS)
        if (made > 0) context.writeBack.touch(made * SHARED_RECORD_BYTES)
        return made
      })
    return stored
  }
}

/** Everything about an inode but its names, its data and what is counted. */
export function copyAttributes(from: Inode, to: Inode): void {
  const { mode, uid, gid, size, target, xattrs } = from
  to.mode = mode
  to.uid = uid
  to.gid = gid
  to.size = size
  if (target.length > 0) to.target = target
  to.xattrs = xattrs
  for (const key of ['atime', 'mtime', 'birthtime'] as const) setTimes(to, from.time(key), key)
  setTimes(to, from.time('ctime'), 'ctime')
}

const isDirectory = (inode: Inode): boolean => (inode.mode & S_IFMT) === S_IFDIR
