/**
 * State that every transaction includes besides the changes themselves, updated while the changes are prepared, with the
 * gate exclusive:
 *
 * - an inode's `stored` is the size of its stored data, and the superblock's `bytes` and `inodes` are the sums;
 * - the superblock's orphans are the inodes without a name that are in use. An orphan that is no longer used is dropped, with
 *   its unstored data.
 */
import { ifReadable } from '../../big-file/if-readable.ts'
import type { Inode } from '../../tree/inode.ts'
import type { DroppedFile } from '../../objects/unreachable.ts'
import type { Superblock, Usage } from '../../tree/superblock.ts'
import { Turns } from '../../turns.ts'
import { oid, type Oid } from '../../../store/ids.ts'
import type { Node, Tree } from '../inodes/tree.ts'

export class Bookkeeping {
  readonly #superblock: Superblock
  #usage: Usage
  #usageChanged = false
  readonly #orphans = new Set<Node>()
  /** Orphans recorded in the superblock. */
  readonly #recorded = new Set<Oid>()
  /** Inodes still recorded as orphans that have a name again; removed at the next prepare. */
  readonly #reclaimed = new Set<Oid>()
  /** Inodes that became or ceased to be orphans since the last {@link Bookkeeping.load}. */
  readonly #unloaded = new Set<Node>()

  private constructor(superblock: Superblock, usage: Usage) {
    this.#superblock = superblock
    this.#usage = usage
  }

  /** Creates it for a tree; drops orphans left by an earlier mount, unless the tree `isShared` with other mounts, which may use them. */
  static async start(superblock: Superblock, tree: Tree, isShared = false): Promise<Bookkeeping> {
    const bookkeeping = new Bookkeeping(superblock, await superblock.usage())
    if (!tree.readOnly && !isShared) await bookkeeping.#dropLeftOrphans(tree)
    return bookkeeping
  }

  /** Bytes and inodes, excluding bytes that are not stored yet. */
  get usage(): Usage {
    return this.#usage
  }

  created(): void {
    this.#count(0, 1)
  }

  /** Counts bytes and inodes that were added without a write (a clone). */
  added(bytes: number, inodes: number): void {
    this.#count(bytes, inodes)
  }

  /** To be called when an inode has lost its last name. */
  orphaned(node: Node): void {
    node.isOrphan = true
    this.#orphans.add(node)
    this.#unloaded.add(node)
  }

