/**
 * Turns the overlay of a block into records.
 *
 * | written                                         | format 'auto' stores                                         |
 * |-------------------------------------------------|--------------------------------------------------------------|
 * | the whole block                                 | ZBlk0                                                        |
 * | the whole block, shared from one record         | ZBlk0, which shares the record's bytes                       |
 * | its end, so that it is full, and the next block | ZBlk0: it was filled by appending, and the writer moved on    |
 * | its first chunk, and the block has no others    | ZBlk0: a small file needs one record and no tree             |
 * | anything else                                   | ZBlk1 (chunk-plan.ts); a ZBlk0 becomes one without a copy    |
 *
 * The stored part of a block may be damaged. As all changes are stored together, that must not prevent the others from
 * being stored. Unreadable data is **lost**: it becomes a reference to a ZData that does not exist, so that reading it is
 * an error as before, and the written bytes are stored around it.
 */
import { trimmedLength } from '../bytes.ts'
import { Ref } from '../objects/pickle/value.ts'
import { ZBLK0 } from '../objects/record.ts'
import { bodyBytes, dataRecord, type Body } from '../zblk/data.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { TID_NONE } from '../../store/ids.ts'
import type { Blocks, Extent } from './blocks.ts'
import { ChunkPlan, storable } from './chunk-plan.ts'
import { CHUNK_BYTES, chunkUp } from './chunks.ts'
import { ifReadable } from './if-readable.ts'
import { dataExtents } from './extents.ts'
import { Overlay, type Run } from './overlay.ts'
import { Reply } from './reply.ts'

/** How a block's overlay is stored. */
type Outcome =
  | { readonly kind: 'whole'; readonly body: Body; readonly stored: Ref | undefined }
  | { readonly kind: 'chunks'; readonly plan: ChunkPlan; readonly stored: Ref | undefined }

/**
 * Stores a block's overlay. Resolves to the growth of the file's stored data, in bytes of whole chunks.
 * @param isLeft the block after it is being written for the first time.
 */
export async function applyOverlay(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  isLeft: boolean,
): Promise<number> {
  const outcome = await decide(blocks, blk, overlay, isLeft)
  if (outcome === undefined) return 0
  if (outcome.kind === 'whole') return await storeWhole(blocks, blk, outcome.body, outcome.stored)
  const { plan, stored } = outcome
  // Chunks that only get other bytes leave the block's layout as it is: it need not be read again.
  if (plan.keepsLayout) await plan.carryOut()
  else await blocks.whileChanging(blk, stored, () => plan.carryOut())
  return plan.growth
}

/** Loads what {@link applyOverlay} reads. The overlay may change meanwhile. */
export async function loadForOverlay(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  isLeft: boolean,
): Promise<void> {
  const outcome = await decide(blocks, blk, overlay, isLeft)
  if (outcome?.kind === 'chunks') await outcome.plan.load()
  else if (outcome !== undefined) await loadForWhole(blocks, blk, outcome.stored)
}

async function decide(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  isLeft: boolean,
): Promise<Outcome | undefined> {
  const { runs } = overlay
  const stored = await blocks.find(blk)
  if (runs.length === 0 || (stored === undefined && runs.every(isZeros))) return undefined
  const format = blocks.connection.zblkFormat
  const isSmall = format === 'auto' && (await isOneChunk(blocks, runs, stored))
  const isWhole =
    isSmall ||
    format === 'zblk0' ||
    (format === 'auto' && (await fills(blocks, blk, runs, stored !== undefined && isLeft)))
  const end = isSmall ? CHUNK_BYTES : blocks.blksize
  const body = isWhole ? await wholeBody(blocks, blk, overlay, end) : undefined
  if (body !== undefined) return { kind: 'whole', body, stored }
  return { kind: 'chunks', plan: await ChunkPlan.of(blocks, blk, runs, stored), stored }
}

/** Converts a full ZBlk1 to a ZBlk0 once its writer has moved on. An unreadable one is left unchanged. */
export async function migrateLeft(blocks: Blocks, blk: number): Promise<void> {
  const found = await fullChunks(blocks, blk, new Overlay(blocks.blksize))
  if (found !== undefined) await storeWhole(blocks, blk, found.body, found.stored)
}

/** Loads what {@link migrateLeft} reads once the block's overlay is applied. */
export async function loadToMigrateLeft(
  blocks: Blocks,
  blk: number,
  overlay: Overlay | undefined,
): Promise<void> {
  const found = await fullChunks(blocks, blk, overlay ?? new Overlay(blocks.blksize))
  if (found !== undefined) await loadForWhole(blocks, blk, found.stored)
}

/** The bytes of a ZBlk1 that is full, alone or with its overlay. */
async function fullChunks(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
): Promise<{ readonly body: Body; readonly stored: Ref } | undefined> {
  const stored = await blocks.find(blk)
  if (stored?.className !== ZBlk1.CLASS_NAME) return undefined
  const { blksize } = blocks
  const extents = (await ifReadable(() => blocks.extents(blk))) ?? []
  const [extent] = overlay.isEmpty ? extents : dataExtents(overlay.segments(0, blksize), extents, blksize)
  if (extent?.lo !== 0 || extent.hi !== blksize) return undefined
  const body = await wholeBody(blocks, blk, overlay, blksize)
  return body && { body, stored }
}

