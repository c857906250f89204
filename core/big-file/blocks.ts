/**
 * The stored blocks of a file: which there are, where their data lies, and their bytes. No object is made per
 * chunk: bytes go from the store's records into the reply.
 */
import type { Connection } from '../objects/connection.ts'
import { Ref } from '../objects/pickle/value.ts'
import { ZBLK0, ZDATA } from '../objects/record.ts'
import { loadChunkIndex, type ChunkIndex } from '../zblk/chunk-index.ts'
import { cutBody, findData, loadData, readBody, type StoredData } from '../zblk/data.ts'
import { LayoutCache, type BlockLayout } from '../zblk/layout-cache.ts'
import type { ZBigFile } from '../zblk/zbigfile.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import type { LOBTree } from '../btree/tree.ts'
import { TID_NONE, type Oid } from '../../store/ids.ts'
import type { RecordSlice } from '../../store/store.ts'
import { CHUNK_BYTES } from './overlay.ts'

/** Bytes `[lo, hi)` of a block. */
export interface Extent {
  readonly lo: number
  readonly hi: number
}

/** Bytes `[lo, lo + bytes.length)` of a block. */
interface Placed {
  readonly lo: number
  readonly bytes: Uint8Array
}

/** Bytes `[lo, hi)` of a block as bytes that another may share: those of the slice, then zeros. */
export interface SharedPart extends Extent {
  readonly slice: RecordSlice
}

/** A block's entry in the file's tree may name its class as early data did. */
const ZBLK = 'wendelin.bigfile.file_zodb.ZBlk'

const ZEROS = new Uint8Array(64 << 10)

/** Chunks up to this length that are read as a whole are loaded with one call, as many as there are. */
const TOGETHER_BYTES = 256 << 10

export class Blocks {
  readonly connection: Connection
  readonly blktab: LOBTree
  readonly blksize: number
  readonly #layouts: LayoutCache
  /** The block that is being changed: its tree is not to be walked before that is done. */
  #changing: { readonly blk: number; readonly done: Promise<unknown> } | undefined

  /** @param file up to date. */
  constructor(connection: Connection, file: ZBigFile) {
    this.connection = connection
    this.#layouts = LayoutCache.of(connection)
    this.blktab = file.blktab
    this.blksize = file.blksize
  }

  /** The reference to a block; undefined for a hole. */
  async find(blk: number): Promise<Ref | undefined> {
    const ref = await this.blktab.get(blk)
    if (ref === undefined) return undefined
    if (!(ref instanceof Ref)) throw this.blktab.corrupt(`block ${blk} is no reference`)
    if (ref.className === ZBLK) return new Ref(ref.oid, ZBLK0)
    if (ref.className !== ZBLK0 && ref.className !== ZBlk1.CLASS_NAME)
      throw this.blktab.corrupt(`block ${blk} is a ${ref.className}`)
    return ref
  }

