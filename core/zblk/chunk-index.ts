/**
 * Reads the positions of a ZBlk1's chunks from its chunktab into two flat arrays of offsets and oids; and the **recursive
 * deactivation** that goes with it. Reading a block must leave only the ZBlk1 and its chunktab, a ghost, in memory, so
 * each bucket becomes a ghost as soon as its entries are read, and each node after its children, at any depth, even if it
 * was in memory before. Changed objects stay.
 */
import { isBucketOf } from '../btree/bucket.ts'
import { IO } from '../btree/kind.ts'
import { isNodeOf, MAX_DEPTH, type BTreeNode } from '../btree/node.ts'
import type { Persistent } from '../objects/persistent.ts'
import { Ref, type PickleValue } from '../objects/pickle/value.ts'
import { oid as oidOf, type Oid } from '../../store/ids.ts'
import { ZData, type ZBlk1 } from './zblk.ts'

/** Chunk i begins at `offs[i]` of its block; its ZData is `oids[i]`. Offsets ascend. */
export interface ChunkIndex {
  readonly offs: Int32Array
  readonly oids: Float64Array
}

/** The ZData of chunk `i`. */
export const oidAt = ({ oids }: ChunkIndex, i: number): Oid => oidOf(oids[i] ?? 0)

/** The last chunk that begins at `off` or before it; 0 if there is none. */
export function chunkAt({ offs }: ChunkIndex, off: number): number {
  let lo = 0
  let hi = offs.length
  while (lo < hi) {
    const middle = (lo + hi) >>> 1
    if ((offs[middle] as number) <= off) lo = middle + 1
    else hi = middle
  }
  return Math.max(0, lo - 1)
}

/** Buckets loaded together: those of a whole block in the usual layout. */
const GROUP = 32
/** Maximum number of chunks, to bound memory: in the usual layout the largest block has 65,536. */
const CHUNKS_MAX = 1 << 20

interface Collected {
  readonly offs: number[]
  readonly oids: Oid[]
}

/**
 * Reads the index of a block and deactivates its whole chunk tree, ZData objects included.
 * @throws CorruptRecordError if the tree is damaged or its keys are outside of `[0, blksize)`.
 */
export async function loadChunkIndex(block: ZBlk1, blksize: number): Promise<ChunkIndex> {
  await block.activate()
  const collected: Collected = { offs: [], oids: [] }
  await collect(block.chunktab, collected, blksize, 1)
  return { offs: Int32Array.from(collected.offs), oids: Float64Array.from(collected.oids) }
}

async function collect(
  node: BTreeNode<number>,
  collected: Collected,
  blksize: number,
  depth: number,
): Promise<void> {
  if (depth > MAX_DEPTH) throw node.corrupt(`it is deeper than ${MAX_DEPTH} nodes, so it has a loop`)
  // Another reader of the block may deactivate a node that was just loaded.
  while (node.status === 'ghost') await node.activate()
  const { inlined, children } = node.content
  if (children.length === 0 && depth > 1) throw node.corrupt('an inner node has no children')
  if (inlined !== undefined) take(node, inlined.keys, inlined.values, collected, blksize)
  for (let i = 0; i < children.length; i += GROUP) {
    const group = children.slice(i, i + GROUP).map(ref => node.jar.resolve(ref))
    await node.jar.loadMany(group.filter(child => isBucketOf(child, IO)))
    for (const child of group) {
      if (isBucketOf(child, IO)) {
        while (child.status === 'ghost') await child.activate()
        const { keys, values } = child.entries
        // So each step of the walk consumes chunks, however often nodes refer to one another.
        if (keys.length === 0) throw child.corrupt('it is an empty bucket of a tree')
        take(child, keys, values, collected, blksize)
        child.deactivate()
      } else if (isNodeOf(child, IO)) await collect(child, collected, blksize, depth + 1)
      else throw node.corrupt(`its child ${child.oid} is a ${child.className}`)
    }
  }
  node.deactivate()
}

function take(
  from: Persistent,
  keys: readonly number[],
  values: readonly PickleValue[],
  { offs, oids }: Collected,
  blksize: number,
): void {
  for (const [i, key] of keys.entries()) {
    const value = values[i]
    if (!(value instanceof Ref) || value.className !== ZData.CLASS_NAME)
      throw from.corrupt(`the chunk at ${key} is not a reference to a ZData`)
    if (key < 0 || key >= blksize) throw from.corrupt(`a chunk begins at ${key}, outside the block`)
    if (offs.length >= CHUNKS_MAX) throw from.corrupt(`a block has more than ${CHUNKS_MAX} chunks`)
    if (key <= (offs.at(-1) ?? -1)) throw from.corrupt(`the chunk at ${key} does not ascend`)
    offs.push(key)
    oids.push(value.oid)
    from.jar.known(value.oid)?.deactivate()
  }
}