/** Whether runs cover a whole block, alone or (`withStored`) together with the stored part. */
async function fills(
  blocks: Blocks,
  blk: number,
  runs: readonly Run[],
  withStored: boolean,
): Promise<boolean> {
  const isShared = runs.some(({ slice }) => slice !== undefined)
  if (isShared) return isOneSlice(runs, blocks.blksize)
  const written: Extent[] = runs.filter(run => !isZeros(run))
  if (written.at(-1)?.hi !== blocks.blksize || written.length !== runs.length) return false
  if (isOnePiece(written, blocks.blksize)) return true
  if (!withStored) return false
  const extents = await ifReadable(() => blocks.extents(blk))
  if (extents === undefined || extents.at(-1)?.hi === blocks.blksize) return false
  return isOnePiece(
    [...written, ...extents].toSorted((a, b) => a.lo - b.lo),
    blocks.blksize,
  )
}

/** Whether a block with its overlay is at most a chunk long. A ZBlk1 stays one. */
async function isOneChunk(blocks: Blocks, runs: readonly Run[], stored: Ref | undefined): Promise<boolean> {
  // Zeros beyond the first chunk do not make the block longer.
  if (runs.some(run => run.slice !== undefined || (run.hi > CHUNK_BYTES && !isZeros(run)))) return false
  if (stored === undefined) return true
  if (stored.className !== ZBLK0) return false
  const data = await blocks.dataIfReadable(stored.oid)
  return data !== undefined && data.len <= CHUNK_BYTES
}

const isZeros = ({ bytes, slice }: Run): boolean => bytes === undefined && slice === undefined

const isOneSlice = ([run, ...others]: readonly Run[], blksize: number): boolean =>
  run?.slice !== undefined && others.length === 0 && run.lo === 0 && run.hi === blksize

function isOnePiece(extents: readonly Extent[], blksize: number): boolean {
  let end = 0
  for (const { lo, hi } of extents) {
    if (lo > end) return false
    end = Math.max(end, hi)
  }
  return end === blksize
}

// ---- as ZBlk0

async function loadForWhole(blocks: Blocks, blk: number, stored: Ref | undefined): Promise<void> {
  await ifReadable(() => storedBytes(blocks, blk))
  if (stored?.className === ZBLK0) await blocks.dataIfReadable(stored.oid)
  else await blocks.blktab.loadToSet(blk)
}

async function storeWhole(blocks: Blocks, blk: number, body: Body, stored: Ref | undefined): Promise<number> {
  const before = (await ifReadable(() => storedBytes(blocks, blk))) ?? 0
  const { connection } = blocks
  const source = dataRecord(ZBLK0, body)
  // Before the change, which makes the block's layout be forgotten.
  const base = stored?.className === ZBLK0 ? await blocks.dataIfReadable(stored.oid) : undefined
  await blocks.whileChanging(blk, stored, async () => {
    if (stored !== undefined && base !== undefined) connection.putRecord(stored.oid, ZBLK0, source, base.tid)
    else {
      const oid = await connection.newOids(1)
      connection.putRecord(oid, ZBLK0, source, TID_NONE)
      await blocks.blktab.set(blk, new Ref(oid, ZBLK0))
    }
  })
  return chunkUp(bodyBytes(body)) - before
}

/** A block's bytes `[0, end)` with its overlay applied; undefined if they cannot be read, or are too many for this commit. */
async function wholeBody(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  end: number,
): Promise<Body | undefined> {
  const [run] = overlay.isShared ? overlay.runs : []
  if (run?.slice !== undefined && isOneSlice(overlay.runs, blocks.blksize))
    return await storable(blocks, run.slice)
  return await ifReadable(() => readWhole(blocks, blk, overlay, end))
}

async function readWhole(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  end: number,
): Promise<Uint8Array[] | undefined> {
  const reply = new Reply(end)
  for (const segment of overlay.segments(0, end)) {
    const { kind, lo, hi } = segment
    if (kind === 'bytes') reply.place(lo, segment.bytes)
    else if (kind === 'shared') reply.slice(lo, segment.slice)
    else if (kind === 'stored') await blocks.plan(blk, lo, hi, reply, lo)
  }
  const { keptReads, zblkFormat } = blocks.connection
  const isOptional = zblkFormat !== 'zblk0' && end > CHUNK_BYTES
  if (isOptional && !keptReads.allows(reply.toRead)) return undefined
  await reply.fetch(keptReads)
  const pieces = reply.pieces()
  trim(pieces)
  return pieces
}

/** Removes trailing zeros. */
function trim(pieces: Uint8Array[]): void {
  for (let last = pieces.pop(); last !== undefined; last = pieces.pop()) {
    const length = trimmedLength(last)
    if (length === 0) continue
    pieces.push(length === last.length ? last : last.subarray(0, length))
    break
  }
}

/** The stored bytes of a block, in whole chunks. */
export async function storedBytes(blocks: Blocks, blk: number): Promise<number> {
  let bytes = 0
  for (const { lo, hi } of await blocks.extents(blk)) bytes += chunkUp(hi - lo)
  return bytes
}
