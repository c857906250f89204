/**
 * Turns the overlay of a block into records.
 *
 * | what was written                                | format 'auto' makes it                                    |
 * |-------------------------------------------------|-----------------------------------------------------------|
 * | the whole block                                 | ZBlk0                                                     |
 * | the whole block, shared from one record         | ZBlk0, which shares the record's bytes                    |
 * | its end, so that it is full, and the next block | ZBlk0: it was filled by appending, and is left            |
 * | its first chunk, and there is no other          | ZBlk0: a small file is one record less a tree for it      |
 * | anything else                                   | ZBlk1; a ZBlk0 becomes one without its data being touched |
 *
 * In a ZBlk1 each chunk of {@link CHUNK_BYTES} that was written becomes a ZData, of the oid that it had; but a run from
 * {@link LONG_BYTES} on becomes one long chunk, which costs a read of it one record instead of hundreds. A long chunk
 * (or what is left of a ZBlk0) is cut around what is written later: the parts are new ZData that share the stored
 * bytes. A shared run becomes a chunk, however short, as its bytes are not to be read. It is never changed in place, so that those who are reading it find it as it was.
 *
 * What is stored of a block may be damaged. That must keep nobody from storing, as everything is stored together: what
 * is left of data that cannot be read is **lost**, a reference to a ZData that does not exist, so that its readers get an
 * error as before, and what was written is stored beside it.
 */
import { IOBTree } from '../btree/tree.ts'
import { pushZeros, trimmedLength } from '../bytes.ts'
import { Ref } from '../objects/pickle/value.ts'
import { ZBLK0, ZDATA } from '../objects/record.ts'
import {
  bodyBytes,
  cutBody,
  dataRecord,
  findData,
  readBody,
  type Body,
  type StoredData,
} from '../zblk/data.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'
import { TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import type { RecordSlice } from '../../store/store.ts'
import type { Blocks, Extent } from './blocks.ts'
import { CHUNK_BYTES, type Overlay, type Run } from './overlay.ts'

/** Shorter runs may well be changed again as they were written, by the page: their chunks keep their places. */
const LONG_BYTES = 65_536

/** What is to be done to a ZBlk1's chunks. */
interface Plan {
  /** New chunks; without a body: what is lost. */
  readonly puts: { readonly off: number; readonly body: Body | undefined }[]
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
  if (stored === undefined && runs.every(isZeros)) return 0
  const format = blocks.connection.zblkFormat
  const isSmall = format === 'auto' && (await isOneChunk(blocks, runs, stored))
  const isWhole =
    isSmall ||
    format === 'zblk0' ||
    (format === 'auto' && (await fills(blocks, blk, runs, stored !== undefined && isLeft)))
  const end = isSmall ? CHUNK_BYTES : blocks.blksize
  const body = isWhole ? await wholeBody(blocks, blk, overlay, end) : undefined
  return body === undefined ? storeChunks(blocks, blk, runs, stored) : storeWhole(blocks, blk, body, stored)
}

/** Makes a full ZBlk1 that was left behind a ZBlk0. One that cannot be read stays as it is. */
export async function migrateLeft(blocks: Blocks, blk: number, empty: Overlay): Promise<void> {
  const stored = await blocks.find(blk)
  if (stored?.className !== ZBlk1.CLASS_NAME) return
  const [extent] = (await ifReadable(() => blocks.extents(blk))) ?? []
  if (extent?.lo !== 0 || extent.hi !== blocks.blksize) return
  const body = await wholeBody(blocks, blk, empty, blocks.blksize)
  if (body !== undefined) await storeWhole(blocks, blk, body, stored)
}

/** Undefined where it is damaged or missing. */
async function ifReadable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof CorruptRecordError || error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}

/** Whether runs cover a block, alone or (`withStored`) by adding its end to what is stored. */
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