  /** Where a block's data lies. */
  async layout(blk: number, ref: Ref): Promise<BlockLayout> {
    const layouts = this.#layouts
    for (;;) {
      const known = layouts.get(ref.oid)
      if (known !== undefined) return known
      if (this.#changing?.blk === blk) await this.#changing.done
      const { epoch } = layouts
      const layout = await this.#load(ref)
      // What is pending has its bytes in memory, which are not to be held for longer than that.
      if ('offs' in layout || 'oid' in layout.body) layouts.set(ref.oid, layout, epoch)
      if (epoch === layouts.epoch || !('offs' in layout)) return layout
    }
  }

  /** A block as an object. */
  async zblk1(ref: Ref): Promise<ZBlk1> {
    const block = this.connection.resolve(ref)
    if (!(block instanceof ZBlk1)) throw block.corrupt(`it is a ${block.className}`)
    await block.activate()
    return block
  }

  /** Runs a change of a block's tree, which those who read the block wait for. */
  async whileChanging<T>(blk: number, ref: Ref | undefined, change: () => Promise<T>): Promise<T> {
    if (ref !== undefined) this.#layouts.forget(ref.oid)
    const running = change()
    // Those who wait do not care how it ends.
    this.#changing = { blk, done: running.catch(() => undefined) }
    try {
      return await running
    } finally {
      this.#changing = undefined
      if (ref !== undefined) this.#layouts.forget(ref.oid)
    }
  }

  /** Bytes `[lo, hi)` of a stored block, in pieces that follow one another; some may lie in `into`, of that length. */
  async read(blk: number, lo: number, hi: number, into?: Uint8Array): Promise<Uint8Array[]> {
    const ref = await this.find(blk)
    if (ref === undefined) return fill([], lo, hi)
    const layout = await this.layout(blk, ref)
    if ('offs' in layout) {
      await this.#deactivate(ref)
      return this.#readChunks(ref, layout, lo, hi, into)
    }
    const bytes =
      lo < layout.len ? await readBody(this.connection.records, layout.body, lo, hi - lo, into) : []
    let at = lo
    return fill(
      bytes.map(bytes => ({ lo: (at += bytes.length) - bytes.length, bytes })),
      lo,
      hi,
    )
  }

  /** Which parts of a stored block there are, in order. */
  async extents(blk: number): Promise<Extent[]> {
    const ref = await this.find(blk)
    if (ref === undefined) return []
    const layout = await this.layout(blk, ref)
    if (!('offs' in layout)) return layout.len === 0 ? [] : [{ lo: 0, hi: layout.len }]
    const extents: { lo: number; hi: number }[] = []
    for (const [i, lo] of layout.offs.entries()) {
      const next = layout.offs[i + 1] ?? Infinity
      const hi =
        next - lo <= CHUNK_BYTES
          ? next
          : lo + (await findData(this.connection.records, layout.oids[i] as Oid)).len
      const last = extents.at(-1)
      if (last?.hi === lo) last.hi = hi
      else extents.push({ lo, hi })
    }
    return extents
  }

  /**
   * The data within `[lo, hi)`, whole chunks, of a stored block, in order, as others may share it. Undefined where it
   * cannot be shared: it is not in the store yet, or its chunks do not lie as ours.
   */
  async shareable(blk: number, lo: number, hi: number): Promise<SharedPart[] | undefined> {
    const ref = await this.find(blk)
    if (ref === undefined) return []
    const layout = await this.layout(blk, ref)
    const parts: SharedPart[] = []
    const add = (off: number, { body, len }: StoredData): boolean => {
      if (!('oid' in body) || off % CHUNK_BYTES !== 0) return false
      const from = Math.max(lo, off)
      const to = Math.min(hi, off + len)
      if (from >= to) return true
      const slice = cutBody(body, from - off, to - from) as RecordSlice
      parts.push({ lo: from, hi: Math.min(hi, Math.ceil(to / CHUNK_BYTES) * CHUNK_BYTES), slice })
      return true
    }
    if (!('offs' in layout)) return add(0, layout) ? parts : undefined
    const { offs, oids } = layout
    for (let i = Math.max(0, firstAfter(offs, lo) - 1); i < offs.length && (offs[i] as number) < hi; i++) {
      const off = offs[i] as number
      const next = offs[i + 1] ?? this.blksize
      const data = await this.#longChunk(oids[i] as Oid)
      this.#checkChunk(ref, off, data.len, next)
      if (next % CHUNK_BYTES !== 0 || !add(off, data)) return undefined
    }
    return parts
  }

  /** Deactivates the chunk tree that somebody brought to life after the block's index was taken. */
  async #deactivate(ref: Ref): Promise<void> {
    const block = this.connection.known(ref.oid)
    if (block instanceof ZBlk1 && block.status !== 'ghost' && block.chunktab.status === 'up to date')
      await loadChunkIndex(block, this.blksize)
  }

