/**
 * What all operations work with, and how they take locks.
 *
 * Locks are taken in this order, so that nobody waits in a circle:
 *
 * 1. the **gate**: every change holds it shared; alone it is held to serialise what was changed (write-back.ts)
 * 2. the **namespace**: changes of names hold it alone, so whoever holds it sees names that stay
 * 3. inodes, in the order of their numbers: readers shared, changes alone
 *
 * Nobody waits for a commit while holding any of them: whether there is room for a change is asked before.
 *
 * An inode's attributes are set in one go without waiting in between, so reading them needs no lock.
 */
import type { Inode } from '../tree/inode.ts'
import { ReadOnlyError } from '../../store/errors.ts'
import { ErrnoError } from './errno.ts'
import { ReadWriteLock } from './locks.ts'
import type { Ino } from './operations.ts'
import type { Views } from './inodes/views.ts'
import type { Bookkeeping } from './commit/bookkeeping.ts'
import type { Clock } from './clock.ts'
import type { Handles } from './inodes/handles.ts'
import type { Node } from './inodes/node.ts'
import { treeNumberOf, type Tree } from './inodes/tree.ts'
import type { WriteBack } from './commit/write-back.ts'
import type { PastWrite } from './commit/write-intents.ts'

export interface ContextParts {
  readonly live: Tree
  readonly views: Views
  readonly handles: Handles
  readonly bookkeeping: Bookkeeping
  /** Absent where nothing can be written. */
  readonly writeBack: WriteBack | undefined
  readonly gate: ReadWriteLock
  readonly nowNs: Clock
}

/** About what a changed inode takes in memory, in bytes. */
export const INODE_CHANGE_BYTES = 1500

/** What a change of size or a hole writes: chunks at the edges, in bytes. */
export const SMALL_CHANGE_BYTES = 8192

export class Context {
  readonly live: Tree
  readonly views: Views
  readonly handles: Handles
  readonly bookkeeping: Bookkeeping
  readonly nowNs: Clock
  readonly #writeBack: WriteBack | undefined
  readonly #gate: ReadWriteLock
  readonly #namespace = new ReadWriteLock()

  constructor(parts: ContextParts) {
    this.live = parts.live
    this.views = parts.views
    this.handles = parts.handles
    this.bookkeeping = parts.bookkeeping
    this.nowNs = parts.nowNs
    this.#writeBack = parts.writeBack
    this.#gate = parts.gate
  }

  /** @throws ReadOnlyError where nothing can be written. */
  get writeBack(): WriteBack {
    if (this.#writeBack === undefined) throw new ReadOnlyError('this mount is read-only')
    return this.#writeBack
  }

  /** The node of an inode, kept from being dropped until {@link Context.leave}. */
  async enter(ino: Ino): Promise<Node> {
    const number = treeNumberOf(ino)
    if (number === 0) return this.hold(this.live.nodeOf(ino))
    const node = this.hold(this.views.tree(number).nodeOf(ino))
    try {
      await this.views.attach(node.tree)
    } catch (error) {
      this.leave(node)
      throw error
    }
    return node
  }

  hold(node: Node): Node {
    node.users++
    node.tree.users++
    return node
  }

  leave(node: Node): void {
    node.users--
    node.tree.users--
    this.settle(node)
  }

  /** Drops what is no longer needed. To be called when a reference or handle is given back. */
  settle(node: Node): void {
    if (this.bookkeeping.hasToDrop(node)) this.#writeBack?.touchLazily(0)
    node.tree.settle(node)
    if (node.tree !== this.live) this.views.settle(node.tree)
  }

  /** Runs `work` with an inode that is activated. */
  async look<T>(ino: Ino, work: (node: Node, inode: Inode) => T | Promise<T>): Promise<T> {
    const node = await this.enter(ino)
    try {
      await node.inode.activate()
      return await work(node, node.inode)
    } finally {
      this.leave(node)
    }
  }

  /** Runs `work` while nobody changes the inode's data or entries. */
  async read<T>(ino: Ino, work: (node: Node, inode: Inode) => T | Promise<T>): Promise<T> {
    const node = await this.enter(ino)
    try {
      const wait = node.lock.shared()
      if (wait !== undefined) await wait
      try {
        await node.inode.activate()
        return await work(node, node.inode)
      } finally {
        node.lock.release()
      }
    } finally {
      this.leave(node)
    }
  }

  /**
   * Runs a change of one inode, which writes about so many bytes of data; `also` are locked with it.
   * @throws ReadOnlyError
   */
  async change<T>(
    ino: Ino,
    dataBytes: number,
    work: (node: Node, inode: Inode) => T | Promise<T>,
    also: readonly Node[] = [],
  ): Promise<T> {
    const node = await this.enter(ino)
    try {
      this.assertWritable(node)
      return await this.through(dataBytes, () => this.lockAll([node, ...also], () => work(node, node.inode)))
    } finally {
      this.leave(node)
    }
  }

  /** Runs a change of names below these directories. It locks the inodes that it changes by itself. @throws ReadOnlyError */
  async changeNames<T>(inos: readonly Ino[], work: (...nodes: readonly Node[]) => Promise<T>): Promise<T> {
    const nodes: Node[] = []
    try {
      for (const ino of inos) {
        const node = await this.enter(ino)
        nodes.push(node)
        this.assertWritable(node)
      }
      return await this.through(0, async () => {
        const wait = this.#namespace.alone()
        if (wait !== undefined) await wait
        try {
          for (const node of nodes) await node.inode.activate()
          return await work(...nodes)
        } finally {
          this.#namespace.release()
        }
      })
    } finally {
      for (const node of nodes) this.leave(node)
    }
  }

  /** Runs `work` holding inodes alone, all of them activated. */
  async lockAll<T>(nodes: readonly Node[], work: () => T | Promise<T>): Promise<T> {
    const ordered = [...new Set(nodes)].sort((a, b) => a.ino - b.ino)
    const held: Node[] = []
    try {
      for (const node of ordered) {
        const wait = node.lock.alone()
        if (wait !== undefined) await wait
        held.push(node)
      }
      await activateAll(ordered)
      return await work()
    } finally {
      for (const node of held) node.lock.release()
    }
  }

  /** Notes that an inode was changed. */
  changed(node: Node, bytes: number = INODE_CHANGE_BYTES): void {
    this.writeBack.changed(node, bytes)
  }

  /** Notes that a file was written to. */
  wrote(node: Node, bytes: number, write: PastWrite): void {
    this.writeBack.wrote(node, bytes, write)
  }

  /** Runs a small change at once, without waiting, if changes may be made now; else it is left out. No fsync is for it. */
  changeIfFree(node: Node, work: () => void): void {
    if (node.tree.readOnly || !this.#gate.tryShared()) return
    try {
      work()
      this.writeBack.touchLazily(INODE_CHANGE_BYTES)
    } finally {
      this.#gate.release()
    }
  }

  assertWritable(node: Node): void {
    if (node.tree.readOnly) throw new ErrnoError('EROFS', 'the past cannot be changed')
  }

  /** Runs a change of things that no inode in use stands for. @throws ReadOnlyError */
  async through<T>(dataBytes: number, work: () => Promise<T>): Promise<T> {
    const { writeBack } = this
    const room = writeBack.admit(dataBytes)
    if (room !== undefined) await room
    try {
      const wait = this.#gate.shared()
      if (wait !== undefined) await wait
      try {
        return await work()
      } finally {
        this.#gate.release()
      }
    } finally {
      writeBack.leave(dataBytes)
    }
  }
}

/** Activates all of them; afterwards all can be used. */
export async function activateAll(nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) await node.inode.activate()
}
