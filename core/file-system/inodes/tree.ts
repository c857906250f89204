/**
 * A tree of inodes as of one moment (or the live one), and the inodes of it that are in use.
 *
 * A {@link Node} is the in-memory state of an inode while the kernel refers to it, a handle is open, or an
 * operation is running. The kernel may refer to millions of inodes, so a node without users holds no objects.
 *
 * **Inode numbers.** `tree number * 2^40 + oid`, so that a file of the past differs from the same file today. The
 * root of a tree has oid 1 in its inode number. The live tree has number 0. The number of a tree that was dropped is
 * used again, with another generation. An inode whose oid an earlier one has had, which was lost before it was stored, has a number from
 * the end of the tree's range instead ({@link Tree.retire}).
 */
import type { BigFile } from '../../big-file/big-file.ts'
import type { Connection } from '../../objects/connection.ts'
import { Inode } from '../../tree/inode.ts'
import { oid, type Oid } from '../../../store/ids.ts'
import { ErrnoError } from '../errno.ts'
import { ReadWriteLock } from '../locks.ts'
import { ROOT_INO, type Ino, ino as toIno } from '../operations.ts'
import { AccessTimes } from './access-times.ts'
import type { RememberedNodes } from './remembered-nodes.ts'

/** Bound of oids, and so of inodes, that a mount can show. */
export const INO_SPAN = 2 ** 40

/** Bound of tree numbers; the last is for generated files. */
export const TREE_NUMBERS = 2 ** 13

export const treeNumberOf = (ino: Ino): number => Math.floor(ino / INO_SPAN)

/** Whether an inode number is one of the present, and not of the past or of a generated file. */
export const isPresent = (ino: Ino): boolean => treeNumberOf(ino) === 0

/** The kernel may remember a million inodes, of which few are in use: a lock goes from one to the next. */
let spareLock: ReadWriteLock | undefined

export class Node {
  readonly tree: Tree
  readonly oid: Oid
  readonly ino: Ino
  /** Number of open handles. */
  handles = 0
  /** Of these, handles for reading and writing: a shared mapping of them may have dirty pages. */
  mappableHandles = 0
  /** Operations that use it now. */
  users = 0
  /** Whether it has lost its last name. Guarded by the gate. */
  isOrphan = false
  /** Whether it may get its first name (O_TMPFILE). */
  isLinkable = false
  /** Its data, once used. */
  file: BigFile | undefined
  /** A name by which it was found, and its directory: for descriptions and notifications. */
  name: { readonly parent: Oid; readonly name: string } | undefined
  /** Whether the kernel may know it by more than one name. */
  hadSeveralNames = false
  /** Approximate number of written bytes not yet in a record. Guarded by `lock`. */
  unstoredBytes = 0
  /** A pending invalidation of its cached attributes; operations that caused it await it. */
  invalidation: Promise<void> | undefined
  #lookups = 0
  #lock: ReadWriteLock | undefined
  #inode: Inode | undefined
  #isGone = false
  #growth = 0
  #isEmptied = false

  constructor(tree: Tree, oid: Oid, ino: Ino) {
    this.tree = tree
    this.oid = oid
    this.ino = ino
  }

  /** Shared by readers of the inode, its data or its entries; exclusive for changes. */
  get lock(): ReadWriteLock {
    if (this.#lock === undefined) {
      this.#lock = spareLock ?? new ReadWriteLock()
      spareLock = undefined
    }
    return this.#lock
  }

