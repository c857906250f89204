/**
 * The moments of the past that are in use, each with its own {@link Tree}.
 *
 * A view lives while the kernel refers to an inode of it or an operation uses it; all names of a moment lead to the same
 * view. Memory is bounded: only the {@link ATTACHED_MAX} most recently used views have a connection with a cache of
 * objects; another view gets a connection when it is used again.
 */
import { Connection } from '../../objects/connection.ts'
import { findMoment } from '../../../store/moments.ts'
import { Superblock } from '../../tree/superblock.ts'
import { CannotOpenError } from '../../../store/errors.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import { ErrnoError } from '../errno.ts'
import type { RememberedNodes } from './remembered-nodes.ts'
import { Tree, TREE_NUMBERS } from './tree.ts'

const ATTACHED_MAX = 16
/** Maximum number of names remembered per view, the most recent ones. */
const NAMES_MAX = 100
/** Ratio of the live tree's cache to a view's. */
const CACHE_PART = 16

interface View {
  readonly tid: Tid
  readonly tree: Tree
  attaching: Promise<void> | undefined
  /** The names by which it was found, which the kernel may have cached. */
  readonly names: Set<string>
  /** The time of its last use, as performance.now(). */
  usedMs: number
}

export interface ViewsOptions {
  readonly store: Store
  /** Contains the tags. */
  readonly superblock: Superblock
  readonly remembered: RememberedNodes
  /** The size of the live tree's cache. */
  readonly cacheSizeBytes: number
}

export class Views {
  readonly #options: ViewsOptions
  /** By number, least recently used first. */
  readonly #views = new Map<number, View>()
  readonly #byTid = new Map<Tid, Promise<View>>()
  #nextNumber = 1
  #generation = 0

  constructor(options: ViewsOptions) {
    this.#options = options
  }

  /** The moments that are open or being opened: a pack must keep them. */
  get openTids(): readonly Tid[] {
    return [...this.#byTid.keys()]
  }

  /**
   * The tree of a moment, in the notation of store/moments.ts; undefined if there is none. Its root gets one user, which the
   * caller must remove.
   */
  async find(text: string): Promise<Tree | undefined> {
    const { store, superblock } = this.#options
    const tid = await findMoment(store, text, name => superblock.tag(name))
    if (tid === undefined) return undefined
    for (;;) {
      const view = await this.#open(tid)
      if (view === undefined) return undefined
      if (this.#views.get(view.tree.number) !== view) continue
      rememberName(view, text)
      view.tree.root.users++
      view.tree.users++
      return view.tree
    }
  }

  /**
   * The names of views before a moment that have been idle for `idleMs` and have no open file. The kernel's cache may be the
   * only thing that refers to them, without a bound in time.
   */
  idleNames(before: Tid, idleMs: number): readonly string[] {
    const sinceMs = performance.now() - idleMs
    return [...this.#views.values()]
      .filter(({ tid, usedMs }) => tid < before && usedMs <= sinceMs)
      .filter(({ tree }) => tree.users === 0 && [...tree.nodes].every(({ handles }) => handles === 0))
      .flatMap(({ names }) => [...names])
  }

  /** The tree with a number. @throws ErrnoError ESTALE */
  tree(number: number): Tree {
    const view = this.#views.get(number)
    if (view === undefined) throw new ErrnoError('ESTALE', `tree ${number} is no longer in use`)
    return view.tree
  }

  /** The tree with a number, if it is in use. */
  known(number: number): Tree | undefined {
    return this.#views.get(number)?.tree
  }

  /** Gives a tree a connection if it has none. The caller holds a user of the tree. */
  async attach(tree: Tree): Promise<void> {
    const view = this.#views.get(tree.number)
    if (view === undefined) throw new ErrnoError('ESTALE')
    this.#views.delete(tree.number)
    this.#views.set(tree.number, view)
    view.usedMs = performance.now()
    if (tree.isAttached) return
    view.attaching ??= this.#connect(view.tid)
      .then(connection => tree.attach(connection))
      .finally(() => (view.attaching = undefined))
    await view.attaching
    this.#detachOldest()
  }

  /** Drops a view that is no longer in use. */
  dropUnused(tree: Tree): void {
    const view = this.#views.get(tree.number)
    if (view === undefined || tree.isInUse || tree.users > 0) return
    this.#views.delete(tree.number)
    this.#byTid.delete(view.tid)
  }

  async #open(tid: Tid): Promise<View | undefined> {
    let opening = this.#byTid.get(tid)
    if (opening === undefined) {
      opening = this.#make(tid)
      this.#byTid.set(tid, opening)
    }
    try {
      return await opening
    } catch (error) {
      // Another caller may have removed it and reopened the moment meanwhile.
      if (this.#byTid.get(tid) === opening) this.#byTid.delete(tid)
      // The moment is before the filesystem was created.
      if (error instanceof CannotOpenError) return undefined
      throw error
    }
  }

  async #make(tid: Tid): Promise<View> {
    const connection = await this.#connect(tid)
    const rootOid = await (await Superblock.open(connection)).rootOid()
    const identity = { number: this.#freeNumber(), generation: ++this.#generation, rootOid, readOnly: true }
    const tree = new Tree(identity, connection, this.#options.remembered)
    const view: View = { tid, tree, attaching: undefined, names: new Set(), usedMs: performance.now() }
    this.#views.set(identity.number, view)
    this.#detachOldest()
    return view
  }

  #connect(tid: Tid): Promise<Connection> {
    const { store, cacheSizeBytes } = this.#options
    return Connection.open(store, { at: tid, cacheSizeBytes: Math.floor(cacheSizeBytes / CACHE_PART) })
  }

  #freeNumber(): number {
    for (let tries = 0; tries < TREE_NUMBERS; tries++) {
      const number = this.#nextNumber
      this.#nextNumber = number + 2 < TREE_NUMBERS ? number + 1 : 1
      if (!this.#views.has(number)) return number
    }
    throw new ErrnoError('ENFILE', 'too many moments are in use')
  }

  #detachOldest(): void {
    const attached = [...this.#views.values()].filter(({ tree }) => tree.isAttached)
    let excess = attached.length - ATTACHED_MAX
    for (const { tree } of attached) {
      if (excess <= 0) return
      if (tree.users > 0) continue
      tree.detach()
      excess--
    }
  }
}

/** Records a name as the most recently used one. */
function rememberName({ names }: View, name: string): void {
  names.delete(name)
  names.add(name)
  const [oldest] = names
  if (names.size > NAMES_MAX && oldest !== undefined) names.delete(oldest)
}
