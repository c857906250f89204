/**
 * The stored blocks of a file: their records, layouts and bytes. Chunks get no objects: their bytes go from the store's
 * records directly into the reply.
 */
import type { Connection } from '../objects/connection.ts'
import { Ref, type PickleValue } from '../objects/pickle/value.ts'
import { ZBLK0, ZDATA } from '../objects/record.ts'
import { chunkAt, loadChunkIndex, oidAt, type ChunkIndex } from '../zblk/chunk-index.ts'
import { cutBody, findData, type Body, type StoredData } from '../zblk/data.ts'
import { isChunkIndex, LayoutCache, type BlockLayout } from '../zblk/layout-cache.ts'
import type { ZBigFile } from '../zblk/zbigfile.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import type { LOBTree } from '../btree/tree.ts'
import { chain, type Awaitable } from '../../store/awaitable.ts'
import { TID_NONE, type Oid } from '../../store/ids.ts'
import { isSlice, type RecordSlice } from '../../store/changes.ts'
import { CHUNK_BYTES, chunkUp } from './chunks.ts'
import { ifReadable } from './if-readable.ts'
import { Reply } from './reply.ts'

/** Bytes `[lo, hi)` of a block. */
export interface Extent {
  readonly lo: number
  readonly hi: number
}

/** Bytes `[lo, hi)` of a block in a form that another block can share: a slice, then zeros. */
export interface SharedPart extends Extent {
  readonly slice: RecordSlice
}

/** The class name in a block's entry of the file's tree, in early data. */
const ZBLK = 'wendelin.bigfile.file_zodb.ZBlk'

/** Bytes `[lo, hi)` of a block in chunks, which are being planned for position `at` of a reply. */
interface PlannedChunks extends Extent {
  readonly block: Ref
  readonly index: ChunkIndex
  readonly reply: Reply
  readonly at: number
}

/** Chunks up to this length are loaded as whole records, which is cheaper than looking up their data's offset. */
const SHORT_BYTES = 32 << 10

export class Blocks {
  readonly connection: Connection
  readonly blktab: LOBTree
  readonly blksize: number
  readonly #layouts: LayoutCache
  /** The block that is being changed: its tree must not be walked until `done`. */
  #changing: { readonly blk: number; readonly done: Promise<unknown> } | undefined

  /** @param file up to date. */
  constructor(connection: Connection, file: ZBigFile) {
    this.connection = connection
    this.#layouts = LayoutCache.of(connection)
    this.blktab = file.blktab
    this.blksize = file.blksize
  }

  /** The reference to a block; undefined for a hole. */
  find(blk: number): Awaitable<Ref | undefined> {
    return chain(this.blktab.get(blk), value => this.#refOf(blk, value))
  }

  #refOf(blk: number, ref: PickleValue | undefined): Ref | undefined {
    if (ref === undefined) return undefined
    if (!(ref instanceof Ref)) throw this.blktab.corrupt(`block ${blk} is not a reference`)
    if (ref.className === ZBLK) return new Ref(ref.oid, ZBLK0)
    if (ref.className !== ZBLK0 && ref.className !== ZBlk1.CLASS_NAME)
      throw this.blktab.corrupt(`block ${blk} is a ${ref.className}`)
    return ref
  }

  /** The layout of a block: where its data is stored. */
  layout(blk: number, ref: Ref): Awaitable<BlockLayout> {
    return this.#layouts.get(ref.oid) ?? this.#findLayout(blk, ref)
  }

  async #findLayout(blk: number, ref: Ref): Promise<BlockLayout> {
    const layouts = this.#layouts
    for (;;) {
      const known = layouts.get(ref.oid)
      if (known !== undefined) return known
      if (this.#changing?.blk === blk) await this.#changing.done
      const { epoch } = layouts
      const layout = await this.#load(ref)
      // Do not retain a pending body longer than its record.
      if (isChunkIndex(layout) || isSlice(layout.body)) layouts.set(ref.oid, layout, epoch)
      if (epoch === layouts.epoch || !isChunkIndex(layout)) return layout
    }
  }

  /** A block as an object. */
  async zblk1(ref: Ref): Promise<ZBlk1> {
    const block = this.connection.resolve(ref)
    if (!(block instanceof ZBlk1)) throw block.corrupt(`it is a ${block.className}`)
    await block.activate()
    return block
  }

