/** Verifies a whole BTree, as ZODB's BTree.check() does. */
import type { Persistent } from '../objects/persistent.ts'
import type { PickleValue, Ref } from '../objects/pickle/value.ts'
import type { Oid } from '../../store/ids.ts'
import { Turns } from '../turns.ts'
import { isBucketOf, type Bucket } from './bucket.ts'
import { isNodeOf, MAX_DEPTH, type BTreeNode } from './node.ts'

/** The measures of a tree. */
export interface TreeFacts {
  readonly entries: number
  /** Buckets that are objects; 0 while entries are inlined. */
  readonly buckets: number
  readonly nodes: number
  readonly depth: number
}

interface Walk<K extends PickleValue> {
  readonly seen: Set<Oid>
  readonly turns: Turns
  /** The previous bucket, in order of keys. */
  previous: Bucket<K> | undefined
  /** The bucket that follows it, according to its record. */
  expected: Ref | undefined
  leafDepth: number | undefined
  entries: number
  buckets: number
  nodes: number
}

/** Keys in `[lo, hi)`. */
interface Bounds<K> {
  readonly lo: K | undefined
  readonly hi: K | undefined
}

/**
 * Reads every node and bucket of a tree and verifies it: keys ascend and lie between the separators around them,
 * the chain of buckets is in the order of the nodes, every leaf is at the same depth, every node refers to its first
 * bucket, nothing is empty, too large, of another family, or in the tree twice.
 * @throws CorruptRecordError with the object and the reason; ObjectNotFoundError.
 */
export async function checkTree<K extends PickleValue>(
  root: BTreeNode<K>,
  turns = new Turns(),
): Promise<TreeFacts> {
  const walk: Walk<K> = {
    seen: new Set(),
    turns,
    previous: undefined,
    expected: undefined,
    leafDepth: undefined,
    entries: 0,
    buckets: 0,
    nodes: 0,
  }
  await checkNode(root, { lo: undefined, hi: undefined }, 1, walk, 2 * root.kind.maxInternal - 1)
  if (walk.expected !== undefined)
    throw (walk.previous ?? root).corrupt(`the last bucket is followed by ${walk.expected.oid}`)
  const { entries, buckets, nodes, leafDepth = 1 } = walk
  return { entries, buckets, nodes, depth: leafDepth }
}

async function checkNode<K extends PickleValue>(
  node: BTreeNode<K>,
  bounds: Bounds<K>,
  depth: number,
  walk: Walk<K>,
  maxChildren: number,
): Promise<void> {
  meet(node, walk)
  if (depth > MAX_DEPTH) throw node.corrupt(`it is deeper than ${MAX_DEPTH} nodes`)
  walk.nodes++
  await walk.turns.pass()
  await node.activate()
  const { inlined, children, separators, first } = node.content
  if (children.length === 0) {
    if (depth > 1) throw node.corrupt('an inner node has no children')
    walk.entries += inlined?.keys.length ?? 0
    return
  }
  if (children.length > maxChildren) throw node.corrupt(`it has ${children.length} children`)
  for (const key of separators) checkBounds(node, key, bounds)
  const [type] = children
  for (const [i, ref] of children.entries()) {
    if (ref.className !== type?.className) throw node.corrupt('its children are of different kinds')
    const child = node.jar.resolve(ref)
    const within: Bounds<K> = { lo: separators[i - 1] ?? bounds.lo, hi: separators[i] ?? bounds.hi }
    if (isBucketOf(child, node.kind)) {
      if (i === 0 && first?.oid !== child.oid) throw node.corrupt('its first bucket is not its first child')
      await checkBucket(child, within, depth + 1, walk)
    } else if (isNodeOf(child, node.kind)) {
      await checkNode(child, within, depth + 1, walk, node.kind.maxInternal)
      await node.activate()
      if (i === 0 && child.status !== 'ghost' && child.content.first?.oid !== first?.oid)
        throw node.corrupt("its first bucket is not its first child's")
    } else throw node.corrupt(`its child ${ref.oid} is a ${ref.className}`)
  }
}

async function checkBucket<K extends PickleValue>(
  bucket: Bucket<K>,
  bounds: Bounds<K>,
  depth: number,
  walk: Walk<K>,
): Promise<void> {
  meet(bucket, walk)
  if (walk.buckets > 0 && walk.expected?.oid !== bucket.oid)
    throw (walk.previous ?? bucket).corrupt(`the bucket after it should be ${bucket.oid}`)
  walk.leafDepth ??= depth
  if (walk.leafDepth !== depth) throw bucket.corrupt('it is not at the same depth as other buckets')
  await walk.turns.pass()
  await bucket.activate()
  const { keys } = bucket.entries
  if (keys.length === 0) throw bucket.corrupt('it is an empty bucket of a tree')
  if (keys.length > bucket.kind.maxLeaf) throw bucket.corrupt(`it has ${keys.length} entries`)
  for (const key of keys) checkBounds(bucket, key, bounds)
  walk.previous = bucket
  walk.expected = bucket.next
  walk.entries += keys.length
  walk.buckets++
}

function checkBounds<K extends PickleValue>(
  object: Bucket<K> | BTreeNode<K>,
  key: K,
  { lo, hi }: Bounds<K>,
): void {
  const { compare } = object.kind
  if ((lo !== undefined && compare(key, lo) < 0) || (hi !== undefined && compare(key, hi) >= 0))
    throw object.corrupt('one of its keys is not between the separators above it')
}

function meet<K extends PickleValue>(object: Persistent, { seen }: Walk<K>): void {
  if (seen.has(object.oid)) throw object.corrupt('it is in the tree twice')
  seen.add(object.oid)
}
