/**
 * The whole tree as of one moment, or the live one: a connection, and the inodes of it that are in use.
 *
 * **Inode numbers.** `tree number * 2^40 + oid`, so that a file of the past differs from the same file today; a
 * tree's root is shown as oid 1. The live tree is number 0. A number is used again after its tree was given up, with
 * another generation.
 */
import type { Connection } from '../../objects/connection.ts'
import { Inode } from '../../tree/inode.ts'
import { oid, type Oid } from '../../../store/ids.ts'
import { ErrnoError } from '../errno.ts'
import { ROOT_INO, type Ino } from '../operations.ts'
import { Node } from './node.ts'

/** Oids, and with them inodes, that a mount can show. */
export const INO_SPAN = 2 ** 40

/** Tree numbers are below; the last is that of made-up files. */
export const TREE_NUMBERS = 2 ** 13

export const treeNumberOf = (ino: Ino): number => Math.floor(ino / INO_SPAN)

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
  /** Operations under way. */
  users = 0
  readonly #nodes = new Map<Oid, Node>()
  #connection: Connection | undefined

  constructor({ number, generation, rootOid, readOnly }: TreeIdentity, connection: Connection) {
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

  /** Lets go of the connection and all its objects. Nodes stay; who uses one attaches a connection first. */
  detach(): void {
    this.#connection = undefined
    for (const node of this.#nodes.values()) node.detach()
  }

  get isInUse(): boolean {
    return this.#nodes.size > 0
  }

  /** Those in use. */
  get nodes(): Iterable<Node> {
    return this.#nodes.values()
  }

  /** How many inodes are in use. */
  get nodeCount(): number {
    return this.#nodes.size
  }

  get root(): Node {
    return this.node(this.rootOid)
  }

  inoOf(of: Oid): Ino {
    if (of >= INO_SPAN) throw new ErrnoError('EOVERFLOW', `object ${of} is too high for an inode number`)
    return (this.number * INO_SPAN + (of === this.rootOid ? ROOT_INO : of)) as Ino
  }

  inodeAt(of: Oid): Inode {
    return Inode.at(this.connection, of)
  }

  /** The node of an inode. Who asks lets it go by {@link Tree.settle}. */
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
    return this.node(this.oidOf(ino))
  }

  /** The object that an inode number of this tree stands for. */
  oidOf(ino: Ino): Oid {
    const local = ino - this.number * INO_SPAN
    return local === ROOT_INO ? this.rootOid : oid(local)
  }

  /** The node of an inode if it is in use. */
  known(of: Oid): Node | undefined {
    return this.#nodes.get(of)
  }

  /** A node that has no user, no handle and nothing unserialised lets go of its objects; one that nobody refers to goes. */
  settle(node: Node): void {
    if (node.users > 0 || node.handles > 0 || node.isUnsettled) return
    node.detach()
    if (node.isReferenced || node.isOrphan) return
    if (this.#nodes.get(node.oid) === node) this.#nodes.delete(node.oid)
  }
}
