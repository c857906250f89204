/**
 * Stores runs of an overlay in a ZBlk1: first plans the changes to its chunks, then carries them out.
 *
 * Each written chunk of {@link CHUNK_BYTES} becomes a ZData with its previous oid; a run of {@link LONG_BYTES} or more
 * becomes one long chunk, which is read as one record instead of hundreds. A long
 * chunk, or the data of a former ZBlk0, is cut around the written bytes: the remaining parts become new ZData that share the stored
 * bytes. A shared run becomes a chunk of any length, as its bytes are not read. Long chunks are never changed in
 * place, so that concurrent readers find them unchanged.
 */
import { isChunkIndex } from '../zblk/layout-cache.ts'
import { IOBTree } from '../btree/tree.ts'
import { trimmedLength } from '../bytes.ts'
import { Ref } from '../objects/pickle/value.ts'
import { ZBLK0, ZDATA } from '../objects/record.ts'
import { chunkAt, oidAt } from '../zblk/chunk-index.ts'
import { bodyBytes, cutBody, dataRecord, readBody, type Body, type StoredData } from '../zblk/data.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { oid as oidOf, TID_NONE, type Oid } from '../../store/ids.ts'
import { isSlice, type RecordSlice } from '../../store/changes.ts'
import type { Blocks } from './blocks.ts'
import { CHUNK_BYTES, chunkUp } from './chunks.ts'
import { ifReadable } from './if-readable.ts'
import type { Run } from './overlay.ts'

/** Shorter runs are likely to be changed again page by page, as they were written: their chunks keep their slots. */
const LONG_BYTES = 65_536

/** A new chunk. Without a body its data is lost: the reference leads to a ZData that does not exist. */
interface NewChunk {
  readonly off: number
  readonly body: Body | undefined
}

/** A chunk that keeps its oid. */
interface Rewrite {
  readonly oid: Oid
  readonly body: Body
}

export class ChunkPlan {
  readonly #blocks: Blocks
  readonly #blk: number
  readonly #runs: readonly Run[]
  readonly #stored: Ref | undefined
  /** Oids of chunks of at most one slot, by offset. */
  readonly #slots = new Map<number, Oid>()
  readonly #puts: NewChunk[] = []
  readonly #rewrites: Rewrite[] = []
  readonly #deletes = new Set<number>()
  #growth = 0

  private constructor(blocks: Blocks, blk: number, runs: readonly Run[], stored: Ref | undefined) {
    this.#blocks = blocks
    this.#blk = blk
    this.#runs = runs
    this.#stored = stored
  }

  /** Plans to store runs in a block. @param stored the stored block. */
  static async of(
    blocks: Blocks,
    blk: number,
    runs: readonly Run[],
    stored: Ref | undefined,
  ): Promise<ChunkPlan> {
    const plan = new ChunkPlan(blocks, blk, runs, stored)
    if (stored?.className === ZBLK0) {
      const data = await blocks.dataIfReadable(stored.oid)
      await plan.#cutAround(0, data, data?.len ?? blocks.blksize)
    } else if (stored !== undefined) await plan.#findChunks(stored)
    for (const run of runs)
      if (run.slice === undefined) plan.#storeRun(run)
      else await plan.#share(run.lo, run.hi, run.slice)
    return plan
  }

  /** Growth of the stored data in bytes of whole chunks. */
  get growth(): number {
    return this.#growth
  }

  /** Whether the block keeps its chunks, and some of them get other bytes. */
  get keepsLayout(): boolean {
    const isInChunks = this.#stored?.className === ZBlk1.CLASS_NAME
    return isInChunks && this.#puts.length === 0 && this.#deletes.size === 0
  }

