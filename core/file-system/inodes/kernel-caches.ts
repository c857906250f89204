/**
 * Invalidation of the kernel's caches, for changes that the kernel does not see: a transaction is rolled back or undone, a
 * file's data is replaced, a write clears setuid; and for moments of the past that only the kernel's cache keeps in use.
 *
 * For every inode that it refers to, the kernel may cache pages, attributes, and the name by which the inode was last
 * found (an inode with several names is cached only briefly), and that names do not exist.
 */
import { ROOT_INO, name as toName, type Ino, type Name, type Notifier } from '../operations.ts'
import { MOMENT_PREFIX } from '../reserved-names.ts'
import type { Node, Tree } from './tree.ts'

export class KernelCaches {
  readonly #live: Tree
  #notifier: Notifier | undefined
  /** Inodes that were changed otherwise than through the kernel: it may have an old size of them, even after an invalidation. */
  readonly #changedBeside = new WeakSet<Node>()

  constructor(live: Tree) {
    this.#live = live
  }

  attach(notifier: Notifier): void {
    this.#notifier = notifier
    this.#live.remembered.forget = nodes => notifier.forgetUnused?.(nodes.map(({ ino }) => ino))
  }

  /** Whether all names can be invalidated at once (Linux 6.16). */
  get areNamesInvalidated(): boolean {
    return this.#notifier?.invalidatesNames === true
  }

  /** Invalidates everything of a tree. */
  invalidateTree(tree: Tree): void {
    for (const node of tree.nodes) this.invalidateNode(node)
    this.#notifier?.invalidateNames()
  }

  /** Invalidates pages, attributes and name of an inode. */
  invalidateNode(node: Node): void {
    if (node.lookups === 0 && node.handles === 0 && node.oid !== node.tree.rootOid) return
    this.#invalidateAll(node)
    this.invalidateName(node)
  }

  /** Invalidates the name by which an inode was last found. */
  invalidateName(node: Node): void {
    if (node.lookups > 0 && node.name !== undefined)
      this.#notifier?.invalidateEntry(node.tree.inoOf(node.name.parent), toName(node.name.name))
  }

  /**
   * Invalidates what another mount has changed: attributes and pages of inodes, and names in directories. `hasDirectories`: whether a directory
   * is among the inodes.
   */
  invalidateChanged(changed: ReadonlySet<Node>, live: Tree, hasDirectories: boolean): void {
    const isAtOnce = this.areNamesInvalidated
    for (const node of live.nodes) {
      const directory = node.name && live.known(node.name.parent)
      if (changed.has(node)) {
        if (isAtOnce) this.#invalidateData(node)
        else this.invalidateNode(node)
      } else if (!isAtOnce && directory !== undefined && changed.has(directory)) this.invalidateName(node)
    }
    if (hasDirectories) this.invalidateAbsences()
  }

  /** Invalidates a name that the kernel may have changed while another mount had done so. */
  invalidateChangedName(parent: Ino, name: Name): void {
    if (this.areNamesInvalidated) this.#notifier?.invalidateNames()
    else this.invalidateEntry(parent, name)
  }

  #invalidateData(node: Node): void {
    if (node.lookups > 0 || node.handles > 0 || node.oid === node.tree.rootOid) this.#invalidateAll(node)
  }

  #invalidateAll(node: Node): void {
    this.#changedBeside.add(node)
    this.#notifier?.invalidateInode(node.ino, 0n, 0n)
  }

  /** Invalidates all absent names. */
  invalidateAbsences(): void {
    this.#notifier?.invalidateNames()
  }

  /** Invalidates the absence of a name that a directory got, and the directory's attributes. */
  invalidateAbsence(directory: Node, name: Name): void {
    this.#notifier?.invalidateEntry(directory.ino, name)
    this.#notifier?.invalidateInode(directory.ino, -1n, 0n)
  }

  /** Invalidates attributes, and pages `[off, off + len)`; len 0: to the end. */
  invalidateRange(ino: Ino, off: bigint, len: bigint): void {
    const node = this.#live.knownOf(ino)
    if (node !== undefined) this.#changedBeside.add(node)
    this.#notifier?.invalidateInode(ino, off, len)
  }

  /** Whether the kernel knows the size of a file: if all changes came from it. Otherwise an append may arrive with an old end. */
  knowsSize(node: Node): boolean {
    return !this.#changedBeside.has(node)
  }

  /** Invalidates the attributes alone. */
  invalidateStat(ino: Ino): void {
    this.#notifier?.invalidateInode(ino, -1n, 0n)
  }

  /** Invalidates a name, or the cached absence of one, and the attributes of its directory. */
  invalidateEntry(parent: Ino, name: Name): void {
    this.#notifier?.invalidateEntry(parent, name)
    this.invalidateStat(parent)
  }

  /** Resolves when the attributes of an inode are invalidated. An operation may await it. */
  async invalidateAttributes(node: Node): Promise<void> {
    await this.#notifier?.invalidateAttributes(node.ino)
  }

  /** Invalidates a moment, given the name it was found by, and everything below it. Open files stay open. */
  invalidateMoment(text: string): void {
    this.#notifier?.invalidateEntry(ROOT_INO, toName(`${MOMENT_PREFIX}${text}`))
  }

  /** Resolves when every invalidation so far is done. Do not await it while holding a lock. */
  async settled(): Promise<void> {
    await this.#notifier?.settled()
  }
}
