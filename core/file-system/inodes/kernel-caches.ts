/**
 * What the kernel remembers and must forget when names, attributes or data change without its doing: when a
 * transaction is taken back or undone, or a file's data is replaced; and what keeps a moment of the past in use.
 *
 * Of every inode that it refers to, the kernel may have pages, attributes, and the name that the inode was found by last
 * (an inode of several names is remembered for a moment only). It remembers no absence of names.
 */
import { ROOT_INO, type Name, type Notifier } from '../operations.ts'
import type { Node } from './node.ts'
import { MOMENT_PREFIX } from '../reserved-names.ts'
import type { Tree } from './tree.ts'

export class KernelCaches {
  #notifier: Notifier | undefined

  attach(notifier: Notifier): void {
    this.#notifier = notifier
  }

  /** Everything of a tree. */
  forgetTree(tree: Tree): void {
    for (const node of tree.nodes) this.forgetNode(node)
  }

  forgetNode(node: Node): void {
    if (node.lookups === 0 && node.handles === 0 && node.oid !== node.tree.rootOid) return
    this.#notifier?.invalidateInode(node.ino, 0n, 0n)
    if (node.name !== undefined)
      this.#notifier?.invalidateEntry(node.tree.inoOf(node.name.parent), node.name.name as Name)
  }

  /** A moment, by what it was found by, with everything below it. What is open there stays so. */
  forgetMoment(text: string): void {
    this.#notifier?.invalidateEntry(ROOT_INO, `${MOMENT_PREFIX}${text}` as Name)
  }

  /** Resolves when the kernel has forgotten. Not to be awaited while a lock is held. */
  async settled(): Promise<void> {
    await this.#notifier?.settled()
  }
}
