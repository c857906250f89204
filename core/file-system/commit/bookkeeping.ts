/**
 * What has to be true of every transaction beside the changes themselves, brought about right before they are
 * serialised, while the gate keeps changes away:
 *
 * - an inode's `stored` is what its data takes, and the superblock's `bytes` and `inodes` are the sums;
 * - the superblock's orphans are the inodes that have no name but are in use. One that was let go of is dropped,
 *   with what was written to it and never stored.
 */
import type { Inode } from '../../tree/inode.ts'
import type { Superblock, Usage } from '../../tree/superblock.ts'
import { Turns } from '../../turns.ts'
import { oid, type Oid } from '../../../store/ids.ts'
import type { Node } from '../inodes/node.ts'
import type { Tree } from '../inodes/tree.ts'

export class Bookkeeping {
  readonly #superblock: Superblock
  #usage: Usage
  #usageChanged = false
  /** Files whose data has changed. */
  readonly #written = new Set<Node>()
  readonly #orphans = new Set<Node>()
  /** Those that the superblock has. */
  readonly #recorded = new Set<Oid>()
  /** Those that the superblock has, but should not. */
  readonly #adopted = new Set<Oid>()

  private constructor(superblock: Superblock, usage: Usage) {
    this.#superblock = superblock
    this.#usage = usage
  }

  /** Begins with a tree; drops the orphans of a mount that ended without doing it. */
  static async start(superblock: Superblock, tree: Tree): Promise<Bookkeeping> {
    const bookkeeping = new Bookkeeping(superblock, await superblock.usage())
    if (!tree.readOnly) await bookkeeping.#dropLeftOrphans(tree)
    return bookkeeping
  }

  /** How much there is, what is not stored yet left out. */
  get usage(): Usage {
    return this.#usage
  }

  created(): void {
    this.#count(0, 1)
  }

  /** So many bytes and inodes came without having been written. */
  added(bytes: number, inodes: number): void {
    this.#count(bytes, inodes)
  }

  /** A file's data was changed. */
  wrote(node: Node): void {
    this.#written.add(node)
  }

  /** An inode has lost its last name. */
  orphaned(node: Node): void {
    node.isOrphan = true
    this.#orphans.add(node)
  }

  /** An inode that had no name has one now. */
  adopted(node: Node): void {
    node.isOrphan = false
    this.#orphans.delete(node)
    if (this.#recorded.delete(node.oid)) this.#adopted.add(node.oid)
  }

  /** What is known beside the database, which has just been brought up to date by {@link Bookkeeping.prepare}. */
  remember(): () => Promise<void> {
    const orphans = new Set(this.#orphans)
    const recorded = new Set(this.#recorded)
    return async () => await this.#recall(orphans, recorded)
  }

  /** Puts back what was remembered: everything since was taken back. */
  async #recall(orphans: ReadonlySet<Node>, recorded: ReadonlySet<Oid>): Promise<void> {
    this.#written.clear()
    this.#orphans.clear()
    this.#recorded.clear()
    this.#adopted.clear()
    for (const node of orphans) this.#orphans.add(node)
    for (const oid of recorded) this.#recorded.add(oid)
    this.#usage = await this.#superblock.usage()
    this.#usageChanged = false
  }

  /** Reads anew what somebody else has changed in the superblock; an inode that has a name again is no orphan. */
  async reload(live: Tree): Promise<void> {
    for (const node of live.nodes) {
      if (!node.isOrphan) continue
      await node.inode.activate()
      if (node.inode.nlink > 0) this.adopted(node)
    }
    this.#usage = await this.#superblock.usage()
  }

  isOrphan(node: Node): boolean {
    return this.#orphans.has(node)
  }

  /** Whether letting go of a node leaves something to do. */
  hasToDrop(node: Node): boolean {
    return node.isOrphan && !node.isReferenced && node.users === 0
  }

  async prepare(): Promise<void> {
    await this.#settleOrphans()
    const turns = new Turns()
    for (const node of this.#written) {
      await turns.pass()
      await this.#settleData(node)
    }
    if (this.#usageChanged) await this.#superblock.setUsage(this.#usage)
    this.#usageChanged = false
  }

  async #settleData(node: Node): Promise<void> {
    const { inode } = node
    await node.file?.prepare()
    await inode.activate()
    const stored = node.settleGrowth(inode.stored)
    this.#count(stored - inode.stored, 0)
    if (stored !== inode.stored) inode.stored = stored
    this.#written.delete(node)
    node.tree.settle(node)
  }

  async #settleOrphans(): Promise<void> {
    if (this.#orphans.size === 0 && this.#adopted.size === 0) return
    const recorded = await this.#superblock.orphans()
    const turns = new Turns()
    for (const oid of this.#adopted) await recorded.delete(oid)
    this.#adopted.clear()
    for (const node of this.#orphans) {
      await turns.pass()
      if (this.hasToDrop(node)) {
        await this.#drop(node.inode)
        if (this.#recorded.delete(node.oid)) await recorded.delete(node.oid)
        this.#forget(node)
      } else if (!this.#recorded.has(node.oid)) {
        await recorded.set(node.oid, node.inode.ref)
        this.#recorded.add(node.oid)
      }
    }
  }

  #forget(node: Node): void {
    node.file?.abort()
    node.revert(false)
    this.#written.delete(node)
    this.#orphans.delete(node)
    node.tree.settle(node)
  }

  async #dropLeftOrphans(tree: Tree): Promise<void> {
    const recorded = await this.#superblock.orphans()
    for (;;) {
      const { keys } = await recorded.batch({}, Infinity)
      if (keys.length === 0) return
      for (const key of keys) {
        await this.#drop(tree.inodeAt(oid(key)))
        await recorded.delete(key)
      }
    }
  }

  async #drop(inode: Inode): Promise<void> {
    await inode.activate()
    this.#count(-inode.stored, -1)
  }

  #count(bytes: number, inodes: number): void {
    if (bytes === 0 && inodes === 0) return
    this.#usage = { bytes: this.#usage.bytes + bytes, inodes: this.#usage.inodes + inodes }
    this.#usageChanged = true
  }
}
