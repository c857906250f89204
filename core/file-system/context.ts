/**
 * Shared by all operations: their dependencies, and how they take locks.
 *
 * Locks are taken in this order, so that there can be no deadlock:
 *
 * 1. the **gate**: shared by every change, exclusive while changes are serialised (commit/committer.ts);
 * 2. the **namespace**: exclusive for changes of names, so that names do not change under its holder;
 * 3. inodes, in the order of their numbers: shared for reads, exclusive for changes.
 *
 * No lock is held while waiting for a commit: a change is admitted (commit/admission.ts) before it takes the gate.
 *
 * An inode's attributes are set in one step without an await in between, so reading them needs no lock.
 */
import type { Inode } from '../tree/inode.ts'
import { chain, ending, type Awaitable } from '../../store/awaitable.ts'
import { ReadOnlyError } from '../../store/errors.ts'
import { ErrnoError } from './errno.ts'
import { ReadWriteLock } from './locks.ts'
import type { Ino } from './operations.ts'
import type { MappedPages } from './mapped-pages.ts'
import type { Views } from './inodes/views.ts'
import type { Bookkeeping } from './commit/bookkeeping.ts'
import type { Clock } from './clock.ts'
import type { Handles } from './inodes/handles.ts'
import type { KernelCaches } from './inodes/kernel-caches.ts'
import { treeNumberOf, type Node, type Tree } from './inodes/tree.ts'
import { activateAll } from './operations/attributes.ts'
import type { WriteBack } from './commit/write-back.ts'
import type { IntentChange } from './commit/intent.ts'

export interface ContextParts {
  readonly live: Tree
  readonly views: Views
  readonly handles: Handles
  readonly bookkeeping: Bookkeeping
  readonly caches: KernelCaches
  /** Undefined for a read-only filesystem. */
  readonly writeBack: WriteBack | undefined
  readonly gate: ReadWriteLock
  readonly mappedPages: MappedPages
  readonly nowNs: Clock
  /** Reads change no access times (-o noatime). */
  readonly ignoresAccess: boolean
  /** POSIX ACLs are stored and inherited (-o acl). */
  readonly hasAcls: boolean
}

/** Approximate memory of a changed inode, in bytes. */
const INODE_CHANGE_BYTES = 1500

/** Data bytes that a change of size or a hole writes: chunks at its edges. */
export const SMALL_CHANGE_BYTES = 8192

export class Context {
  readonly live: Tree
  readonly views: Views
  readonly handles: Handles
  readonly bookkeeping: Bookkeeping
  readonly caches: KernelCaches
  readonly mappedPages: MappedPages
  readonly nowNs: Clock
  /** False while another mount has the right to write. */
  mayCommit = true
  /** Changed by a remount. */
  ignoresAccess: boolean
  readonly hasAcls: boolean
  readonly #writeBack: WriteBack | undefined
  readonly #gate: ReadWriteLock
  readonly #namespace = new ReadWriteLock()

  constructor(parts: ContextParts) {
    this.live = parts.live
    this.views = parts.views
    this.handles = parts.handles
    this.bookkeeping = parts.bookkeeping
    this.caches = parts.caches
    this.mappedPages = parts.mappedPages
    this.nowNs = parts.nowNs
    this.ignoresAccess = parts.ignoresAccess
    this.hasAcls = parts.hasAcls
    this.#writeBack = parts.writeBack
    this.#gate = parts.gate
  }

  /** @throws ReadOnlyError */
  get writeBack(): WriteBack {
    if (this.#writeBack === undefined) throw new ReadOnlyError('this mount is read-only')
    return this.#writeBack
  }

  /** The node of an inode, held until {@link Context.leave}. */
  enter(ino: Ino): Node | Promise<Node> {
    const number = treeNumberOf(ino)
    return number === 0 ? this.hold(this.live.nodeOf(ino)) : this.#enterPast(number, ino)
  }

  async #enterPast(number: number, ino: Ino): Promise<Node> {
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
    this.dropUnused(node)
  }

  /** Drops objects that are no longer used. Call after each decrement of a user, reference or handle count. */
  dropUnused(node: Node): void {
    if (this.mayCommit && this.bookkeeping.isDroppable(node)) this.#writeBack?.changedQuietly(0)
    node.tree.dropUnused(node)
    if (node.tree !== this.live) this.views.dropUnused(node.tree)
  }

  /** Runs `work` with the activated inode; without a promise if nothing is waited for. */
  look<T>(ino: Ino, work: (node: Node, inode: Inode) => Awaitable<T>): Awaitable<T> {
    return this.#within(ino, node => whenActive(node, work))
  }

