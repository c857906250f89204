/**
 * Finds the bytes of a file that differ between two moments from its objects and their revisions.
 *
 * This reads the buckets of the file's tree of blocks, and the chunk index of each changed block; a chunk that has another
 * oid, or was changed by a transaction in between, differs, unless both records share their bytes: those of a restored or cloned file do. Data is read and compared only for chunks longer than
 * {@link CHUNK_BYTES} (blocks stored whole, and their remains), so that the result is in units of chunks there as well.
 */
import { isChunkIndex } from '../zblk/layout-cache.ts'
import { LOBTree } from '../btree/tree.ts'
import { Blocks, type Extent } from '../big-file/blocks.ts'
import { CHUNK_BYTES, chunkDown, chunkUp } from '../big-file/chunks.ts'
import type { Connection } from '../objects/connection.ts'
import { Ref } from '../objects/pickle/value.ts'
import { findData } from '../zblk/data.ts'
import { oidAt, type ChunkIndex } from '../zblk/chunk-index.ts'
import { BLKSIZE, ZBigFile } from '../zblk/zbigfile.ts'
import { type Oid } from '../../store/ids.ts'
import type { FileData } from '../tree/inode.ts'
import type { ObjectChanges } from './changed-objects.ts'
import { changedEntries } from './tree-difference.ts'

/** Bytes `[lo, hi)` of a file. */
export interface ByteRange {
  readonly lo: bigint
  readonly hi: bigint
}

/** A file's data at a moment. */
export interface FileState {
  readonly connection: Connection
  readonly data: FileData
  /** In bytes. */
  readonly size: bigint
}

/** The chunks at a position of a block, before and after. */
type Chunk = readonly [
  off: number,
  oids: { readonly before: Oid | undefined; readonly after: Oid | undefined },
]

/** A part of a block that may differ, and whether its bytes must be compared. */
interface Candidate extends Extent {
  readonly isLong: boolean
}

/** Ranges that differ, in whole chunks, ascending and apart, within the larger size. @param onBlock is called before each block. */
export async function* changedRanges(
  before: FileState,
  after: FileState,
  changes: Pick<ObjectChanges, 'among'>,
  onBlock?: () => void,
): AsyncGenerator<ByteRange> {
  const end = before.size > after.size ? before.size : after.size
  const ranges = changedBlockRanges(before, after, changes, end, onBlock)
  if (!isInline(before) && !isInline(after)) {
    yield* ranges
    return
  }
  // Inline data is within the first chunk, which is compared; the objects tell the rest.
  const isSame = Buffer.compare(await firstChunk(before), await firstChunk(after)) === 0
  const chunk = BigInt(CHUNK_BYTES)
  let open: ByteRange | undefined = isSame ? undefined : { lo: 0n, hi: end < chunk ? end : chunk }
  for await (const { lo, hi } of ranges) {
    if (hi <= chunk) continue
    const from = lo < chunk ? chunk : lo
    if (open?.hi === from) open = { lo: open.lo, hi }
    else {
      if (open !== undefined) yield open
      open = { lo: from, hi }
    }
  }
  if (open !== undefined) yield open
}

const isInline = ({ data }: FileState): boolean => data instanceof Uint8Array

async function firstChunk(state: FileState): Promise<Uint8Array> {
  const bytes = new Uint8Array(CHUNK_BYTES)
  if (state.data instanceof Uint8Array) bytes.set(state.data.subarray(0, CHUNK_BYTES))
  else {
    let at = 0
    for (const piece of (await (await blocksOf(state))?.read(0, 0, CHUNK_BYTES)) ?? []) {
      bytes.set(piece, at)
      at += piece.length
    }
  }
  return bytes
}

/** The ranges of data in blocks that differ. */
async function* changedBlockRanges(
  before: FileState,
  after: FileState,
  changes: Pick<ObjectChanges, 'among'>,
  end: bigint,
  onBlock?: () => void,
): AsyncGenerator<ByteRange> {
  const [a, b] = [await blocksOf(before), await blocksOf(after)]
  const blksize = (b ?? a)?.blksize ?? BLKSIZE
  if (a !== undefined && b !== undefined && a.blksize !== b.blksize)
    throw b.connection.corrupt(b.blktab.oid, "its file's block size has changed")
  let open: ByteRange | undefined
  for await (const { key: blk } of changedEntries({ before: a?.blktab, after: b?.blktab, changes })) {
    onBlock?.()
    for (const { lo, hi } of await changedExtents(a, b, blk, changes)) {
      const from = BigInt(blk) * BigInt(blksize) + BigInt(lo)
      const to = from + BigInt(hi - lo)
      if (from >= end) continue
      if (open?.hi === from) open = { lo: open.lo, hi: to < end ? to : end }
      else {
        if (open !== undefined) yield open
        open = { lo: from, hi: to < end ? to : end }
      }
    }
  }
  if (open !== undefined) yield open
}

