/**
 * Turns the overlay of a block into records.
 *
 * | what was written                                | format 'auto' makes it                                    |
 * |-------------------------------------------------|-----------------------------------------------------------|
 * | the whole block                                 | ZBlk0                                                     |
 * | its end, so that it is full, and the next block | ZBlk0: it was filled by appending, and is left            |
 * | anything else                                   | ZBlk1; a ZBlk0 becomes one without its data being touched |
 *
 * In a ZBlk1 each chunk of {@link CHUNK_BYTES} that was written becomes a ZData, of the oid that it had; but a run from
 * {@link LONG_BYTES} on becomes one long chunk, which costs a read of it one record instead of hundreds. A long chunk
 * (or what is left of a ZBlk0) is cut around what is written later: the parts are new ZData that share the stored
 * bytes. It is never changed in place, so that those who are reading it find it as it was.
 */
import { IOBTree } from '../btree/tree.ts'
import { trimmedLength } from '../bytes.ts'
import { Ref } from '../pickle/value.ts'
import { ZBLK0, ZDATA } from '../record.ts'
import { cutBody, dataRecord, findData, type Body, type StoredData } from '../zblk/data.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'
import { TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { pushZeros, type Blocks, type Extent } from './blocks.ts'
import { CHUNK_BYTES, type Overlay, type Run } from './overlay.ts'

/** Shorter runs may well be changed again as they were written, by the page: their chunks keep their places. */
const LONG_BYTES = 65_536

/** What is to be done to a ZBlk1's chunks. */
interface Plan {
  /** New chunks. */
  readonly puts: { readonly off: number; readonly body: Body; readonly len: number }[]
  /** Chunks that keep their oid. */
  readonly rewrites: { readonly oid: Oid; readonly tid: Tid; readonly body: Body }[]
  /** Offsets of chunks that go. */
  readonly deletes: Set<number>
  /** By how much what is stored grows, in bytes of whole chunks. */
  growth: number
}

/**
 * Stores a block's overlay. Resolves to by how many bytes, in whole chunks, the file's stored data grows.
 * @param isLeft the block after it is being written for the first time.
 */
export async function applyOverlay(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  isLeft: boolean,
): Promise<number> {
  const { runs } = overlay
  const stored = await blocks.find(blk)
  if (stored === undefined && runs.every(({ bytes }) => bytes === undefined)) return 0
  const format = blocks.connection.zblkFormat
  const isWhole =
    format === 'zblk0' ||
    (format === 'auto' && (await fills(blocks, blk, runs, stored !== undefined && isLeft)))
  return isWhole ? storeWhole(blocks, blk, overlay, stored) : storeChunks(blocks, blk, runs, stored)
}

/** Makes a full ZBlk1 that was left behind a ZBlk0. One that cannot be read stays as it is. */
export async function migrateLeft(blocks: Blocks, blk: number, empty: Overlay): Promise<void> {
  const stored = await blocks.find(blk)
  if (stored?.className !== ZBlk1.CLASS_NAME) return
  try {
    const [extent] = await blocks.extents(blk)
    if (extent?.lo === 0 && extent.hi === blocks.blksize) await storeWhole(blocks, blk, empty, stored)
  } catch (error) {
    if (!(error instanceof CorruptRecordError || error instanceof ObjectNotFoundError)) throw error
  }
}

/** Whether runs cover a block, alone or (`withStored`) by adding its end to what is stored. */
async function fills(
  blocks: Blocks,
  blk: number,
  runs: readonly Run[],
  withStored: boolean,
): Promise<boolean> {
  const written: Extent[] = runs.filter(({ bytes }) => bytes !== undefined)
  if (written.at(-1)?.hi !== blocks.blksize || written.length !== runs.length) return false
  if (isOnePiece(written, blocks.blksize)) return true
  if (!withStored) return false
  const extents = await blocks.extents(blk)
  if (extents.at(-1)?.hi === blocks.blksize) return false
  return isOnePiece(
    [...written, ...extents].toSorted((a, b) => a.lo - b.lo),
    blocks.blksize,
  )
}

function isOnePiece(extents: readonly Extent[], blksize: number): boolean {
  let end = 0
  for (const { lo, hi } of extents) {
    if (lo > end) return false
    end = Math.max(end, hi)
  }
  return end === blksize
}

// ---- as ZBlk0

async function storeWhole(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  stored: Ref | undefined,
): Promise<number> {
  const before = await storedBytes(blocks, blk)
  const pieces: Uint8Array[] = []
  for (const segment of overlay.segments(0, blocks.blksize)) {
    if (segment.kind === 'bytes') pieces.push(segment.bytes)
    else if (segment.kind === 'zeros') pushZeros(pieces, segment.hi - segment.lo)
    else pieces.push(...(await blocks.read(blk, segment.lo, segment.hi)))
  }
  const length = trim(pieces)
  const { connection } = blocks
  const source = dataRecord(ZBLK0, pieces)
  await blocks.whileChanging(blk, stored, async () => {
    if (stored?.className === ZBLK0) {
      const { tid } = await findData(connection, stored.oid)
      connection.putRecord(stored.oid, ZBLK0, source, tid)
    } else {
      const oid = connection.newOids(1)
      connection.putRecord(oid, ZBLK0, source, TID_NONE)
      await blocks.blktab.set(blk, new Ref(oid, ZBLK0))
    }
  })
  return wholeChunks(length) - before
}

/** Cuts the zeros at the end off. Returns the length in bytes. */
function trim(pieces: Uint8Array[]): number {
  for (let last = pieces.pop(); last !== undefined; last = pieces.pop()) {
    const length = trimmedLength(last)
    if (length === 0) continue
    pieces.push(length === last.length ? last : last.subarray(0, length))
    break
  }
  return pieces.reduce((sum, { length }) => sum + length, 0)
}

// ---- as ZBlk1

async function storeChunks(
  blocks: Blocks,
  blk: number,
  runs: readonly Run[],
  stored: Ref | undefined,
): Promise<number> {
  const plan: Plan = { puts: [], rewrites: [], deletes: new Set(), growth: 0 }
  const known = new Map<number, Oid>()
  if (stored?.className === ZBLK0) cutAround(0, await findData(blocks.connection, stored.oid), runs, plan)
  else if (stored !== undefined) await planChunks(blocks, blk, stored, runs, known, plan)
  for (const run of runs) await planRun(blocks, run, known, plan)
  await blocks.whileChanging(blk, stored, () => carryOut(blocks, blk, stored, plan))
  return plan.growth
}

/** Finds the chunks of a ZBlk1 that runs touch: those in one slot keep their oids, longer ones are cut. */
async function planChunks(
  blocks: Blocks,
  blk: number,
  stored: Ref,
  runs: readonly Run[],
  known: Map<number, Oid>,
  plan: Plan,
): Promise<void> {
  const index = await blocks.layout(blk, stored)
  if (!('offs' in index)) throw blocks.connection.corrupt(stored.oid, 'it is no ZBlk1')
  let r = 0
  for (const [i, off] of index.offs.entries()) {
    const next = index.offs[i + 1] ?? blocks.blksize
    while ((runs[r]?.hi ?? Infinity) <= off) r++
    const run = runs[r]
    if (run === undefined) break
    if (run.lo >= next) continue
    const oid = index.oids[i] as Oid
    const isSlot = off % CHUNK_BYTES === 0 && next - off <= CHUNK_BYTES
    if (isSlot) known.set(off, oid)
    else await planLong(blocks, off, oid, runs, known, plan)
  }
}

async function planLong(
  blocks: Blocks,
  off: number,
  oid: Oid,
  runs: readonly Run[],
  known: Map<number, Oid>,
  plan: Plan,
): Promise<void> {
  const data = await findData(blocks.connection, oid)
  const end = off + data.len
  if (!runs.some(({ lo, hi }) => lo < end && hi > off)) return
  if (off % CHUNK_BYTES === 0 && data.len <= CHUNK_BYTES) known.set(off, oid)
  else {
    plan.deletes.add(off)
    cutAround(off, data, runs, plan)
  }
}

/** Makes chunks of what runs leave of data at `off`. */
function cutAround(off: number, data: StoredData, runs: readonly Run[], plan: Plan): void {
  plan.growth -= wholeChunks(data.len)
  const end = off + data.len
  let at = off
  for (const { lo, hi } of [...runs, { lo: end, hi: end }]) {
    const to = Math.min(lo, end)
    if (at < to) addPut(plan, at, cutBody(data.body, at - off, to - at), to - at)
    at = Math.max(at, hi)
  }
}

async function planRun(
  blocks: Blocks,
  { lo, hi, bytes }: Run,
  known: ReadonlyMap<number, Oid>,
  plan: Plan,
): Promise<void> {
  for (let off = lo; off < hi; off += CHUNK_BYTES) {
    const end = Math.min(hi, off + blocks.connection.chunkBytesMax)
    const long = bytes === undefined ? 0 : lengthWithoutHoles(bytes.subarray(off - lo, end - lo))
    if (bytes !== undefined && long >= LONG_BYTES) {
      planLongChunk(off, bytes.subarray(off - lo, off - lo + long), known, plan)
      off += wholeChunks(long) - CHUNK_BYTES
      continue
    }
    const oid = known.get(off)
    const chunk = bytes?.subarray(off - lo, Math.min(off + CHUNK_BYTES, hi) - lo)
    const length = chunk === undefined ? 0 : trimmedLength(chunk)
    if (chunk === undefined || length === 0) {
      if (oid === undefined) continue
      plan.deletes.add(off)
      plan.growth -= CHUNK_BYTES
      continue
    }
    const body = [length === chunk.length ? chunk : chunk.subarray(0, length)]
    const base = oid === undefined ? undefined : await readableData(blocks, oid)
    if (oid !== undefined && base !== undefined) plan.rewrites.push({ oid, tid: base.tid, body })
    else {
      if (oid !== undefined) plan.growth -= CHUNK_BYTES
      addPut(plan, off, body, length)
    }
  }
}

/** What is replaced as a whole need not be readable: undefined where it is damaged or missing. */
async function readableData(blocks: Blocks, oid: Oid): Promise<StoredData | undefined> {
  try {
    return await findData(blocks.connection, oid)
  } catch (error) {
    if (error instanceof CorruptRecordError || error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}

/** Up to the first chunk that is all zero, and without the zeros before it. */
function lengthWithoutHoles(bytes: Uint8Array): number {
  let end = 0
  while (end < bytes.length && trimmedLength(bytes.subarray(end, end + CHUNK_BYTES)) > 0) end += CHUNK_BYTES
  return trimmedLength(bytes.subarray(0, end))
}

function planLongChunk(off: number, data: Uint8Array, known: ReadonlyMap<number, Oid>, plan: Plan): void {
  for (let slot = off; slot < off + data.length; slot += CHUNK_BYTES) {
    if (!known.has(slot)) continue
    plan.deletes.add(slot)
    plan.growth -= CHUNK_BYTES
  }
  addPut(plan, off, [data], data.length)
}

function addPut(plan: Plan, off: number, body: Body, len: number): void {
  plan.puts.push({ off, body, len })
  plan.growth += wholeChunks(len)
}

async function carryOut(blocks: Blocks, blk: number, stored: Ref | undefined, plan: Plan): Promise<void> {
  const { connection } = blocks
  const { puts, rewrites, deletes } = plan
  puts.sort((a, b) => a.off - b.off)
  const first = puts.length > 0 ? connection.newOids(puts.length) : 0
  const block = stored?.className === ZBlk1.CLASS_NAME ? await blocks.zblk1(stored) : connection.create(ZBlk1)
  if (stored?.className !== ZBlk1.CLASS_NAME) block.setChunktab(connection.create(IOBTree))
  const { chunktab } = block
  block.markChanged()
  for (const { oid, tid, body } of rewrites) connection.putRecord(oid, ZDATA, dataRecord(ZDATA, body), tid)
  for (const off of deletes) await chunktab.delete(off)
  for (const [i, { off, body }] of puts.entries()) {
    const oid = (first + i) as Oid
    connection.putRecord(oid, ZDATA, dataRecord(ZDATA, body), TID_NONE)
    await chunktab.set(off, new Ref(oid, ZDATA))
  }
  if (block.oid !== stored?.oid) await blocks.blktab.set(blk, block.ref)
}

/** What is stored of a block, in whole chunks. */
export async function storedBytes(blocks: Blocks, blk: number): Promise<number> {
  let bytes = 0
  for (const { lo, hi } of await blocks.extents(blk)) bytes += wholeChunks(hi - lo)
  return bytes
}

const wholeChunks = (bytes: number): number => Math.ceil(bytes / CHUNK_BYTES) * CHUNK_BYTES