  /**
   * Runs `work` with the activated inode, while its data and entries do not change; without a promise if nothing is
   * waited for.
   */
  read<T>(ino: Ino, work: (node: Node, inode: Inode) => Awaitable<T>): Awaitable<T> {
    return this.#within(ino, node => {
      const locked = (): Awaitable<T> =>
        ending(
          () => whenActive(node, work),
          () => node.lock.release(),
        )
      return chain(node.lock.shared(), locked)
    })
  }

  /** Runs `work` with the node of an inode, which is held meanwhile. */
  #within<T>(ino: Ino, work: (node: Node) => Awaitable<T>): Awaitable<T> {
    const entered = (node: Node): Awaitable<T> =>
      ending(
        () => work(node),
        () => this.leave(node),
      )
    return chain(this.enter(ino), entered)
  }

  /**
   * Runs a change of one inode, which writes about `dataBytes` of data; the nodes of `also` are locked with it. `frees`: it frees room, and is
   * admitted on a full disk.
   * @throws ReadOnlyError
   */
  change<T>(
    ino: Ino,
    dataBytes: number,
    work: (node: Node, inode: Inode) => Awaitable<T>,
    { also, frees = false }: { readonly also?: readonly Node[]; readonly frees?: boolean } = {},
  ): Awaitable<T> {
    return this.#within(ino, node => {
      this.assertWritable(node)
      const locked = (): Awaitable<T> =>
        also === undefined
          ? this.#lockOne(node, () => work(node, node.inode))
          : this.lockAll([node, ...also], () => work(node, node.inode))
      const changing = chain(recordBytes(node), bytes => this.withGate(dataBytes, locked, frees, bytes))
      return chain(changing, result => chain(node.invalidation, () => result))
    })
  }

  /**
   * Runs a change of names in these directories; `work` locks the inodes that it changes. `frees`: as in {@link Context.change}.
   * @throws ReadOnlyError
   */
  async changeNames<T>(
    inos: readonly Ino[],
    work: (...nodes: readonly Node[]) => Promise<T>,
    { frees = false }: { readonly frees?: boolean } = {},
  ): Promise<T> {
    const nodes: Node[] = []
    try {
      for (const ino of inos) {
        const node = await this.enter(ino)
        nodes.push(node)
        this.assertWritable(node)
      }
      const locked = async (): Promise<T> => {
        const wait = this.#namespace.alone()
        if (wait !== undefined) await wait
        try {
          for (const node of nodes) await node.inode.activate()
          return await work(...nodes)
        } finally {
          this.#namespace.release()
        }
      }
      return await this.withGate(0, locked, frees)
    } finally {
      for (const node of nodes) this.leave(node)
    }
  }

  /** As {@link Context.lockAll} of one inode; without a promise if nothing is waited for. */
  #lockOne<T>(node: Node, work: () => Awaitable<T>): Awaitable<T> {
    const locked = (): Awaitable<T> =>
      ending(
        () => chain(node.inode.activate(), work),
        () => node.lock.release(),
      )
    return chain(node.lock.alone(), locked)
  }

  /** Runs `work` with exclusive locks of inodes, all of them activated. */
  async lockAll<T>(nodes: readonly Node[], work: () => Awaitable<T>): Promise<T> {
    const ordered = nodes.length === 1 ? nodes : [...new Set(nodes)].sort((a, b) => a.ino - b.ino)
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

  /** Records that an inode was changed; `bytes`: its approximate memory besides its data. */
  changed(node: Node, bytes: number = INODE_CHANGE_BYTES): void {
    this.writeBack.changed(node, bytes)
  }

  /** As {@link Context.changed}, within an operation that calls {@link Context.intend}. */
  changedAsIntended(node: Node, bytes: number = INODE_CHANGE_BYTES): void {
    this.writeBack.changedAsIntended(node, bytes)
  }

  /** Records the outcome of an operation for the intent log: once, while it holds its locks. */
  intend(timeNs: bigint, change: IntentChange): void {
    this.writeBack.intend(timeNs, change)
  }

  /** Records that the data of a file was changed; {@link Context.changed} or {@link Context.changedAsIntended} follows. */
  fileChanged(node: Node): void {
    this.writeBack.fileChanged(node)
  }

  /** Has the kernel drop the attributes of a locked node; the operation ends when it has. */
  invalidateAttributes(node: Node): void {
    const done = this.caches.invalidateAttributes(node)
    const pending = done.finally(() => {
      if (node.invalidation === pending) node.invalidation = undefined
    })
    node.invalidation = pending
  }

  assertWritable(node: Node): void {
    if (node.tree.readOnly) throw new ErrnoError('EROFS', 'the past cannot be changed')
  }

  /**
   * Admits a change, then runs it with the gate shared, without locking an inode; without a promise if nothing is waited for.
   * @throws ReadOnlyError
   */
  withGate<T>(dataBytes: number, work: () => Awaitable<T>, frees = false, recordBytes = 0): Awaitable<T> {
    const { admission } = this.writeBack
    const leaveGate = (): Awaitable<void> => chain(this.writeBack.loadChanges(), () => this.#gate.release())
    const admitted = (): Awaitable<T> =>
      ending(
        () => chain(this.#gate.shared(), () => ending(work, leaveGate)),
        () => admission.leave(dataBytes, recordBytes),
      )
    return chain(admission.admit(dataBytes, frees, recordBytes), admitted)
  }
}

function whenActive<T>(node: Node, work: (node: Node, inode: Inode) => Awaitable<T>): Awaitable<T> {
  return chain(node.inode.activate(), () => work(node, node.inode))
}

const recordBytes = ({ inode }: Node): Awaitable<number> =>
  chain(inode.activate(), () => inode.recordExtraBytes)
