/** Changes to a BTree within an attempt: set, delete and split, over nodes in memory. */
import type { PickleValue } from '../objects/pickle/value.ts'
import { Bucket, isBucketOf, position, type Entries } from './bucket.ts'
import { BTreeNode, isNodeOf, type NodeContent } from './node.ts'
import { Missing, TreePaths, type Path, type Step } from './tree-paths.ts'

export abstract class TreeChanges<K extends PickleValue> extends TreePaths<K> {
  /** Counts changes to the set of keys. */
  protected version = 0

  protected override clear(): void {
    this.version++
    super.clear()
  }

  /** The number of objects that a set along a path can create: each level may split, and the root gets a new child. */
  protected newObjectsMax({ steps }: Path<K>): number {
    return steps.length + 3
  }

  /** The ghost to load before a split: splitting a node of nodes reads its middle child. */
  protected missingToSplit({ steps }: Path<K>): Missing | undefined {
    for (const [level, { node }] of steps.entries()) {
      const { children } = node.content
      if (children.length < this.kind.maxInternal || children[0]?.className !== this.kind.tree) continue
      const half = (children.length + 1) >> 1
      for (const index of [half - 1, half]) {
        const child = this.child(node, index, level)
        if (child.status === 'ghost') return new Missing(child)
      }
    }
    return undefined
  }

  /** Sets a key at the end of its path; returns whether the key is new. */
  protected setAt(path: Path<K>, key: K, value: PickleValue): boolean {
    const { leaf, entries } = path
    const at = position(entries.keys, key, this.kind)
    const found = entries.keys[at]
    if (found !== undefined && this.kind.compare(found, key) === 0) {
      changeEntries(leaf).values[at] = value
      return false
    }
    this.version++
    const { keys, values } = changeEntries(leaf)
    keys.splice(at, 0, key)
    values.splice(at, 0, value)
    if (leaf instanceof BTreeNode) this.#splitInlined(leaf)
    else this.#splitUpwards(path, leaf)
    return true
  }

  /** Removes the entry at a position of a path's leaf. */
  protected deleteAt(path: Path<K>, at: number, key: K): boolean | Missing {
    const { leaf, entries } = path
    if (leaf instanceof Bucket && entries.keys.length === 1) return this.#deleteLast(path, leaf, key)
    this.version++
    removeEntry(leaf, at)
    for (const step of path.steps) this.#moveSeparator(step, key, entries.keys[0])
    return true
  }