  async #load(ref: Ref): Promise<BlockLayout> {
    if (ref.className === ZBLK0) {
      const data = await findData(this.connection.records, ref.oid)
      if (data.len > this.blksize) throw this.connection.corrupt(ref.oid, 'it is longer than a block')
      return data
    }
    return loadChunkIndex(await this.zblk1(ref), this.blksize)
  }

  async #readChunks(
    block: Ref,
    index: ChunkIndex,
    lo: number,
    hi: number,
    into?: Uint8Array,
  ): Promise<Uint8Array[]> {
    const { offs, oids } = index
    const first = Math.max(0, firstAfter(offs, lo) - 1)
    const end = firstAfter(offs, hi - 1)
    const placed: (Placed | undefined)[] = Array.from({ length: Math.max(0, end - first) })
    const together: number[] = []
    for (let i = first; i < end; i++) {
      const off = offs[i] as number
      const next = offs[i + 1] ?? this.blksize
      if (next - off <= CHUNK_BYTES || (off >= lo && next <= hi && next - off <= TOGETHER_BYTES)) {
        if (next > lo) together.push(i)
      } else {
        const data = await this.#longChunk(oids[i] as Oid)
        this.#checkChunk(block, off, data.len, next)
        const from = Math.max(lo - off, 0)
        const pieces =
          from < data.len
            ? await readBody(
                this.connection.records,
                data.body,
                from,
                hi - off - from,
                into?.subarray(off + from - lo),
              )
            : []
        if (pieces.length > 0) placed[i - first] = { lo: off + from, bytes: joined(pieces) }
      }
    }
    const chunks = await loadData(
      this.connection.records,
      together.map(i => oids[i] as Oid),
    )
    for (const [j, i] of together.entries()) {
      const off = offs[i] as number
      const bytes = chunks[j] as Uint8Array
      this.#checkChunk(block, off, bytes.length, offs[i + 1] ?? this.blksize)
      const from = Math.max(lo - off, 0)
      const to = Math.min(hi - off, bytes.length)
      if (from < to)
        placed[i - first] = {
          lo: off + from,
          bytes: to - from === bytes.length ? bytes : bytes.subarray(from, to),
        }
    }
    return fill(placed, lo, hi)
  }

  /** A long chunk's data. Where it is stored is remembered, so that reading a part takes one call to the store. */
  async #longChunk(oid: Oid): Promise<StoredData> {
    const layouts = this.#layouts
    const known = layouts.get(oid)
    if (known !== undefined && 'body' in known) return known
    const { epoch } = layouts
    const data = await findData(this.connection.records, oid)
    if (data.tid !== TID_NONE) layouts.set(oid, data, epoch)
    return data
  }

  #checkChunk(block: Ref, off: number, len: number, next: number): void {
    if (off + len > next)
      throw this.connection.corrupt(
        block.oid,
        next === this.blksize
          ? `the ${ZDATA} at ${off} reaches beyond the block`
          : `the chunk at ${off} overlaps the one at ${next}`,
      )
  }
}

/** The first position of a greater value. */
function firstAfter(values: Int32Array, value: number): number {
  let lo = 0
  let hi = values.length
  while (lo < hi) {
    const middle = (lo + hi) >>> 1
    if ((values[middle] as number) <= value) lo = middle + 1
    else hi = middle
  }
  return lo
}

/** Fills the gaps between what is placed with zeros. */
function fill(placed: readonly (Placed | undefined)[], lo: number, hi: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let at = lo
  for (const piece of placed) {
    if (piece === undefined) continue
    pushZeros(pieces, piece.lo - at)
    pieces.push(piece.bytes)
    at = piece.lo + piece.bytes.length
  }
  pushZeros(pieces, hi - at)
  return pieces
}

/** Adds `count` bytes of zeros. */
export function pushZeros(pieces: Uint8Array[], count: number): void {
  for (let left = count; left > 0; left -= ZEROS.length)
    pieces.push(left >= ZEROS.length ? ZEROS : ZEROS.subarray(0, left))
}

const joined = (pieces: readonly Uint8Array[]): Uint8Array =>
  pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces)
