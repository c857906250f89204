/** Paths through a BTree: from its root down to a leaf, and to the adjacent leaves. */
import type { Persistent } from '../objects/persistent.ts'
import type { PickleValue, Ref } from '../objects/pickle/value.ts'
import { Bucket, isBucketOf, position, type Entries } from './bucket.ts'
import { BTreeNode, isNodeOf, MAX_DEPTH, type NodeContent } from './node.ts'

/** Returned by an attempt that cannot continue: load this ghost, then try again. */
export class Missing {
  readonly ghost: Persistent
  constructor(ghost: Persistent) {
    this.ghost = ghost
  }
}

export interface Step<K extends PickleValue> {
  readonly node: BTreeNode<K>
  /** The child that the path continues with. */
  readonly index: number
}

/** The path from the root to a leaf: a bucket, or the root itself if its entries are inlined. */
export interface Path<K extends PickleValue> {
  readonly steps: readonly Step<K>[]
  readonly leaf: Bucket<K> | BTreeNode<K>
  readonly entries: Entries<K>
}

export const NO_ENTRIES: Entries<never> = { keys: [], values: [] }

/** A root that finds its leaves if the nodes on the path are in memory. */
export abstract class TreePaths<K extends PickleValue> extends BTreeNode<K> {
  /** The path to the leaf for `key`; to the first leaf if `key` is undefined. */
  protected descend(key: K | undefined): Path<K> | Missing {
    return this.#down(this, [], ({ separators }) =>
      key === undefined ? 0 : position(separators, key, this.kind, true),
    )
  }

  protected descendLast(): Path<K> | Missing {
    return this.#down(this, [], ({ children }) => children.length - 1)
  }

  #down(
    node: BTreeNode<K>,
    steps: Step<K>[],
    choose: (content: Readonly<NodeContent<K>>) => number,
  ): Path<K> | Missing {
    const { inlined, children } = node.content
    if (inlined !== undefined || children.length === 0) {
      if (steps.length > 0) throw node.corrupt(NO_CHILDREN)
      return { steps, leaf: node, entries: inlined ?? NO_ENTRIES }
    }
    const index = choose(node.content)
    steps.push({ node, index })
    const child = this.child(node, index, steps.length)
    if (child.status === 'ghost') return new Missing(child)
    this.jar.touch(child)
    if (child instanceof Bucket) return { steps, leaf: child, entries: child.entries }
    return this.#down(child, steps, choose)
  }

  protected child(node: BTreeNode<K>, index: number, depth: number): BTreeNode<K> | Bucket<K> {
    const ref = node.content.children[index]
    if (ref === undefined) throw node.corrupt(NO_CHILDREN)
    if (depth > MAX_DEPTH) throw this.corrupt(`it is deeper than ${MAX_DEPTH} nodes, so it has a loop`)
    return this.resolve(node, ref)
  }

  protected resolve(from: Persistent, ref: Ref): BTreeNode<K> | Bucket<K> {
    const object = this.jar.resolve(ref)
    if (isNodeOf(object, this.kind) || isBucketOf(object, this.kind)) return object
    throw from.corrupt(`it refers to a ${object.className} as a part of a ${this.className}`)
  }

  /** The bucket before that of a path; undefined for the first. */
  protected before({ steps }: Path<K>): Bucket<K> | Missing | undefined {
    const at = steps.findLastIndex(({ index }) => index > 0)
    const turn = steps[at]
    return turn && this.#leafBelow(turn.node, turn.index - 1, at + 1, ({ children }) => children.length - 1)
  }

  /**
   * The bucket after that of a path; undefined for the last. Found through the nodes, because the chain of
   * buckets alone may be damaged and lead anywhere.
   * @throws CorruptRecordError if the chain differs.
   */
  protected after({ steps, leaf }: Path<K>): Bucket<K> | Missing | undefined {
    if (!(leaf instanceof Bucket)) return undefined
    const at = steps.findLastIndex(({ node, index }) => index + 1 < node.content.children.length)
    const turn = steps[at]
    const next = turn && this.#leafBelow(turn.node, turn.index + 1, at + 1, () => 0)
    if (next instanceof Missing) return next
    if (leaf.next?.oid !== next?.oid)
      throw leaf.corrupt(
        next === undefined
          ? `the last bucket is followed by ${leaf.next?.oid}`
          : `the bucket after it should be ${next.oid}`,
      )
    return next
  }

  #leafBelow(
    node: BTreeNode<K>,
    index: number,
    depth: number,
    choose: (content: Readonly<NodeContent<K>>) => number,
  ): Bucket<K> | Missing {
    const child = this.child(node, index, depth)
    if (child.status === 'ghost') return new Missing(child)
    return child instanceof Bucket ? child : this.#leafBelow(child, choose(child.content), depth + 1, choose)
  }
}

const NO_CHILDREN = 'an inner node has no children'