  /** Splits inlined entries into two buckets. */
  #splitInlined(root: BTreeNode<K>): void {
    const { inlined } = root.content
    if (inlined === undefined || inlined.keys.length <= this.kind.maxLeaf) return
    const left = this.#newBucket()
    left.assign(inlined, undefined)
    const { right, separator } = this.#splitBucket(left)
    root.assign({
      inlined: undefined,
      children: [left.ref, right.ref],
      separators: [separator],
      first: left.ref,
    })
  }

  #splitUpwards({ steps }: Path<K>, leaf: Bucket<K>): void {
    let child: Bucket<K> | BTreeNode<K> = leaf
    for (const { node, index } of steps.toReversed()) {
      const isTooBig: boolean =
        child instanceof Bucket
          ? child.entries.keys.length > this.kind.maxLeaf
          : child.content.children.length > this.kind.maxInternal
      if (!isTooBig) return
      this.#splitChild(node, index, child)
      child = node
    }
    if (this.content.children.length >= 2 * this.kind.maxInternal) this.#splitRoot()
  }

  #splitChild(parent: BTreeNode<K>, index: number, child: Bucket<K> | BTreeNode<K>): void {
    const { right, separator } = child instanceof Bucket ? this.#splitBucket(child) : this.#splitNode(child)
    const { children, separators } = parent.change()
    children.splice(index + 1, 0, right.ref)
    separators.splice(index, 0, separator)
  }

  #splitBucket(left: Bucket<K>): { right: Bucket<K>; separator: K } {
    const right = this.#newBucket()
    const { keys, values } = left.change()
    const half = keys.length >> 1
    const separator = keys[half]
    if (separator === undefined) throw left.corrupt('a bucket to be split is empty')
    right.assign({ keys: keys.splice(half), values: values.splice(half) }, left.next)
    left.assign({ keys, values }, right.ref)
    return { right, separator }
  }

  #splitNode(left: BTreeNode<K>): { right: BTreeNode<K>; separator: K } {
    const right = this.#newNode()
    const content = left.change()
    const half = content.children.length >> 1
    const children = content.children.splice(half)
    const [separator, ...separators] = content.separators.splice(half - 1)
    const [leftmost] = children
    if (leftmost === undefined || separator === undefined)
      throw left.corrupt('a node to be split has no children')
    const object = this.resolve(left, leftmost)
    const first = object instanceof Bucket ? leftmost : object.content.first
    right.assign({ inlined: undefined, children, separators, first })
    return { right, separator }
  }

  #splitRoot(): void {
    const child = this.#newNode()
    const content = this.change()
    child.assign({ ...content })
    this.assign({ inlined: undefined, children: [child.ref], separators: [], first: content.first })
    this.#splitChild(this, 0, child)
  }

  /** Removes the only entry of a path's bucket, and with it the bucket. */
  #deleteLast(path: Path<K>, bucket: Bucket<K>, key: K): boolean | Missing {
    const before = this.before(path)
    if (before instanceof Missing) return before
    const next = this.after(path)
    if (next instanceof Missing) return next
    const follows = bucket.next
    this.version++
    before?.assign(before.change(), follows)
    let isFirst = true
    for (const { node, index } of path.steps.toReversed()) {
      const child = this.child(node, index, 0)
      const isEmpty = child === bucket || (child instanceof BTreeNode && child.content.children.length === 0)
      if (isEmpty) {
        removeChild(node.change(), index)
        this.jar.discard(child)
      } else if (next !== undefined) this.#moveSeparator({ node, index }, key, next.entries.keys[0])
      isFirst &&= index === 0
      if (isFirst) node.change().first = node.content.children.length > 0 ? follows : undefined
    }
    this.#inlineNewBucket()
    return true
  }

  /** Inlines the only remaining bucket again if no record refers to it yet. */
  #inlineNewBucket(): void {
    const [ref, other] = this.content.children
    if (ref === undefined || other !== undefined) return
    const bucket = this.jar.known(ref.oid)
    if (!isBucketOf(bucket, this.kind) || !bucket.isNew) return
    this.assign({ inlined: bucket.change(), children: [], separators: [], first: undefined })
    this.jar.discard(bucket)
  }

  /** Replaces a separator equal to the deleted key by the smallest remaining key below it. */
  #moveSeparator({ node, index }: Step<K>, key: K, smallest: K | undefined): void {
    const separator = node.content.separators[index - 1]
    if (index === 0 || separator === undefined || smallest === undefined) return
    if (this.kind.compare(separator, key) === 0) node.change().separators[index - 1] = smallest
  }

  #newBucket(): Bucket<K> {
    const made = this.jar.createReserved(this.kind.bucket)
    if (!isBucketOf(made, this.kind)) throw new TypeError(`${this.kind.bucket} does not make buckets`)
    return made
  }

  #newNode(): BTreeNode<K> {
    const made = this.jar.createReserved(this.kind.tree)
    if (!isNodeOf(made, this.kind)) throw new TypeError(`${this.kind.tree} does not make nodes`)
    return made
  }
}

/** A leaf's entries, for changing. An empty root starts inlining. */
function changeEntries<K extends PickleValue>(leaf: Bucket<K> | BTreeNode<K>): Entries<K> {
  if (leaf instanceof Bucket) return leaf.change()
  return (leaf.change().inlined ??= { keys: [], values: [] })
}

function removeEntry<K extends PickleValue>(leaf: Bucket<K> | BTreeNode<K>, at: number): void {
  const { keys, values } = changeEntries(leaf)
  keys.splice(at, 1)
  values.splice(at, 1)
  if (leaf instanceof BTreeNode && keys.length === 0) leaf.change().inlined = undefined
}

/** Removes a child and the separator before it (after it, for the first child). */
function removeChild<K>({ children, separators }: NodeContent<K>, index: number): void {
  children.splice(index, 1)
  separators.splice(Math.max(0, index - 1), 1)
}