  /** Loads what {@link ChunkPlan.carryOut} reads. */
  async load(): Promise<void> {
    const { blktab } = this.#blocks
    if (this.#stored?.className !== ZBlk1.CLASS_NAME) {
      await blktab.loadToSet(this.#blk)
      return
    }
    const { chunktab } = await this.#blocks.zblk1(this.#stored)
    for (const off of this.#deletes) await chunktab.loadToDelete(off)
    for (const { off } of this.#puts) await chunktab.loadToSet(off)
  }

  /** Changes the block as planned. */
  async carryOut(): Promise<void> {
    const puts = this.#puts.sort((a, b) => a.off - b.off)
    const { connection } = this.#blocks
    const first = puts.length > 0 ? await connection.newOids(puts.length) : 0
    const block = await this.#block()
    const { chunktab } = block
    block.markChanged()
    // The view has their newest state, whatever transaction that is from: they need not be looked up.
    for (const { oid, body } of this.#rewrites)
      connection.putRecord(oid, ZDATA, dataRecord(ZDATA, body), connection.at)
    for (const off of this.#deletes) await chunktab.delete(off)
    for (const [i, { off, body }] of puts.entries()) {
      const oid = oidOf(first + i)
      if (body !== undefined) connection.putRecord(oid, ZDATA, dataRecord(ZDATA, body), TID_NONE)
      await chunktab.set(off, new Ref(oid, ZDATA))
    }
    if (block.oid !== this.#stored?.oid) await this.#blocks.blktab.set(this.#blk, block.ref)
  }

  /** The block as a ZBlk1: the stored one, or a new one. */
  async #block(): Promise<ZBlk1> {
    if (this.#stored?.className === ZBlk1.CLASS_NAME) return await this.#blocks.zblk1(this.#stored)
    const { connection } = this.#blocks
    const block = await connection.create(ZBlk1)
    block.setChunktab(await connection.create(IOBTree))
    return block
  }

  /** Finds the chunks that runs touch: those of at most one slot keep their oids, longer ones are cut. */
  async #findChunks(stored: Ref): Promise<void> {
    const { blksize, connection } = this.#blocks
    const index = await this.#blocks.layout(this.#blk, stored)
    if (!isChunkIndex(index)) throw connection.corrupt(stored.oid, 'it is not a ZBlk1')
    const { offs } = index
    let r = 0
    for (let i = chunkAt(index, this.#runs[0]?.lo ?? 0); i < offs.length; i++) {
      const off = offs[i] as number
      const next = offs[i + 1] ?? blksize
      while ((this.#runs[r]?.hi ?? Infinity) <= off) r++
      const run = this.#runs[r]
      if (run === undefined) break
      if (run.lo >= next) continue
      const oid = oidAt(index, i)
      const isSlot = off % CHUNK_BYTES === 0 && next - off <= CHUNK_BYTES
      if (isSlot) this.#slots.set(off, oid)
      else await this.#cut(off, oid, next)
    }
  }

  /** Cuts a chunk, unless its data fits into one slot or is not touched. */
  async #cut(off: number, oid: Oid, next: number): Promise<void> {
    const data = await this.#blocks.dataIfReadable(oid)
    const end = data === undefined ? next : off + data.len
    const first = this.#runs[this.#firstRunAfter(off)]
    if (first === undefined || first.lo >= end) return
    if (off % CHUNK_BYTES === 0 && end - off <= CHUNK_BYTES) this.#slots.set(off, oid)
    else {
      this.#deletes.add(off)
      await this.#cutAround(off, data, end)
    }
  }

  /** Makes chunks of the parts of data at `[off, end)` that no run covers. Undefined data is unreadable. */
  async #cutAround(off: number, data: StoredData | undefined, end: number): Promise<void> {
    if (data !== undefined) this.#growth -= chunkUp(data.len)
    let at = off
    for (let r = this.#firstRunAfter(off); at < end; r++) {
      const { lo, hi } = this.#runs[r] ?? { lo: end, hi: end }
      const to = Math.min(lo, end)
      if (at < to) {
        const body = data === undefined ? undefined : cutBody(data.body, at - off, to - at)
        this.#put(at, body && (await storable(this.#blocks, body)), to - at)
      }
      at = Math.max(at, hi)
    }
  }

  /** The index of the first run that ends after an offset. */
  #firstRunAfter(off: number): number {
    let [low, high] = [0, this.#runs.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#runs[middle]?.hi ?? Infinity) > off) high = middle
      else low = middle + 1
    }
    return low
  }

  #storeRun({ lo, hi, bytes }: Run): void {
    for (let off = lo; off < hi; off += CHUNK_BYTES) {
      const end = Math.min(hi, off + this.#blocks.connection.chunkBytesMax)
      const long = bytes === undefined ? 0 : lengthWithoutHoles(bytes.subarray(off - lo, end - lo))
      if (bytes !== undefined && long >= LONG_BYTES) {
        this.#dropSlots(off, off + long)
        this.#put(off, [bytes.subarray(off - lo, off - lo + long)], long)
        off += chunkUp(long) - CHUNK_BYTES
      } else this.#storeChunk(off, bytes?.subarray(off - lo, Math.min(off + CHUNK_BYTES, hi) - lo))
    }
  }

  /** @param bytes the content of one slot; undefined for zeros. */
  #storeChunk(off: number, bytes: Uint8Array | undefined): void {
    const oid = this.#slots.get(off)
    const length = bytes === undefined ? 0 : trimmedLength(bytes)
    if (bytes === undefined || length === 0) {
      if (oid === undefined) return
      this.#deletes.add(off)
      this.#growth -= CHUNK_BYTES
      return
    }
    const body = [length === bytes.length ? bytes : bytes.subarray(0, length)]
    if (oid === undefined) this.#put(off, body, length)
    else this.#rewrites.push({ oid, body })
  }

  /** Makes chunks of shared bytes, and a hole of the rest up to `hi`. */
  async #share(lo: number, hi: number, slice: RecordSlice): Promise<void> {
    this.#dropSlots(lo, hi)
    const step = Math.min(this.#blocks.connection.chunkBytesMax, slice.len)
    for (let at = 0; at < slice.len; at += step) {
      const body = cutBody(slice, at, step)
      this.#put(lo + at, await storable(this.#blocks, body), bodyBytes(body))
    }
  }

  /** Removes the one-slot chunks in `[lo, hi)`. */
  #dropSlots(lo: number, hi: number): void {
    for (let slot = lo; slot < hi; slot += CHUNK_BYTES) {
      if (!this.#slots.has(slot)) continue
      this.#deletes.add(slot)
      this.#growth -= CHUNK_BYTES
    }
  }

  #put(off: number, body: Body | undefined, len: number): void {
    this.#puts.push({ off, body })
    if (body !== undefined) this.#growth += chunkUp(len)
  }
}

/** The body if it can be stored. A store copies short slices, so those bytes must be readable. */
export async function storable({ connection }: Blocks, body: Body): Promise<Body | undefined> {
  if (!isSlice(body) || body.len >= CHUNK_BYTES) return body
  return await ifReadable(() => readBody(connection.keptReads, body, 0, body.len))
}

/** The length up to the first chunk that is all zeros, without the zeros before it. */
function lengthWithoutHoles(bytes: Uint8Array): number {
  let end = 0
  while (end < bytes.length && trimmedLength(bytes.subarray(end, end + CHUNK_BYTES)) > 0) end += CHUNK_BYTES
  return trimmedLength(bytes.subarray(0, end))
}