  /** Runs a change of a block's tree; readers of the block's layout wait for it. */
  async whileChanging<T>(blk: number, ref: Ref | undefined, change: () => Promise<T>): Promise<T> {
    if (ref !== undefined) this.#layouts.forget(ref.oid)
    const running = change()
    // Waiting readers ignore the outcome.
    this.#changing = { blk, done: running.catch(() => undefined) }
    try {
      return await running
    } finally {
      this.#changing = undefined
      if (ref !== undefined) this.#layouts.forget(ref.oid)
    }
  }

  /** Bytes `[lo, hi)` of a stored block, as consecutive pieces. */
  async read(blk: number, lo: number, hi: number): Promise<Uint8Array[]> {
    const reply = new Reply(hi - lo)
    await this.plan(blk, lo, hi, reply, 0)
    await reply.fetch(this.connection.records)
    return reply.pieces()
  }

  /**
   * Plans a read of bytes `[lo, hi)` of a stored block, for position `at` of a reply. Without a promise if all that it needs is in
   * memory.
   */
  plan(blk: number, lo: number, hi: number, reply: Reply, at: number): Promise<void> | undefined {
    const ref = this.find(blk)
    if (ref === undefined) return undefined
    if (ref instanceof Promise) return this.#planLater(blk, ref, { lo, hi }, reply, at)
    const layout = this.layout(blk, ref)
    if (layout instanceof Promise)
      return layout.then(found => this.#planLayout(ref, found, { lo, hi }, reply, at))
    return this.#planLayout(ref, layout, { lo, hi }, reply, at)
  }

  async #planLater(
    blk: number,
    finding: Promise<Ref | undefined>,
    extent: Extent,
    reply: Reply,
    at: number,
  ): Promise<void> {
    const ref = await finding
    if (ref !== undefined) await this.#planLayout(ref, await this.layout(blk, ref), extent, reply, at)
  }

  /** The parts of a stored block that have data, in order. */
  async extents(blk: number): Promise<Extent[]> {
    const ref = await this.find(blk)
    if (ref === undefined) return []
    const layout = await this.layout(blk, ref)
    if (!isChunkIndex(layout)) return layout.len === 0 ? [] : [{ lo: 0, hi: layout.len }]
    const extents: { lo: number; hi: number }[] = []
    for (const [i, lo] of layout.offs.entries()) {
      const next = layout.offs[i + 1] ?? Infinity
      const hi = next - lo <= CHUNK_BYTES ? next : lo + (await this.#longChunk(oidAt(layout, i))).len
      const last = extents.at(-1)
      if (last?.hi === lo) last.hi = hi
      else extents.push({ lo, hi })
    }
    return extents
  }

  /**
   * The data within `[lo, hi)`, whole chunks, of a stored block, in order, in a form that others can share.
   * Undefined if it cannot be shared: it is not in the store yet, or its chunks are not aligned as ours.
   */
  async shareable(blk: number, lo: number, hi: number): Promise<SharedPart[] | undefined> {
    const ref = await this.find(blk)
    if (ref === undefined) return []
    const layout = await this.layout(blk, ref)
    const parts: SharedPart[] = []
    const add = (off: number, { body, len }: StoredData): boolean => {
      if (!isSlice(body) || off % CHUNK_BYTES !== 0) return false
      const from = Math.max(lo, off)
      const to = Math.min(hi, off + len)
      if (from >= to) return true
      const slice = cutBody(body, from - off, to - from) as RecordSlice
      parts.push({ lo: from, hi: Math.min(hi, chunkUp(to)), slice })
      return true
    }
    if (!isChunkIndex(layout)) return add(0, layout) ? parts : undefined
    const { offs } = layout
    for (let i = chunkAt(layout, lo); i < offs.length && (offs[i] as number) < hi; i++) {
      const off = offs[i] as number
      const next = offs[i + 1] ?? this.blksize
      const data = await this.#longChunk(oidAt(layout, i))
      this.#checkChunk(ref, off, data.len, next)
      if (next % CHUNK_BYTES !== 0 || !add(off, data)) return undefined
    }
    return parts
  }

  #planLayout(
    ref: Ref,
    layout: BlockLayout,
    extent: Extent,
    reply: Reply,
    at: number,
  ): Promise<void> | undefined {
    if (!isChunkIndex(layout)) {
      addBody(reply, at, cutBody(layout.body, extent.lo, extent.hi - extent.lo))
      return undefined
    }
    const chunks = { block: ref, index: layout, ...extent, reply, at }
    const deactivating = this.#deactivate(ref)
    return deactivating === undefined
      ? this.#planChunks(chunks)
      : deactivating.then(() => this.#planChunks(chunks))
  }

  /** Deactivates the chunk tree if it was activated after the block's index was read. */
  #deactivate(ref: Ref): Promise<unknown> | undefined {
    const block = this.connection.known(ref.oid)
    return block instanceof ZBlk1 && block.status !== 'ghost' && block.chunktab.status === 'up to date'
      ? loadChunkIndex(block, this.blksize)
      : undefined
  }

