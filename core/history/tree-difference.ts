/**
 * Finds the differences between two states of a BTree without loading what they share: a bucket that is in both and was
 * not changed by a transaction in between has the same entries.
 */
import { Bucket, isBucketOf, type Entries } from '../btree/bucket.ts'
import { isNodeOf, MAX_DEPTH, type BTreeNode } from '../btree/node.ts'
import type { BTree } from '../btree/tree.ts'
import { Ref, type PickleValue } from '../objects/pickle/value.ts'
import type { Oid } from '../../store/ids.ts'
import type { ObjectChanges } from './changed-objects.ts'

/** A key whose values differ, or may differ. */
export interface EntryPair<K> {
  readonly key: K
  readonly before: PickleValue | undefined
  readonly after: PickleValue | undefined
}

export interface TreePair<K extends PickleValue> {
  readonly before: BTree<K> | undefined
  readonly after: BTree<K> | undefined
  /** The objects that changed between the two moments. */
  readonly changes: Pick<ObjectChanges, 'among'>
}

/** A leaf: entries inlined into the tree, or a bucket to be loaded. */
type Leaf<K extends PickleValue> = Entries<K> | Bucket<K>

/** Buckets loaded together. */
const GROUP = 32

/** The keys that refer to different objects, or exist on one side only; ascending. */
export async function* differingEntries<K extends PickleValue>(
  pair: TreePair<K>,
): AsyncGenerator<EntryPair<K>> {
  for await (const entry of compare(pair, false)) if (oidOf(entry.before) !== oidOf(entry.after)) yield entry
}

/** As {@link differingEntries}, plus the keys whose object is the same but has changed. Reads every bucket. */
export function changedEntries<K extends PickleValue>(pair: TreePair<K>): AsyncGenerator<EntryPair<K>> {
  return compare(pair, true)
}

async function* compare<K extends PickleValue>(
  { before, after, changes }: TreePair<K>,
  looksIntoShared: boolean,
): AsyncGenerator<EntryPair<K>> {
  const kind = (before ?? after)?.kind
  if (kind === undefined) return
  const [left, right] = [await leavesOf(before), await leavesOf(after)]
  const inLeft = new Set(left.filter(leaf => leaf instanceof Bucket).map(({ oid }) => oid))
  const inBoth = right.flatMap(leaf => (leaf instanceof Bucket && inLeft.has(leaf.oid) ? [leaf.oid] : []))
  const changedLeaves = await changes.among(inBoth)
  const shared = new Set(inBoth.filter(oid => !changedLeaves.has(oid)))

  const lefts = entriesOf(left, shared, looksIntoShared ? changes : undefined)
  const rights = entriesOf(right, shared, undefined)
  let [a, b] = [await lefts.next(), await rights.next()]
  while (a.done !== true || b.done !== true) {
    const order = a.done === true ? 1 : b.done === true ? -1 : kind.compare(a.value.key, b.value.key)
    if (order < 0 && a.done !== true) {
      const { key, value, isShared } = a.value
      yield { key, before: value, after: isShared ? value : undefined }
      a = await lefts.next()
    } else if (order > 0 && b.done !== true) {
      yield { key: b.value.key, before: undefined, after: b.value.value }
      b = await rights.next()
    } else if (a.done !== true && b.done !== true) {
      const [from, to] = [oidOf(a.value.value), oidOf(b.value.value)]
      if (from !== to || from === undefined || a.value.hasChanged)
        yield { key: a.value.key, before: a.value.value, after: b.value.value }
      ;[a, b] = [await lefts.next(), await rights.next()]
    }
  }
}

async function leavesOf<K extends PickleValue>(tree: BTree<K> | undefined): Promise<Leaf<K>[]> {
  const leaves: Leaf<K>[] = []
  if (tree !== undefined) await collect(tree, leaves, new Set(), 1)
  return leaves
}

async function collect<K extends PickleValue>(
  node: BTreeNode<K>,
  leaves: Leaf<K>[],
  met: Set<Oid>,
  depth: number,
): Promise<void> {
  if (depth > MAX_DEPTH) throw node.corrupt(`it is deeper than ${MAX_DEPTH} nodes, so it has a loop`)
  await node.activate()
  const { inlined, children } = node.content
  if (inlined !== undefined) leaves.push(inlined)
  for (const ref of children) {
    const child = node.jar.resolve(ref)
    if (met.has(child.oid)) throw child.corrupt('it stands in the tree twice')
    met.add(child.oid)
    if (isBucketOf(child, node.kind)) leaves.push(child)
    else if (isNodeOf(child, node.kind)) await collect(child, leaves, met, depth + 1)
    else throw node.corrupt(`its child ${child.oid} is a ${child.className}`)
  }
}

interface TreeEntry<K> {
  readonly key: K
  readonly value: PickleValue
  readonly isShared: boolean
  /** Whether its object changed; false where the changes are not given. */
  readonly hasChanged: boolean
}

/** The entries of leaves; of shared leaves, only those whose object is among the changes, or none. */
async function* entriesOf<K extends PickleValue>(
  leaves: readonly Leaf<K>[],
  shared: ReadonlySet<Oid>,
  changes: TreePair<K>['changes'] | undefined,
): AsyncGenerator<TreeEntry<K>> {
  const isSharedLeaf = (leaf: Leaf<K>): boolean => leaf instanceof Bucket && shared.has(leaf.oid)
  const wanted = changes === undefined ? leaves.filter(leaf => !isSharedLeaf(leaf)) : leaves
  for (const [i, leaf] of wanted.entries()) {
    if (leaf instanceof Bucket) {
      if (i % GROUP === 0)
        await leaf.jar.loadMany(wanted.slice(i, i + GROUP).filter(leaf => leaf instanceof Bucket))
      await leaf.activate()
    }
    const { keys, values } = leaf instanceof Bucket ? leaf.entries : leaf
    if (leaf instanceof Bucket) leaf.deactivate()
    const changed = await changes?.among(values.flatMap(value => oidOf(value) ?? []))
    const isShared = isSharedLeaf(leaf)
    for (const [j, key] of keys.entries()) {
      const value = values[j] ?? null
      const hasChanged = value instanceof Ref && changed?.has(value.oid) === true
      if (!isShared || hasChanged) yield { key, value, isShared, hasChanged }
    }
  }
}

const oidOf = (value: PickleValue | undefined): Oid | undefined =>
  value instanceof Ref ? value.oid : undefined
