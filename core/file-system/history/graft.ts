/**
 * Clones a file or a whole directory of a moment; the copy shares the stored bytes (core/history/share.ts).
 *
 * A copy is made in steps, between which other operations and commits run, so it may have any size. Until it gets its
 * name, its top is an orphan in use: invisible, kept by a pack, and dropped like any orphan if the clone fails or the
 * process dies. After each step all of the copy can be reached from the top: a pack would drop the rest. The moment is kept
 * open until the copy is stored.
 */
import type { MomentView } from '../../history/moment-view.ts'
import { SHARED_RECORD_BYTES, SharedFile } from '../../history/share.ts'
import { Directory } from '../../tree/directory.ts'
import { isDirectory, Inode } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import { setTimes } from '../operations/attributes.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/tree.ts'

/** Records made per step. */
const STEP_RECORDS = 2048
/** Approximate memory of a copied inode and its entry, in bytes. */
const INODE_BYTES = 4000

/** A copy without a name. */
export interface Copy {
  /** Has a user, which the caller must remove. */
  readonly node: Node
  /** Stored bytes of its data, not yet recorded in its inode. */
  readonly stored: number
  /** Stored bytes including everything below it; number of inodes below it. */
  readonly bytes: number
  readonly inodes: number
}

export class Graft {
  readonly #context: Context
  readonly #source: MomentView
  /** Copies of inodes with several names. */
  readonly #linked = new Map<Oid, Oid>()
  #bytes = 0
  #inodes = 0

  constructor(context: Context, source: MomentView) {
    this.#context = context
    this.#source = source
  }

  /** Copies an inode of the moment, and what is below it. @throws StoreError, ErrnoError */
  async copy(top: Inode): Promise<Copy> {
    const context = this.#context
    const node = await context.withGate(0, async () => {
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
      if (isDirectory(top)) await this.#copyBelow(top.oid, node.oid)
      return { node, stored, bytes: this.#bytes, inodes: this.#inodes }
    } catch (error) {
      context.leave(node)
      throw error
    }
  }

  /** Copies what is below a directory. */
  async #copyBelow(top: Oid, copy: Oid): Promise<void> {
    const copies = new Map<Oid, Oid>([[top, copy]])
    for await (const { directory, name, inode } of this.#source.walk(top)) {
      const parent = copies.get(directory)
      if (parent === undefined)
        throw this.#source.connection.corrupt(directory, 'two directories have it as an entry')
      const { oid } = inode
      const known = this.#linked.get(oid)
      const made = known ?? (await this.#copyInto(inode, parent, name))
      if (known !== undefined) await this.#context.withGate(0, () => this.#enter(parent, name, known))
      await inode.activate()
      if (isDirectory(inode)) copies.set(oid, made)
      else if (inode.nlink > 1) this.#linked.set(oid, made)
    }
  }

  /** Copies an inode to a name in the copy of its directory. It gets the name first: no transaction has objects that nothing refers to. */
  async #copyInto(inode: Inode, parent: Oid, name: string): Promise<Oid> {
    const context = this.#context
    const oid = await context.withGate(0, async () => {
      await inode.activate()
      const copy = await this.#newInode(inode)
      copy.nlink = isDirectory(inode) ? 2 : 0
      await this.#enter(parent, name, copy.oid)
      return copy.oid
    })
    this.#inodes++
    const stored = await this.#fill(inode, oid)
    if (stored > 0)
      await context.withGate(0, async () => {
        const copy = context.live.inodeAt(oid)
        await copy.activate()
        copy.stored = stored
        context.writeBack.changedOther(INODE_BYTES)
      })
    return oid
  }

  /** Adds a copy to the copy of its directory. With the gate shared. */
  async #enter(parent: Oid, name: string, oid: Oid): Promise<void> {
    const { live } = this.#context
    const [directory, copy] = [live.inodeAt(parent), live.inodeAt(oid)]
    await directory.activate()
    await Directory.of(live.connection, directory).set(name, copy)
    await directory.activate()
    await copy.activate()
    copy.named(directory.ref, name)
    // A transaction that changes entries changes the directory's inode as well: an undo finds them by it.
    directory.nlink += isDirectory(copy) ? 1 : 0
    if (!isDirectory(copy)) copy.nlink++
    this.#context.writeBack.changedOther(INODE_BYTES)
  }

  /** A new inode with the attributes of another, without name, data and entries. */
  async #newInode(from: Inode): Promise<Inode> {
    const { connection } = this.#context.live
    const { mode, uid, gid, rdev } = from
    const inode = await Inode.create(connection, { mode, uid, gid, rdev, nlink: 0, timeNs: 0n })
    await from.activate()
    copyAttributes(from, inode)
    if (isDirectory(from)) await Directory.create(connection, inode, inode)
    return inode
  }

  /** Copies the data in steps; resolves to the stored bytes. */
  async #fill(from: Inode, copy: Oid): Promise<number> {
    await from.activate()
    const { data, inlineData, stored } = from
    const context = this.#context
    const { live } = context
    if (data === undefined) {
      if (inlineData === undefined) return 0
      await context.withGate(0, async () => {
        const inode = live.inodeAt(copy)
        await inode.activate()
        inode.replaceData(inlineData)
        context.writeBack.changedOther(INODE_BYTES)
      })
      this.#bytes += stored
      return stored
    }
    const shared = await context.withGate(0, async () => {
      const shared = await SharedFile.begin(this.#source.connection, data, live.connection)
      const inode = live.inodeAt(copy)
      await inode.activate()
      inode.data = shared.ref
      this.#context.writeBack.changedOther(INODE_BYTES)
      return shared
    })
    this.#bytes += stored
    for (let made = 1; made > 0;)
      made = await context.withGate(STEP_RECORDS * SHARED_RECORD_BYTES, async () => {
        const made = await shared.step(STEP_RECORDS)
        if (made > 0) context.writeBack.changedOther(made * SHARED_RECORD_BYTES)
        return made
      })
    return stored
  }
}

/** Copies all attributes of an inode except names, data and counts. */
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