  /** To be called when an inode without a name has received one. */
  reclaimed(node: Node): void {
    node.isOrphan = false
    this.#orphans.delete(node)
    if (!this.#recorded.delete(node.oid)) return
    this.#reclaimed.add(node.oid)
    this.#unloaded.add(node)
  }

  /** A snapshot of in-memory state right after a prepare; the returned function restores it. */
  snapshot(): () => Promise<void> {
    const orphans = new Set(this.#orphans)
    const recorded = new Set(this.#recorded)
    return async () => await this.#restore(orphans, recorded)
  }

  async #restore(orphans: ReadonlySet<Node>, recorded: ReadonlySet<Oid>): Promise<void> {
    this.#unloaded.clear()
    this.#orphans.clear()
    this.#recorded.clear()
    this.#reclaimed.clear()
    for (const node of orphans) this.#orphans.add(node)
    for (const oid of recorded) this.#recorded.add(oid)
    this.#usage = await this.#superblock.usage()
    this.#usageChanged = false
  }

  /** Reads the superblock again after it was changed elsewhere; an orphan that has a name again is reclaimed. */
  async reload(live: Tree): Promise<void> {
    await this.#reclaimNamed(live)
    this.#usage = await this.#superblock.usage()
  }

  /** After an undo has restored an earlier superblock: the sums are stored again; an orphan that has a name again is reclaimed. */
  async restored(live: Tree): Promise<void> {
    await this.#reclaimNamed(live)
    const { bytes, inodes } = await this.#superblock.usage()
    this.#usageChanged ||= bytes !== this.#usage.bytes || inodes !== this.#usage.inodes
  }

  async #reclaimNamed(live: Tree): Promise<void> {
    for (const node of live.nodes) {
      if (!node.isOrphan) continue
      await node.inode.activate()
      if (node.inode.nlink > 0) this.reclaimed(node)
    }
  }

  /** Forgets the orphans of this mount, once another has taken over: they are left for a mount that is opened alone. */
  async restart(): Promise<void> {
    await this.#restore(new Set(), new Set())
  }

  isOrphan(node: Node): boolean {
    return this.#orphans.has(node)
  }

  /** Whether a node is an orphan that the next prepare drops. */
  isDroppable(node: Node): boolean {
    return node.isOrphan && !node.isReferenced && node.users === 0
  }

  // ---- the steps of a commit

  /** Loads what the prepare reads, with the gate shared. */
  async load(files: ReadonlySet<Node>): Promise<void> {
    const turns = new Turns()
    this.#unloaded.clear()
    if (this.#orphans.size > 0 || this.#reclaimed.size > 0) {
      const recorded = await this.#superblock.orphans()
      for (const oid of this.#reclaimed) await recorded.loadToDelete(oid)
      for (const node of this.#orphans) {
        await turns.pass()
        await this.#loadOrphan(node)
      }
    }
    for (const node of files) {
      await turns.pass()
      if (!this.isDroppable(node)) await node.inode.activate()
    }
    await this.#superblock.usage()
  }

  /** Loads what the prepare reads for the changes since {@link Bookkeeping.load}, with the gate shared. */
  async loadChanges(): Promise<void> {
    for (const node of this.#unloaded) {
      this.#unloaded.delete(node)
      if (this.#orphans.has(node)) await this.#loadOrphan(node)
      else await (await this.#superblock.orphans()).loadToDelete(node.oid)
    }
  }

  /** It may become droppable until the prepare. */
  async #loadOrphan(node: Node): Promise<void> {
    const recorded = await this.#superblock.orphans()
    if (this.#recorded.has(node.oid)) await recorded.loadToDelete(node.oid)
    else await recorded.loadToSet(node.oid)
    await node.inode.activate()
  }

  /**
   * Before the files are prepared: drops orphans, taking them out of `files`, and records the others.
   * @returns the dropped orphans.
   */
  async recordOrphans(files: Set<Node>): Promise<readonly DroppedFile[]> {
    if (this.#orphans.size === 0 && this.#reclaimed.size === 0) return []
    const dropped: DroppedFile[] = []
    const recorded = await this.#superblock.orphans()
    const turns = new Turns()
    for (const oid of this.#reclaimed) await recorded.delete(oid)
    this.#reclaimed.clear()
    for (const node of this.#orphans) {
      await turns.pass()
      if (this.isDroppable(node)) {
        await this.#drop(node.inode)
        dropped.push({ inode: node.oid, data: node.inode.data?.oid })
        if (this.#recorded.delete(node.oid)) await recorded.delete(node.oid)
        node.file?.abort()
        node.revert(false)
        files.delete(node)
        this.#orphans.delete(node)
        node.tree.dropUnused(node)
      } else if (!this.#recorded.has(node.oid)) {
        await recorded.set(node.oid, node.inode.ref)
        this.#recorded.add(node.oid)
      }
    }
    return dropped
  }

  /** After the files were prepared: puts their stored sizes into their inodes, and the sums into the superblock. */
  async recordUsage(files: Iterable<Node>): Promise<void> {
    const turns = new Turns()
    for (const node of files) {
      await turns.pass()
      const { inode } = node
      const before = await storedOf(inode)
      const stored = node.takeGrowth(before ?? 0)
      if (before !== undefined && stored !== before) {
        // A file without a name that another mount has dropped from the sums is still used here.
        if (inode.nlink > 0 || this.#orphans.has(node)) this.#count(stored - before, 0)
        inode.stored = stored
      }
      node.tree.dropUnused(node)
    }
    if (this.#usageChanged) await this.#superblock.setUsage(this.#usage)
    this.#usageChanged = false
  }

  async #dropLeftOrphans(tree: Tree): Promise<void> {
    const recorded = await this.#superblock.orphans()
    for (;;) {
      const { keys } = await recorded.batch({}, Infinity)
      if (keys.length === 0) return
      for (const key of keys) {
        if (key >= 0) await this.#drop(await ifReadable(async () => tree.inodeAt(oid(key))))
        await recorded.delete(key)
      }
    }
  }

  /** Subtracts an orphan from the sums, unless it cannot be read: then its share is unknown and fsck corrects the sums. */
  async #drop(inode: Inode | undefined): Promise<void> {
    const stored = inode && (await storedOf(inode))
    if (stored !== undefined) this.#count(-stored, -1)
  }

  #count(bytes: number, inodes: number): void {
    if (bytes === 0 && inodes === 0) return
    this.#usage = { bytes: this.#usage.bytes + bytes, inodes: this.#usage.inodes + inodes }
    this.#usageChanged = true
  }
}

/** An inode's stored bytes; undefined if it is damaged: fsck corrects the sums, and other files are stored meanwhile. */
const storedOf = (inode: Inode): Promise<number | undefined> =>
  ifReadable(async () => {
    await inode.activate()
    return inode.stored
  })