/** Whether a block is, with what was written, no longer than a chunk. One that is a ZBlk1 stays one. */
async function isOneChunk(blocks: Blocks, runs: readonly Run[], stored: Ref | undefined): Promise<boolean> {
  // Zeros beyond it take nothing away from what is no longer than that.
  if (runs.some(run => run.slice !== undefined || (run.hi > CHUNK_BYTES && !isZeros(run)))) return false
  if (stored === undefined) return true
  if (stored.className !== ZBLK0) return false
  const data = await readableData(blocks, stored.oid)
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

async function storeWhole(blocks: Blocks, blk: number, body: Body, stored: Ref | undefined): Promise<number> {
  const before = (await ifReadable(() => storedBytes(blocks, blk))) ?? 0
  const { connection } = blocks
  const source = dataRecord(ZBLK0, body)
  await blocks.whileChanging(blk, stored, async () => {
    const base = stored?.className === ZBLK0 ? await readableData(blocks, stored.oid) : undefined
    if (stored !== undefined && base !== undefined) connection.putRecord(stored.oid, ZBLK0, source, base.tid)
    else {
      const oid = await connection.newOids(1)
      connection.putRecord(oid, ZBLK0, source, TID_NONE)
      await blocks.blktab.set(blk, new Ref(oid, ZBLK0))
    }
  })
  return wholeChunks(bodyBytes(body)) - before
}

/** A block's bytes `[0, end)` under its overlay, all that it has; undefined where they cannot be read. */
async function wholeBody(
  blocks: Blocks,
  blk: number,
  overlay: Overlay,
  end: number,
): Promise<Body | undefined> {
  const [run] = overlay.runs
  if (run?.slice !== undefined && isOneSlice(overlay.runs, blocks.blksize))
    return await storable(blocks, run.slice)
  return await ifReadable(() => readWhole(blocks, blk, overlay, end))
}

async function readWhole(blocks: Blocks, blk: number, overlay: Overlay, end: number): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = []
  for (const segment of overlay.segments(0, end)) {
    const { kind, lo, hi } = segment
    if (kind === 'bytes') pieces.push(segment.bytes)
    else if (kind === 'stored') pieces.push(...(await blocks.read(blk, lo, hi)))
    else if (kind === 'shared') {
      pieces.push(...(await readBody(blocks.connection.records, segment.slice, 0, hi - lo)))
      pushZeros(pieces, hi - lo - segment.slice.len)
    } else pushZeros(pieces, hi - lo)
  }
  trim(pieces)
  return pieces
}

/** Cuts the zeros at the end off. */
function trim(pieces: Uint8Array[]): void {
  for (let last = pieces.pop(); last !== undefined; last = pieces.pop()) {
    const length = trimmedLength(last)
    if (length === 0) continue
    pieces.push(length === last.length ? last : last.subarray(0, length))
    break
  }
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
  if (stored?.className === ZBLK0) {
    const data = await readableData(blocks, stored.oid)
    await cutAround(blocks, 0, data, data?.len ?? blocks.blksize, runs, plan)
  } else if (stored !== undefined) await planChunks(blocks, blk, stored, runs, known, plan)
  for (const run of runs)
    if (run.slice === undefined) await planRun(blocks, run, known, plan)
    else await planShared(blocks, run.lo, run.slice, run.hi, known, plan)
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
    else await planLong(blocks, off, oid, next, runs, known, plan)
  }
}

async function planLong(
  blocks: Blocks,
  off: number,
  oid: Oid,
  next: number,
  runs: readonly Run[],
  known: Map<number, Oid>,
  plan: Plan,
): Promise<void> {
  const data = await readableData(blocks, oid)
  const end = data === undefined ? next : off + data.len
  if (!runs.some(({ lo, hi }) => lo < end && hi > off)) return
  if (off % CHUNK_BYTES === 0 && end - off <= CHUNK_BYTES) known.set(off, oid)
  else {
    plan.deletes.add(off)
    await cutAround(blocks, off, data, end, runs, plan)
  }
}

