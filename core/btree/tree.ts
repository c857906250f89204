/**
 * A BTree: an ordered map kept in small records, that grows, splits and empties as ZODB's BTrees do.
 *
 * - A bucket or node that has grown beyond its maximum splits at `length >> 1`; the right part's first key becomes
 *   the separator. The root splits at twice its maximum: it moves its content into a new child, which splits.
 * - Deleting merges nothing. An emptied bucket is unlinked; a separator equal to the deleted key moves on to the
 *   smallest key below it.
 *
 * Every operation is an **attempt**: plain synchronous code over the nodes in memory, which, when it meets a ghost,
 * gives up before it has changed anything; the ghost is loaded and the attempt repeated. So an operation sees and
 * makes a tree that is whole, whatever else goes on between its attempts. Operations that change one tree must not
 * run at the same time (those that read may).
 *
 * A damaged tree (loops, wrong types, keys out of order on the way) is a CorruptRecordError.
 */
import type { Oid } from '../../store/ids.ts'
import type { Jar } from '../objects/persistent.ts'
import type { PickleValue } from '../objects/pickle/value.ts'
import { Bucket, position, type Entries } from './bucket.ts'
import { IO, LO, OO, type ObjectKey } from './kind.ts'
import { BTreeNode, type NodeContent } from './node.ts'
import { Missing, NO_ENTRIES, TreePaths, type Path, type Step } from './tree-paths.ts'

/** Entries `[lo, hi)` (`(lo, hi)` with `after`), ascending, or from the end when `reverse`. */
export interface KeyRange<K> {
  readonly lo?: K | undefined
  readonly after?: boolean
  readonly hi?: K | undefined
  readonly reverse?: boolean
}

export abstract class BTree<K extends PickleValue> extends TreePaths<K> {
  #version = 0

