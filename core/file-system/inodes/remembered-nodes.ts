/**
 * The inodes that the kernel refers to: it may remember millions, each of which takes some hundred bytes here. Beyond
 * {@link REMEMBERED_MAX} the kernel is asked to forget the oldest ones that nothing uses. It keeps those that are in use there, and
 * looks the others up again when they are needed.
 */
import type { Ino } from '../operations.ts'

export interface RememberedNode {
  readonly ino: Ino
  readonly users: number
  readonly handles: number
}

/** 20 MiB with short names, 35 with the longest. */
export const REMEMBERED_MAX = 50_000
/** Minimum number of inodes that are looked up between two requests to forget some. */
const STEP = 256
/** Maximum number of inodes in a request. */
const REQUEST_MAX = 4096

export class RememberedNodes {
  /** Asks the kernel to forget inodes. Undefined if it cannot be asked. */
  forget: ((nodes: readonly RememberedNode[]) => void) | undefined
  /** Oldest first. */
  readonly #nodes = new Set<RememberedNode>()
  #added = 0

  add(node: RememberedNode): void {
    this.#nodes.add(node)
    if (this.#nodes.size <= REMEMBERED_MAX || this.forget === undefined || ++this.#added < STEP) return
    this.#added = 0
    this.forget(this.#takeOldest(Math.min(REQUEST_MAX, this.#nodes.size - REMEMBERED_MAX + STEP)))
  }

  delete(node: RememberedNode): void {
    this.#nodes.delete(node)
  }

  /** The oldest without users. They become the newest: if the kernel keeps one, it is not asked again soon. */
  #takeOldest(count: number): readonly RememberedNode[] {
    const oldest: RememberedNode[] = []
    for (const node of this.#nodes) {
      oldest.push(node)
      if (oldest.length === count) break
    }
    for (const node of oldest) {
      this.#nodes.delete(node)
      this.#nodes.add(node)
    }
    return oldest.filter(({ users, handles }) => users === 0 && handles === 0)
  }
}