/** Makes chunks of what runs leave of data at `[off, end)`; undefined: it cannot be read. */
async function cutAround(
  blocks: Blocks,
  off: number,
  data: StoredData | undefined,
  end: number,
  runs: readonly Run[],
  plan: Plan,
): Promise<void> {
  if (data !== undefined) plan.growth -= wholeChunks(data.len)
  let at = off
  for (const { lo, hi } of [...runs, { lo: end, hi: end }]) {
    const to = Math.min(lo, end)
    if (at < to) {
      const body = data === undefined ? undefined : cutBody(data.body, at - off, to - at)
      addPut(plan, at, body && (await storable(blocks, body)), to - at)
    }
    at = Math.max(at, hi)
  }
}

/** A body that can be stored whatever it shares: less than a chunk is copied by a store, so it has to be readable. */
async function storable({ connection }: Blocks, body: Body): Promise<Body | undefined> {
  if (!('oid' in body) || body.len >= CHUNK_BYTES) return body
  return await ifReadable(() => readBody(connection.records, body, 0, body.len))
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
      const end = off + long
      dropSlots(off, end, known, plan)
      addPut(plan, off, [bytes.subarray(off - lo, end - lo)], long)
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

/** What is replaced need not be readable: undefined where it is damaged or missing. */
const readableData = (blocks: Blocks, oid: Oid): Promise<StoredData | undefined> =>
  ifReadable(() => findData(blocks.connection.records, oid))

/** Up to the first chunk that is all zero, and without the zeros before it. */
function lengthWithoutHoles(bytes: Uint8Array): number {
  let end = 0
  while (end < bytes.length && trimmedLength(bytes.subarray(end, end + CHUNK_BYTES)) > 0) end += CHUNK_BYTES
  return trimmedLength(bytes.subarray(0, end))
}

/** Makes chunks of shared bytes, and a hole of what follows them up to `hi`. */
async function planShared(
  blocks: Blocks,
  lo: number,
  slice: RecordSlice,
  hi: number,
  known: ReadonlyMap<number, Oid>,
  plan: Plan,
): Promise<void> {
  dropSlots(lo, hi, known, plan)
  const step = Math.min(blocks.connection.chunkBytesMax, slice.len)
  for (let at = 0; at < slice.len; at += step) {
    const body = cutBody(slice, at, step)
    addPut(plan, lo + at, await storable(blocks, body), bodyBytes(body))
  }
}

/** Removes the chunks of one slot each that `[lo, hi)` covers. */
function dropSlots(lo: number, hi: number, known: ReadonlyMap<number, Oid>, plan: Plan): void {
  for (let slot = lo; slot < hi; slot += CHUNK_BYTES) {
    if (!known.has(slot)) continue
    plan.deletes.add(slot)
    plan.growth -= CHUNK_BYTES
  }
}

function addPut(plan: Plan, off: number, body: Body | undefined, len: number): void {
  plan.puts.push({ off, body })
  if (body !== undefined) plan.growth += wholeChunks(len)
}

async function carryOut(blocks: Blocks, blk: number, stored: Ref | undefined, plan: Plan): Promise<void> {
  const { connection } = blocks
  const { puts, rewrites, deletes } = plan
  puts.sort((a, b) => a.off - b.off)
  const first = puts.length > 0 ? await connection.newOids(puts.length) : 0
  const block =
    stored?.className === ZBlk1.CLASS_NAME ? await blocks.zblk1(stored) : await connection.create(ZBlk1)
  if (stored?.className !== ZBlk1.CLASS_NAME) block.setChunktab(await connection.create(IOBTree))
  const { chunktab } = block
  block.markChanged()
  for (const { oid, tid, body } of rewrites) connection.putRecord(oid, ZDATA, dataRecord(ZDATA, body), tid)
  for (const off of deletes) await chunktab.delete(off)
  for (const [i, { off, body }] of puts.entries()) {
    const oid = (first + i) as Oid
    if (body !== undefined) connection.putRecord(oid, ZDATA, dataRecord(ZDATA, body), TID_NONE)
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