  async #load(ref: Ref): Promise<BlockLayout> {
    if (ref.className === ZBLK0) {
      const data = await findData(this.connection.records, ref.oid)
      if (data.len > this.blksize) throw this.connection.corrupt(ref.oid, 'it is longer than a block')
      return data
    }
    return loadChunkIndex(await this.zblk1(ref), this.blksize)
  }

  #planChunks(chunks: PlannedChunks): Promise<void> | undefined {
    const { offs } = chunks.index
    for (let i = chunkAt(chunks.index, chunks.lo); i < offs.length && (offs[i] as number) < chunks.hi; i++) {
      const planning = this.#planChunk(chunks, i)
      if (planning !== undefined) return this.#planChunksAfter(planning, chunks, i + 1)
    }
    return undefined
  }

  async #planChunksAfter(planning: Promise<void>, chunks: PlannedChunks, from: number): Promise<void> {
    await planning
    const { offs } = chunks.index
    for (let i = from; i < offs.length && (offs[i] as number) < chunks.hi; i++)
      await this.#planChunk(chunks, i)
  }

  #planChunk({ block, index, lo, hi, reply, at }: PlannedChunks, i: number): Promise<void> | undefined {
    const off = index.offs[i] as number
    const next = index.offs[i + 1] ?? this.blksize
    if (next <= lo) return undefined
    const from = Math.max(lo - off, 0)
    const to = Math.min(hi, next) - off
    const isShort = next - off <= CHUNK_BYTES || (from === 0 && off + to === next && to <= SHORT_BYTES)
    const oid = oidAt(index, i)
    const place = at + off + from - lo
    if (isShort) {
      const check = (length: number): void => this.#checkChunk(block, off, length, next)
      reply.chunk({ oid, at: place, from, to, check })
      return undefined
    }
    const add = ({ len, body }: StoredData): void => {
      this.#checkChunk(block, off, len, next)
      addBody(reply, place, cutBody(body, from, to - from))
    }
    const data = this.#longChunk(oid)
    if (data instanceof Promise) return data.then(add)
    add(data)
    return undefined
  }

  /** A long chunk's data. Its location is cached, so that reading a part takes one call to the store. */
  #longChunk(oid: Oid): Awaitable<StoredData> {
    const known = this.#layouts.get(oid)
    return known !== undefined && 'body' in known ? known : this.#findLongChunk(oid)
  }

  async #findLongChunk(oid: Oid): Promise<StoredData> {
    const layouts = this.#layouts
    const { epoch } = layouts
    const data = await findData(this.connection.records, oid)
    if (data.tid !== TID_NONE) layouts.set(oid, data, epoch)
    return data
  }

  /** A chunk's or ZBlk0's data that is about to be replaced; undefined if it is damaged or missing. */
  dataIfReadable(oid: Oid): Promise<StoredData | undefined> {
    return ifReadable(async () => await this.#longChunk(oid))
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

/** Adds a body. A body in memory is copied, as that memory is reused once the body is stored. */
function addBody(reply: Reply, at: number, body: Body): void {
  if (isSlice(body)) {
    reply.slice(at, body)
    return
  }
  let end = at
  for (const piece of body) {
    reply.copy(end, piece)
    end += piece.length
  }
}