async function blocksOf({ connection, data }: FileState): Promise<Blocks | undefined> {
  if (!(data instanceof Ref)) return undefined
  const file = connection.resolve(data)
  if (!(file instanceof ZBigFile)) throw connection.corrupt(data.oid, "a file's data is not a ZBigFile")
  await file.activate()
  if (!(file.blktab instanceof LOBTree)) throw connection.corrupt(data.oid, 'its blocks are not in a LOBTree')
  return new Blocks(connection, file)
}

/** The parts of one block that differ, in whole chunks. */
async function changedExtents(
  before: Blocks | undefined,
  after: Blocks | undefined,
  blk: number,
  changes: Pick<ObjectChanges, 'among'>,
): Promise<readonly Extent[]> {
  const [from, to] = [await indexOf(before, blk), await indexOf(after, blk)]
  const candidates: Candidate[] = []
  const add = (lo: number, hi: number, isLong: boolean): void => {
    const start = chunkDown(lo)
    const end = chunkUp(hi)
    const last = candidates.at(-1)
    if (last !== undefined && last.hi >= start)
      candidates[candidates.length - 1] = {
        lo: last.lo,
        hi: Math.max(last.hi, end),
        isLong: last.isLong || isLong,
      }
    else if (start < end) candidates.push({ lo: start, hi: end, isLong })
  }
  const all = [...mergeChunks(from, to)]
  const inBoth = all.flatMap(([, { before, after }]) =>
    before === undefined || before !== after ? [] : [before],
  )
  const changed = await changes.among(inBoth)
  const chunks = all.filter(
    ([, oids]) => oids.before === undefined || oids.before !== oids.after || changed.has(oids.before),
  )
  const shared = await sharedChunks(before, after, chunks)
  for (const [index, [off, oids]] of chunks.entries()) {
    if (shared.has(index)) continue
    const lengths = [await lengthOf(before, oids.before), await lengthOf(after, oids.after)]
    add(
      off,
      off + Math.max(...lengths),
      lengths.some(length => length > CHUNK_BYTES),
    )
  }
  const extents: Extent[] = []
  for (const candidate of candidates)
    if (!candidate.isLong || before === undefined || after === undefined) extents.push(candidate)
    else extents.push(...(await compareBytes(before, after, blk, candidate)))
  return extents
}

/** The indexes of the chunks whose records are the same in both moments, as far as that is known without reading them. */
async function sharedChunks(
  before: Blocks | undefined,
  after: Blocks | undefined,
  chunks: readonly Chunk[],
): Promise<ReadonlySet<number>> {
  const shared = new Set<number>()
  if (before === undefined || after === undefined) return shared
  const pairs = chunks.flatMap(([, oids], index) =>
    oids.before === undefined || oids.after === undefined
      ? []
      : [{ index, from: oids.before, to: oids.after }],
  )
  if (pairs.length === 0) return shared
  const from = await before.connection.records.identities(pairs.map(pair => pair.from))
  const to = await after.connection.records.identities(pairs.map(pair => pair.to))
  for (const [at, { index }] of pairs.entries())
    if (from[at] !== undefined && from[at] === to[at]) shared.add(index)
  return shared
}

/** The positions of a block's chunks. A block stored whole is one chunk. */
async function indexOf(blocks: Blocks | undefined, blk: number): Promise<ChunkIndex> {
  const ref = await blocks?.find(blk)
  if (blocks === undefined || ref === undefined) return { offs: new Int32Array(0), oids: new Float64Array(0) }
  const layout = await blocks.layout(blk, ref)
  return isChunkIndex(layout) ? layout : { offs: Int32Array.of(0), oids: Float64Array.of(ref.oid) }
}

function* mergeChunks(before: ChunkIndex, after: ChunkIndex): Generator<Chunk> {
  let [i, j] = [0, 0]
  while (i < before.offs.length || j < after.offs.length) {
    const [from, to] = [before.offs[i] ?? Infinity, after.offs[j] ?? Infinity]
    const off = Math.min(from, to)
    yield [
      off,
      {
        before: from === off ? oidAt(before, i++) : undefined,
        after: to === off ? oidAt(after, j++) : undefined,
      },
    ]
  }
}

async function lengthOf(blocks: Blocks | undefined, oid: Oid | undefined): Promise<number> {
  return blocks === undefined || oid === undefined ? 0 : (await findData(blocks.connection.records, oid)).len
}

async function compareBytes(
  before: Blocks,
  after: Blocks,
  blk: number,
  { lo, hi }: Extent,
): Promise<readonly Extent[]> {
  const end = Math.min(hi, after.blksize)
  const old = Buffer.concat(await before.read(blk, lo, end))
  const now = Buffer.concat(await after.read(blk, lo, end))
  const extents: { lo: number; hi: number }[] = []
  for (let off = 0; off < now.length; off += CHUNK_BYTES) {
    const chunk = now.subarray(off, off + CHUNK_BYTES)
    if (chunk.equals(old.subarray(off, off + CHUNK_BYTES))) continue
    const last = extents.at(-1)
    if (last?.hi === lo + off) last.hi += chunk.length
    else extents.push({ lo: lo + off, hi: lo + off + chunk.length })
  }
  return extents
}