  /** The value of a key; undefined where there is none. */
  async get(key: K): Promise<PickleValue | undefined> {
    return this.#attempt(() => {
      const path = this.descend(key)
      if (path instanceof Missing) return path
      const at = this.#find(path.entries, key)
      return at < 0 ? undefined : path.entries.values[at]
    })
  }

  /** Sets a key's value. Resolves to whether the key is new. @throws RangeError for a key out of range. */
  async set(key: K, value: PickleValue): Promise<boolean> {
    const refused = this.kind.refuse(key)
    if (refused !== undefined) throw new RangeError(`no key for a ${this.className}: ${refused}`)
    return this.#attempt(() => {
      const path = this.descend(key)
      if (path instanceof Missing) return path
      const missing = this.#missingToSplit(path)
      if (missing !== undefined) return missing
      // Every level may split, the leaf into two new buckets, and the root gets a new child.
      const reserved = this.jar.reserveOids(path.steps.length + 3)
      return reserved === undefined ? this.#set(path, key, value) : new Awaited(reserved)
    })
  }

  /** Removes a key. Resolves to whether it was there. */
  async delete(key: K): Promise<boolean> {
    return this.#attempt(() => {
      const path = this.descend(key)
      if (path instanceof Missing) return path
      const at = this.#find(path.entries, key)
      if (at < 0) return false
      if (path.leaf instanceof Bucket && path.entries.keys.length === 1) return this.#deleteLast(path, key)
      this.#version++
      removeEntry(path.leaf, at)
      for (const step of path.steps) this.#moveSeparator(step, key, path.entries.keys[0])
      return true
    })
  }

  /** Removes everything. */
  async clearAll(): Promise<void> {
    await this.activate()
    this.#version++
    Object.assign(this.change(), { inlined: undefined, children: [], separators: [], first: undefined })
  }

  /** The smallest key `>= from`; undefined where there is none. */
  async minKey(from?: K): Promise<K | undefined> {
    return (await this.batch({ lo: from }, 1)).keys[0]
  }

  /** The largest key `< below`; undefined where there is none. */
  async maxKey(below?: K): Promise<K | undefined> {
    return (await this.batch({ hi: below, reverse: true }, 1)).keys[0]
  }

  /** The number of entries. Reads every bucket. */
  async count(): Promise<number> {
    let count = 0
    let range: KeyRange<K> = {}
    for (;;) {
      const { keys } = await this.batch(range, Infinity)
      const last = keys.at(-1)
      if (last === undefined) return count
      count += keys.length
      range = { lo: last, after: true }
    }
  }

  /** The first entries of a range: at least one if there is one, at most `limit`, at most a bucket's. */
  async batch(range: KeyRange<K>, limit: number): Promise<Entries<K>> {
    return this.#attempt(() =>
      range.reverse === true ? this.#last(range, limit) : this.#first(range, limit),
    )
  }

  /** The entries of a range, one after the other. The tree may change meanwhile: it goes on by key. */
  async *range(range: KeyRange<K> = {}): AsyncGenerator<[K, PickleValue]> {
    let rest = range
    for (;;) {
      const { keys, values } = await this.batch(rest, Infinity)
      if (keys.length === 0) return
      const version = this.#version
      for (const [i, key] of keys.entries()) {
        rest = range.reverse === true ? { ...range, hi: key } : { ...range, lo: key, after: true }
        yield [key, values[i] ?? null]
        if (version !== this.#version) break
      }
    }
  }

  protected override clear(): void {
    this.#version++
    super.clear()
  }

  async #attempt<T>(attempt: () => T | Missing | Awaited): Promise<T> {
    for (;;) {
      if (this.status === 'ghost') await this.activate()
      const result = attempt()
      if (result instanceof Missing) await result.ghost.activate()
      else if (result instanceof Awaited) await result.done
      else {
        this.jar.touch(this)
        return result
      }
    }
  }

  #find({ keys }: Entries<K>, key: K): number {
    const at = position(keys, key, this.kind)
    const found = keys[at]
    return found !== undefined && this.kind.compare(found, key) === 0 ? at : -1
  }

  // ---- ranges

  #first({ lo, after, hi }: KeyRange<K>, limit: number): Entries<K> | Missing {
    const path = this.descend(lo)
    if (path instanceof Missing) return path
    let { entries, leaf } = path
    let from = lo === undefined ? 0 : position(entries.keys, lo, this.kind, after ?? false)
    while (from === entries.keys.length && leaf instanceof Bucket && leaf.next !== undefined) {
      const last = entries.keys.at(-1)
      const next = this.resolveBucket(leaf, leaf.next)
      if (next.status === 'ghost') return new Missing(next)
      const first = next.entries.keys[0]
      if (first === undefined) throw next.corrupt('a bucket of a tree is empty')
      if (last !== undefined && this.kind.compare(last, first) >= 0)
        throw next.corrupt('it does not ascend from the bucket before it')
      leaf = next
      entries = next.entries
      from = lo === undefined ? 0 : position(entries.keys, lo, this.kind, after ?? false)
    }
    const end = hi === undefined ? entries.keys.length : position(entries.keys, hi, this.kind)
    const to = Math.min(end, from + limit)
    return { keys: entries.keys.slice(from, to), values: entries.values.slice(from, to) }
  }

  #last({ lo, after, hi }: KeyRange<K>, limit: number): Entries<K> | Missing {
    const path = hi === undefined ? this.descendLast() : this.descend(hi)
    if (path instanceof Missing) return path
    let { entries } = path
    let end = hi === undefined ? entries.keys.length : position(entries.keys, hi, this.kind)
    if (end === 0) {
      const before = this.before(path)
      if (before === undefined) return NO_ENTRIES
      if (before instanceof Missing) return before
      entries = before.entries
      end = entries.keys.length
      const last = entries.keys.at(-1)
      if (hi !== undefined && last !== undefined && this.kind.compare(last, hi) >= 0)
        throw before.corrupt('its keys reach beyond its separator')
    }
    const start = lo === undefined ? 0 : position(entries.keys, lo, this.kind, after ?? false)
    const from = Math.max(start, end - limit)
    return {
      keys: entries.keys.slice(from, end).toReversed(),
      values: entries.values.slice(from, end).toReversed(),
    }
  }

  // ---- changes

  #set(path: Path<K>, key: K, value: PickleValue): boolean {
    const { leaf, entries } = path
    const at = position(entries.keys, key, this.kind)
    const found = entries.keys[at]
    const isNew = found === undefined || this.kind.compare(found, key) !== 0
    if (!isNew) {
      changeEntries(leaf).values[at] = value
      return false
    }
    this.#version++
    const { keys, values } = changeEntries(leaf)
    keys.splice(at, 0, key)
    values.splice(at, 0, value)
    if (leaf instanceof BTreeNode) this.#splitInlined(leaf)
    else this.#splitUpwards(path, leaf)
    return true
  }

  /** Inlined entries that became too many become two buckets. */
  #splitInlined(root: BTreeNode<K>): void {
    const { inlined } = root.content
    if (inlined === undefined || inlined.keys.length <= this.kind.maxLeaf) return
    const bucket = this.#newBucket()
    bucket.assign(inlined, undefined)
    const right = this.#splitBucket(bucket)
    Object.assign(root.change(), {
      inlined: undefined,
      children: [bucket.ref, right.ref],
      separators: [right.entries.keys[0]],
      first: bucket.ref,
    })
  }

  /** Splitting a node of nodes looks into the child in its middle, which may be a ghost. */
  #missingToSplit({ steps }: Path<K>): Missing | undefined {
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

  #splitUpwards({ steps }: Path<K>, leaf: Bucket<K>): void {
    let child: Bucket<K> | BTreeNode<K> = leaf
    for (let level = steps.length - 1; level >= 0; level--) {
      const { node, index } = steps[level] as Step<K>
      const tooBig: boolean =
        child instanceof Bucket
          ? child.entries.keys.length > this.kind.maxLeaf
          : child.content.children.length > this.kind.maxInternal
      if (!tooBig) return
      this.#splitChild(node, index, child)
      child = node
    }
    if (this.content.children.length >= 2 * this.kind.maxInternal) this.#splitRoot()
  }

  #splitChild(parent: BTreeNode<K>, index: number, child: Bucket<K> | BTreeNode<K>): void {
    const content = parent.change()
    if (child instanceof Bucket) {
      const right = this.#splitBucket(child)
      content.children.splice(index + 1, 0, right.ref)
      content.separators.splice(index, 0, right.entries.keys[0] as K)
    } else {
      const { right, separator } = this.#splitNode(child)
      content.children.splice(index + 1, 0, right.ref)
      content.separators.splice(index, 0, separator)
    }
  }

  #splitBucket(left: Bucket<K>): Bucket<K> {
    const right = this.#newBucket()
    const { keys, values } = left.change()
    const half = keys.length >> 1
    right.assign({ keys: keys.splice(half), values: values.splice(half) }, left.next)
    left.assign({ keys, values }, right.ref)
    return right
  }

  #splitNode(left: BTreeNode<K>): { right: BTreeNode<K>; separator: K } {
    const right = this.jar.createReserved(this.kind.tree) as BTreeNode<K>
    const content = left.change()
    const half = content.children.length >> 1
    const children = content.children.splice(half)
    const [separator, ...separators] = content.separators.splice(half - 1)
    const [leftmost] = children
    if (leftmost === undefined || separator === undefined)
      throw left.corrupt('a node to be split has no children')
    const object = this.resolve(left, leftmost)
    const first = object instanceof Bucket ? leftmost : object.content.first
    Object.assign(right.change(), { children, separators, first })
    return { right, separator }
  }

  #splitRoot(): void {
    const child = this.jar.createReserved(this.kind.tree) as BTreeNode<K>
    const content = this.change()
    Object.assign(child.change(), content)
    Object.assign(content, { inlined: undefined, children: [child.ref], separators: [] })
    this.#splitChild(this, 0, child)
  }

  /** Removes the only entry of a path's bucket, and with it the bucket. */
  #deleteLast(path: Path<K>, key: K): boolean | Missing {
    const bucket = path.leaf as Bucket<K>
    const before = this.before(path)
    if (before instanceof Missing) return before
    const follows = bucket.next
    const next = follows === undefined ? undefined : this.resolveBucket(bucket, follows)
    if (next?.status === 'ghost') return new Missing(next)
    this.#version++
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

  /** A bucket that is left alone, and that no record knows of yet, is inlined again. */
  #inlineNewBucket(): void {
    const [ref, other] = this.content.children
    if (ref === undefined || other !== undefined) return
    const bucket = this.jar.known(ref.oid)
    if (!(bucket instanceof Bucket) || !bucket.isNew) return
    const inlined = bucket.entries as Entries<K>
    Object.assign(this.change(), { inlined, children: [], separators: [], first: undefined })
    this.jar.discard(bucket)
  }

  /** Where a separator on the way equals the deleted key, the smallest key left below takes its place. */
  #moveSeparator({ node, index }: Step<K>, key: K, smallest: K | undefined): void {
    const separator = node.content.separators[index - 1]
    if (index === 0 || separator === undefined || smallest === undefined) return
    if (this.kind.compare(separator, key) === 0) node.change().separators[index - 1] = smallest
  }

  #newBucket(): Bucket<K> {
    return this.jar.createReserved(this.kind.bucket) as Bucket<K>
  }
}

/** What an attempt has to wait for, other than a ghost. */
class Awaited {
  readonly done: Promise<void>
  constructor(done: Promise<void>) {
    this.done = done
  }
}

/** A leaf's entries, to be changed. An empty root begins to inline. */
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

/** Removes a child, and with it the separator before it (of the first child, the one after it). */
function removeChild<K>({ children, separators }: NodeContent<K>, index: number): void {
  children.splice(index, 1)
  separators.splice(Math.max(0, index - 1), 1)
}

export class IOBTree extends BTree<number> {
  static readonly CLASS_NAME = IO.tree
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, IO)
  }
}

export class LOBTree extends BTree<number> {
  static readonly CLASS_NAME = LO.tree
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, LO)
  }
}

export class OOBTree extends BTree<ObjectKey> {
  static readonly CLASS_NAME = OO.tree
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, OO)
  }
}
