/** The inodes that moves to later transactions have changed: what the kernel has of them may be old. */
import type { Node } from '../inodes/tree.ts'

/** Time after a move for which its inodes have just changed. */
const JUST_CHANGED_MS = 1000

export class MovedNodes {
  #moves = 0
  /** The inodes of which the kernel may still have copies, with the last move that has changed them. */
  readonly #stale = new Map<Node, number>()
  readonly #changedMs = new WeakMap<Node, number>()

  /** The number of moves so far. */
  get moves(): number {
    return this.#moves
  }

  /** Records a move. @param settled waits until the kernel has dropped its copies. */
  add(changed: ReadonlySet<Node>, settled: () => Promise<void>): void {
    const move = ++this.#moves
    for (const node of changed) {
      this.#stale.set(node, move)
      this.#changedMs.set(node, performance.now())
    }
    if (changed.size > 0)
      void settled().then(() => {
        for (const node of changed) if (this.#stale.get(node) === move) this.#stale.delete(node)
      })
  }

  isStale(node: Node): boolean {
    return this.#stale.has(node)
  }

  /** Whether another mount changed an inode a moment ago. */
  hasJustChanged(node: Node): boolean {
    const changedMs = this.#changedMs.get(node)
    return changedMs !== undefined && performance.now() - changedMs < JUST_CHANGED_MS
  }
}
