/** The ways through a BTree: from its root down to a leaf, and to the leaf before. */
import type { Persistent } from '../objects/persistent.ts'
import type { PickleValue, Ref } from '../objects/pickle/value.ts'
import { Bucket, position, type Entries } from './bucket.ts'
import { BTreeNode, type NodeContent } from './node.ts'

/** What an attempt gives up with: load this, then try again. */
export class Missing {
  readonly ghost: Persistent
  constructor(ghost: Persistent) {
    this.ghost = ghost
  }
}

export interface Step<K extends PickleValue> {
  readonly node: BTreeNode<K>
  /** Which child the way goes through. */
  readonly index: number
}

/** The way from the root to a leaf: a bucket, or the root itself where entries are inlined. */
export interface Path<K extends PickleValue> {
  readonly steps: readonly Step<K>[]
  readonly leaf: Bucket<K> | BTreeNode<K>
  readonly entries: Entries<K>
}

/** No tree that fits on a disk is deeper; a deeper one has a loop. */
const MAX_DEPTH = 32

export const NO_ENTRIES: Entries<never> = { keys: [], values: [] }

/** A root that finds its leaves, as far as the nodes on the way are in memory. */
export abstract class TreePaths<K extends PickleValue> extends BTreeNode<K> {
  /** The way to the leaf that has `key`, if any has; undefined stands for the smallest key. */
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
      if (steps.length > 0) throw node.corrupt('a node within a tree has no children')
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
    if (ref === undefined) throw node.corrupt(`it has no child ${index}`)
    if (depth > MAX_DEPTH) throw this.corrupt(`it is deeper than ${MAX_DEPTH} nodes, so it has a loop`)
    return this.resolve(node, ref)
  }

  protected resolve(
    from: Persistent & { corrupt(reason: string): Error },
    ref: Ref,
  ): BTreeNode<K> | Bucket<K> {
    const object = this.jar.resolve(ref)
    if (object instanceof BTreeNode || object instanceof Bucket) {
      if (object.kind === this.kind) return object as BTreeNode<K> | Bucket<K>
    }
    throw from.corrupt(`it refers to a ${object.className} as a part of a ${this.className}`)
  }

  protected resolveBucket(from: Persistent & { corrupt(reason: string): Error }, ref: Ref): Bucket<K> {
    const bucket = this.resolve(from, ref)
    if (bucket instanceof Bucket) return bucket
    throw from.corrupt(`what follows a bucket is a ${bucket.className}`)
  }

  /** The bucket before that of a path; undefined for the first. */
  protected before({ steps }: Path<K>): Bucket<K> | Missing | undefined {
    const at = steps.findLastIndex(({ index }) => index > 0)
    const turn = steps[at]
    if (turn === undefined) return undefined
    let child = this.child(turn.node, turn.index - 1, at + 1)
    for (let depth = at + 2; ; depth++) {
      if (child.status === 'ghost') return new Missing(child)
      if (child instanceof Bucket) return child
      child = this.child(child, child.content.children.length - 1, depth)
    }
  }
}