  /** Its inode, which must be activated before use. @throws ErrnoError ESTALE if its creation was rolled back. */
  get inode(): Inode {
    if (this.#isGone) throw new ErrnoError('ESTALE', 'the transaction that created it was rolled back')
    return (this.#inode ??= this.tree.inodeAt(this.oid))
  }

  /** Number of the kernel's references. */
  get lookups(): number {
    return this.#lookups
  }

  /** Adds a reference of the kernel. */
  refer(): void {
    if (this.#lookups++ === 0) this.tree.remembered.add(this)
  }

  /** Removes references of the kernel. */
  forget(count: number): void {
    if (this.#lookups === 0) return
    this.#lookups = Math.max(0, this.#lookups - count)
    if (this.#lookups === 0) this.tree.remembered.delete(this)
  }

  /** Whether the kernel can still refer to it. */
  get isReferenced(): boolean {
    return this.#lookups > 0 || this.handles > 0
  }

  /** Records growth of the stored data in bytes. */
  noteGrowth(bytes: number): void {
    this.#growth += bytes
  }

  /** Records that no stored data is left. */
  noteEmptied(): void {
    this.#isEmptied = true
    this.#growth = 0
  }

  /** The bytes stored now, given those stored before; resets the count. */
  takeGrowth(stored: number): number {
    const now = this.grown(stored)
    this.#isEmptied = false
    this.#growth = 0
    this.unstoredBytes = 0
    return now
  }

  /** The stored size of its data, of which its inode records `stored`. */
  grown(stored: number): number {
    return (this.#isEmptied ? 0 : stored) + this.#growth
  }

  /** Whether its inode does not yet record the stored size of its data. */
  get hasGrowth(): boolean {
    return this.file?.isDirty === true || this.#isEmptied || this.#growth !== 0
  }

  /** Drops all unstored state of its data, after a rollback. */
  revert(isOrphan: boolean): void {
    this.isOrphan = isOrphan
    this.file = undefined
    this.#isEmptied = false
    this.#growth = 0
    this.unstoredBytes = 0
  }

  /** Whether its inode was never stored and never will be. */
  get isGone(): boolean {
    return this.#isGone
  }

  /** Marks that its inode was never stored and never will be. */
  vanish(): void {
    this.#isGone = true
  }

  /** Releases its objects, which can be found again by oid, and its lock if it is free. */
  detach(): void {
    if (this.#lock?.isFree === true) {
      spareLock = this.#lock
      this.#lock = undefined
    }
    this.#inode = undefined
    this.file = undefined
  }
}

export interface TreeIdentity {
  readonly number: number
  readonly generation: number
  readonly rootOid: Oid
  readonly readOnly: boolean
}

export class Tree {
  readonly number: number
  readonly generation: number
  readonly rootOid: Oid
  readonly readOnly: boolean
  /** Operations that use it now. */
  users = 0
  /** Not stored yet; of the live tree only. */
  readonly accessTimes = new AccessTimes()
  /** Those of all trees of the filesystem. */
  readonly remembered: RememberedNodes
  readonly #nodes = new Map<Oid, Node>()
  /** Nodes of lost inodes, by the oid in their inode numbers. */
  readonly #retired = new Map<Oid, Node>()
  /** What inode numbers have instead of an oid, and the oids for that. */
  readonly #numbers = new Map<Oid, Oid>()
  readonly #oids = new Map<Oid, Oid>()
  #connection: Connection | undefined

  constructor(
    { number, generation, rootOid, readOnly }: TreeIdentity,
    connection: Connection,
    remembered: RememberedNodes,
  ) {
    this.remembered = remembered
    this.number = number
    this.generation = generation
    this.rootOid = rootOid
    this.readOnly = readOnly
    this.#connection = connection
  }

  get connection(): Connection {
    if (this.#connection === undefined) throw new Error(`tree ${this.number} is detached`)
    return this.#connection
  }

  get isAttached(): boolean {
    return this.#connection !== undefined
  }

  attach(connection: Connection): void {
    this.#connection = connection
  }

  /** Releases the connection and all its objects. Nodes stay; attach a connection before using one. */
  detach(): void {
    this.#connection = undefined
    for (const node of this.nodes) node.detach()
  }

  get isInUse(): boolean {
    return this.nodeCount > 0
  }

  /** The nodes in use. */
  get nodes(): Iterable<Node> {
    return this.#retired.size === 0
      ? this.#nodes.values()
      : [...this.#nodes.values(), ...this.#retired.values()]
  }

  get nodeCount(): number {
    return this.#nodes.size + this.#retired.size
  }

  get root(): Node {
    return this.node(this.rootOid)
  }

  inoOf(of: Oid): Ino {
    if (of >= INO_SPAN) throw new ErrnoError('EOVERFLOW', `object ${of} is too large for an inode number`)
    return toIno(this.number * INO_SPAN + (of === this.rootOid ? ROOT_INO : (this.#numbers.get(of) ?? of)))
  }

  /** The same for a listing. An inode without a number, which cannot be used, has the last one. */
  shownInoOf(of: Oid): Ino {
    return this.inoOf(of < INO_SPAN ? of : oid(INO_SPAN - 1))
  }

  inodeAt(of: Oid): Inode {
    return Inode.at(this.connection, of)
  }

  /** The node of an inode. The caller releases it with {@link Tree.dropUnused}. */
  node(of: Oid): Node {
    let node = this.#nodes.get(of)
    if (node === undefined) {
      node = new Node(this, of, this.inoOf(of))
      this.#nodes.set(of, node)
    }
    return node
  }

  /** The node of an inode number of this tree. */
  nodeOf(ino: Ino): Node {
    return this.#retiredOf(ino) ?? this.node(this.oidOf(ino))
  }

  /** The node of an inode number of this tree if it is in use. */
  knownOf(ino: Ino): Node | undefined {
    return this.#retiredOf(ino) ?? this.known(this.oidOf(ino))
  }

  /** The oid of an inode number of this tree. */
  oidOf(ino: Ino): Oid {
    const local = ino - this.number * INO_SPAN
    if (local === ROOT_INO) return this.rootOid
    const number = oid(local)
    return this.#oids.get(number) ?? number
  }

  /** Whether the oid of an inode number may be that of another inode by now: {@link Tree.retire}. */
  isRetired(ino: Ino): boolean {
    return this.#retiredOf(ino) !== undefined
  }

  #retiredOf(ino: Ino): Node | undefined {
    return this.#retired.size === 0 ? undefined : this.#retired.get(oid(ino - this.number * INO_SPAN))
  }

  /**
   * Ends the use of an oid by the node of an inode that was never stored and never will be: another inode may have it from now on. The node
   * keeps its inode number, with which the kernel refers to it.
   */
  retire(node: Node): void {
    node.vanish()
    node.detach()
    if (this.#nodes.get(node.oid) !== node) return
    this.#nodes.delete(node.oid)
    this.#retired.set(oid(node.ino - this.number * INO_SPAN), node)
    // The last one is that of inodes without a number.
    const number = oid(INO_SPAN - 2 - this.#oids.size)
    this.#numbers.set(node.oid, number)
    this.#oids.set(number, node.oid)
  }

  /** The node of an inode if it is in use. */
  known(of: Oid): Node | undefined {
    return this.#nodes.get(of)
  }

  /** Releases the objects of a node without users, handles and unserialised data; drops the node if it is unreferenced. */
  dropUnused(node: Node): void {
    if (node.users > 0 || node.handles > 0 || node.hasGrowth) return
    node.detach()
    if (node.isReferenced || node.isOrphan) return
    if (this.#nodes.get(node.oid) === node) this.#nodes.delete(node.oid)
    else if (this.#retiredOf(node.ino) === node) this.#retired.delete(oid(node.ino - this.number * INO_SPAN))
  }
}
