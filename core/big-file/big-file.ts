/**
 * A file's bytes: a ZBigFile, and written bytes that are not serialised yet.
 *
 * - A write goes into its block's {@link Overlay}. It reads at most the stored chunks at its two ends, if it covers
 *   them in part. `prepare`, called by the connection, turns overlays into records (apply.ts).
 * - A read is planned from overlays and stored blocks (blocks.ts), then fetched (reply.ts).
 * - A copy from another file of the database shares stored bytes if possible ({@link BigFile.share}).
 * - A BigFile has no size: beyond stored and overlaid data it reads as zeros. The caller clips.
 *
 * Longer than most files: reads, writes, shares and holes work on the same overlays, which stay private to the class.
 *
 * The caller must not run a change of a file concurrently with any other operation on it, or while the connection
 * prepares. Reads may run concurrently with each other and with `prepare`.
 */
/* oxlint-disable max-lines -- see above */
import type { Connection } from '../objects/connection.ts'
import type { Participant } from '../objects/participant.ts'
import { applyOverlay, loadForOverlay, loadToMigrateLeft, migrateLeft, storedBytes } from './apply.ts'
import { blockParts, positionOf, type BlockPart } from './block-parts.ts'
import { Blocks, type Extent, type SharedPart } from './blocks.ts'
import { CHUNK_BYTES, chunkDown, chunkUp } from './chunks.ts'
import { dataExtents } from './extents.ts'
import { ifReadable } from './if-readable.ts'
import { Overlay } from './overlay.ts'
import { Reply } from './reply.ts'
import { UnchangedChunks } from './unchanged.ts'
import { joinBytes } from '../bytes.ts'
import { LOBTree } from '../btree/tree.ts'
import { Turns } from '../turns.ts'
import { BLKSIZE, ZBigFile } from '../zblk/zbigfile.ts'
import { chain, ending, type Awaitable } from '../../store/awaitable.ts'
import { ReadOnlyError } from '../../store/errors.ts'

/** New content for a part of a block: bytes of a stored record followed by zeros, or bytes. */
type Piece =
  | ({ readonly kind: 'shared' } & SharedPart)
  | { readonly kind: 'bytes'; readonly lo: number; readonly bytes: Uint8Array }

/** No chunk is written in part. */
const NO_BASES: ReadonlyMap<number, Uint8Array> = new Map()

/** A block with an overlay. */
interface Overlaid {
  readonly blk: number
  readonly overlay: Overlay
  /** Whether it is written for the first time, so that the writer has left the block before. */
  readonly isNew: boolean
  /** Whether the block after it is written for the first time. */
  readonly isLeft: boolean
}

const FILES = new WeakMap<ZBigFile, BigFile>()

export class BigFile implements Participant {
  readonly file: ZBigFile
  /** Called with the growth of the stored data, in bytes of whole chunks. */
  onGrowth: (bytes: number) => void = () => {}
  /** Called when no stored data is left. */
  onEmptied: () => void = () => {}
  readonly #connection: Connection
  readonly #blocks: Blocks
  readonly #unchanged: UnchangedChunks
  readonly #overlays = new Map<number, Overlay>()
  /** Blocks that were changed since the last {@link BigFile.load}, while a commit loads. */
  readonly #unloaded = new Set<number>()
  /** Changes of this file, and copies from it, under way: what they found in an overlay must stay there. */
  #users = 0

  private constructor(connection: Connection, file: ZBigFile) {
    this.file = file
    this.#connection = connection
    this.#blocks = new Blocks(connection, file)
    this.#unchanged = new UnchangedChunks(this.#blocks)
  }

  /** The bytes of a stored file: one BigFile per object. @throws ObjectNotFoundError, CorruptRecordError. */
  static async open(connection: Connection, file: ZBigFile): Promise<BigFile> {
    await file.activate()
    return BigFile.#of(connection, file)
  }

  /** A new, empty file; `blksize` in bytes, a multiple of a chunk's. @throws ReadOnlyError. */
  static async create(connection: Connection, blksize: number = BLKSIZE): Promise<BigFile> {
    const file = await connection.create(ZBigFile)
    file.begin(blksize, await connection.create(LOBTree))
    return BigFile.#of(connection, file)
  }

  static #of(connection: Connection, file: ZBigFile): BigFile {
    const known = FILES.get(file)
    if (known !== undefined) return known
    const made = new BigFile(connection, file)
    FILES.set(file, made)
    return made
  }

  get blksize(): number {
    return this.#blocks.blksize
  }

  /** Whether it has written bytes that are not serialised. */
  get isDirty(): boolean {
    return this.#overlays.size > 0
  }

  /** The bytes of memory that its overlays take. */
  get dirtyBytes(): number {
    return [...this.#overlays.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  /**
   * Bytes `[off, off + len)`, as consecutive pieces, `len` bytes in total, which must not be changed. With `into`, of at
   * least that length, each piece is at its position in it, except that zeros may be elsewhere. Without a promise if the positions of
   * the bytes are in memory, and the bytes themselves at hand.
   */
  read(off: bigint, len: number, into?: Uint8Array): Awaitable<Uint8Array[]> {
    const { spills } = this.#connection
    const reply = this.#readOverlays(off, len, into)
    const reading = this.#readStored(reply)
    if (reading === undefined) return reply.pieces()
    return this.#readAgain(reading, reply, spills, () => this.#readOverlays(off, len, into))
  }

  /** Plans and fetches the stored parts of a reply. */
  #readStored(reply: Reply): Promise<void> | undefined {
    for (const [i, { blk, lo, hi, at }] of reply.stored.entries()) {
      const planning = this.#blocks.plan(blk, lo, hi, reply, at)
      if (planning !== undefined) return this.#readStoredAfter(planning, reply, i + 1)
    }
    return reply.fetch(this.#connection.records)
  }

  async #readStoredAfter(planning: Promise<void>, reply: Reply, from: number): Promise<void> {
    await planning
    for (const { blk, lo, hi, at } of reply.stored.slice(from))
      await this.#blocks.plan(blk, lo, hi, reply, at)
    await reply.fetch(this.#connection.records)
  }

  async #readAgain(
    reading: Promise<void> | undefined,
    reply: Reply,
    spills: number,
    readOverlays: () => Reply,
  ): Promise<Uint8Array[]> {
    for (;;) {
      try {
        await reading
        if (spills === this.#connection.spills) return reply.pieces()
      } catch (error) {
        if (spills === this.#connection.spills) throw error
      }
      // A part of a transaction was stored meanwhile, and may have replaced the records that the plan refers to.
      ;({ spills } = this.#connection)
      reply = readOverlays()
      reading = this.#readStored(reply)
    }
  }

  /** A reply with the overlaid bytes, which has yet to plan the parts of stored blocks. */
  #readOverlays(off: bigint, len: number, into: Uint8Array | undefined): Reply {
    const reply = new Reply(len, into)
    let done = 0
    for (const { blk, lo, hi } of this.#parts(off, len)) {
      const start = done - lo
      done += hi - lo
      const segments = this.#overlays.get(blk)?.segments(lo, hi)
      if (segments === undefined) reply.stored.push({ blk, lo, hi, at: start + lo })
      else
        for (const segment of segments) {
          const at = start + segment.lo
          if (segment.kind === 'stored') reply.stored.push({ blk, lo: segment.lo, hi: segment.hi, at })
          else if (segment.kind === 'bytes') reply.copy(at, segment.bytes)
          else if (segment.kind === 'shared') reply.slice(at, segment.slice)
        }
    }
    return reply
  }

  /** Writes `data` at `off`. The data is copied, so the caller may reuse it. @throws ReadOnlyError, StoreError. */
  write(off: bigint, data: Uint8Array): Awaitable<void> {
    this.#assertWritable()
    this.#users++
    return ending(
      () => this.#write(off, data),
      () => void this.#users--,
    )
  }

  #write(off: bigint, data: Uint8Array): Awaitable<void> {
    const parts = this.#parts(off, data.length)
    const [first] = parts
    const bases =
      parts.length === 1 && first !== undefined
        ? chain(this.#basesOf(first), bases => [bases])
        : this.#basesOfAll(parts)
    return chain(bases, bases => this.#overlay(parts, data, bases))
  }

  async #basesOfAll(parts: readonly BlockPart[]): Promise<readonly ReadonlyMap<number, Uint8Array>[]> {
    const bases: ReadonlyMap<number, Uint8Array>[] = []
    for (const part of parts) bases.push(await this.#basesOf(part))
    return bases
  }

  /** The stored bytes of chunks that a write covers in part. @throws CorruptRecordError if the block cannot be changed. */
  #basesOf(part: BlockPart): Awaitable<ReadonlyMap<number, Uint8Array>> {
    const readable = this.#overlays.has(part.blk) ? undefined : this.#assertReadable(part.blk)
    const isWhole =
      part.lo === chunkDown(part.lo) && (part.hi === this.blksize || part.hi === chunkDown(part.hi))
    return chain(readable, () => (isWhole ? NO_BASES : this.#edges(part)))
  }

  #overlay(
    parts: readonly BlockPart[],
    data: Uint8Array,
    bases: readonly ReadonlyMap<number, Uint8Array>[],
  ): void {
    this.#connection.join(this)
    let done = 0
    for (const [i, { blk, lo, hi }] of parts.entries()) {
      const piece = data.subarray(done, (done += hi - lo))
      this.#change(blk, overlay => overlay.write(lo, piece, bases[i] ?? NO_BASES))
    }
  }

  /**
   * Copies `[from, from + len)` of `source`, possibly this file, to `[to, to + len)`; all three in whole chunks. Stored
   * bytes are shared without being read, unstored bytes are copied, and holes stay holes. The ranges must not overlap.
   * @throws ReadOnlyError, StoreError.
   */
  async share(source: BigFile, from: bigint, to: bigint, len: number): Promise<void> {
    this.#assertWritable()
    source.#users++
    try {
      await this.#share(source, from, to, len)
    } finally {
      source.#users--
    }
  }

  async #share(source: BigFile, from: bigint, to: bigint, len: number): Promise<void> {
    const turns = new Turns()
    let done = 0n
    for (const part of this.#parts(to, len)) {
      await turns.pass()
      await this.#assertReadable(part.blk)
      const pieces: Piece[] = []
      let at = part.lo
      for (const { blk, lo, hi } of source.#parts(from + done, part.hi - part.lo)) {
        pieces.push(...(await source.#pieces({ blk, lo, hi }, at - lo)))
        at += hi - lo
      }
      done += BigInt(part.hi - part.lo)
      this.#connection.join(this)
      this.#change(part.blk, overlay => {
        overlay.zero(part.lo, part.hi)
        for (const piece of pieces)
          if (piece.kind === 'bytes') overlay.write(piece.lo, piece.bytes, new Map())
          else overlay.share(piece.lo, piece.hi, piece.slice)
      })
    }
  }

  /** Makes `[off, off + len)` a hole, which reads as zeros. */
  async zero(off: bigint, len: bigint): Promise<void> {
    this.#assertWritable()
    const size = BigInt(this.blksize)
    const end = off + len
    const first = off / size
    const last = end / size
    const [head, tail] = [Number(off % size), Number(end % size)]
    if (first === last) return this.#zeroPart({ blk: Number(first), lo: head, hi: tail })
    if (head > 0) await this.#zeroPart({ blk: Number(first), lo: head, hi: this.blksize })
    await this.#drop(Number(head > 0 ? first + 1n : first), Number(last))
    if (tail > 0) await this.#zeroPart({ blk: Number(last), lo: 0, hi: tail })
  }

  /** Removes everything from `size` on. */
  async truncate(size: bigint): Promise<void> {
    this.#assertWritable()
    const blksize = BigInt(this.blksize)
    const keep = Number((size + blksize - 1n) / blksize)
    const rest = Number(size % blksize)
    if (rest > 0) await this.#zeroPart({ blk: keep - 1, lo: rest, hi: this.blksize })
    await this.#drop(keep, Infinity)
  }

  /** Bytes stored for a block, in whole chunks, without bytes that are not serialised yet. */
  async storedBytes(blk: number): Promise<number> {
    return await storedBytes(this.#blocks, blk)
  }

  /** The first offset `>= off` of data, in whole chunks; undefined if there is none. */
  async seekData(off: bigint): Promise<bigint | undefined> {
    const turns = new Turns()
    for (let [blk, from] = positionOf(off, this.blksize); ; blk++, from = 0) {
      await turns.pass()
      const next = await this.#nextBlock(blk)
      if (next === undefined) return undefined
      if (next > blk) from = 0
      blk = next
      const extent = (await this.#extents(blk)).find(({ hi }) => hi > from)
      if (extent !== undefined) return this.#offset(blk, Math.max(extent.lo, from))
    }
  }

  /** The first offset `>= off` of a hole, in whole chunks, at most `upTo`. Beyond all data is a hole. */
  async seekHole(off: bigint, upTo: bigint): Promise<bigint> {
    const turns = new Turns()
    for (let [blk, from] = positionOf(off, this.blksize); ; blk++, from = 0) {
      if (this.#offset(blk, from) >= upTo) return upTo
      await turns.pass()
      for (const { lo, hi } of await this.#extents(blk)) if (lo <= from) from = Math.max(from, hi)
      if (from >= this.blksize) continue
      const hole = this.#offset(blk, from)
      return hole < upTo ? hole : upTo
    }
  }

  // ---- as a participant of the connection's transaction

  load(): Promise<void> {
    this.#unloaded.clear()
    return this.#load(this.#overlays.keys())
  }

  async loadChanges(): Promise<void> {
    // A block that is written for the first time changes how the one before it is stored.
    const blks = [...this.#unloaded].flatMap(blk => [blk - 1, blk])
    this.#unloaded.clear()
    await this.#load(new Set(blks))
  }

  async #load(blks: Iterable<number>): Promise<void> {
    for await (const { blk, overlay, isNew, isLeft } of this.#overlaid(blks)) {
      // Damage is found by `prepare`.
      await ifReadable(() => this.#dropUnchanged(blk, overlay))
      if (overlay.isEmpty) continue
      await ifReadable(() => loadForOverlay(this.#blocks, blk, overlay, isLeft))
      if (isNew) await ifReadable(() => loadToMigrateLeft(this.#blocks, blk - 1, this.#overlays.get(blk - 1)))
    }
  }

  async prepare(): Promise<void> {
    for await (const { blk, overlay, isNew, isLeft } of this.#overlaid(this.#overlays.keys())) {
      this.onGrowth(await applyOverlay(this.#blocks, blk, overlay, isLeft))
      this.#forget(blk)
      if (isNew) await migrateLeft(this.#blocks, blk - 1)
    }
  }

  /** Drops what was written with the bytes that are stored. */
  async #dropUnchanged(blk: number, overlay: Overlay): Promise<void> {
    await this.#unchanged.find(blk, overlay, (lo, hi) => {
      if (this.#users > 0 || this.#overlays.get(blk) !== overlay) return
      const before = this.#costOf(overlay)
      overlay.drop(lo, hi)
      this.#connection.account(this.#costOf(overlay) - before)
    })
    if (overlay.isEmpty && this.#overlays.get(blk) === overlay) this.#forget(blk)
  }

  /** The overlays of blocks, in their order. */
  async *#overlaid(blks: Iterable<number>): AsyncGenerator<Overlaid> {
    const auto = this.#connection.zblkFormat === 'auto'
    const turns = new Turns()
    for (const blk of [...blks].sort((a, b) => a - b)) {
      await turns.pass()
      const overlay = this.#overlays.get(blk)
      if (overlay === undefined) continue
      const isNew = auto && blk > 0 && !overlay.isShared && (await this.#blocks.find(blk)) === undefined
      const isLeft = this.#overlays.has(blk + 1) && (await this.#blocks.find(blk + 1)) === undefined
      yield { blk, overlay, isNew, isLeft }
    }
  }

  abort(): void {
    for (const blk of this.#overlays.keys()) this.#forget(blk)
  }

  #offset(blk: number, from: number): bigint {
    return BigInt(blk) * BigInt(this.blksize) + BigInt(from)
  }

  #parts(off: bigint, len: number): BlockPart[] {
    return blockParts(off, len, this.blksize)
  }

  /**
   * Blocks shorter than a chunk would cost more than their bytes, and such a file could need more blocks than a tree has
   * keys.
   */
  #assertWritable(): void {
    if (this.blksize < CHUNK_BYTES)
      throw new ReadOnlyError(
        `a file with blocks of ${this.blksize} bytes can only be read: to be written, blocks must have at least ${CHUNK_BYTES}`,
      )
  }

  /** An unreadable block cannot be changed. Fail now, not when all changes are stored. */
  #assertReadable(blk: number): Awaitable<unknown> {
    return chain(this.#blocks.find(blk), ref => ref && this.#blocks.layout(blk, ref))
  }

  /** The stored bytes of chunks that a write covers in part, by their offset. */
  async #edges({ blk, lo, hi }: BlockPart): Promise<Map<number, Uint8Array>> {
    const bases = new Map<number, Uint8Array>()
    const overlay = this.#overlays.get(blk)
    for (const edge of [lo, hi]) {
      const chunk = chunkDown(edge)
      const end = Math.min(this.blksize, chunk + CHUNK_BYTES)
      if (edge === chunk || edge === this.blksize || bases.has(chunk) || overlay?.covers(chunk, end) === true)
        continue
      bases.set(chunk, joinBytes(await this.read(this.#offset(blk, chunk), end - chunk)))
    }
    return bases
  }

  /** The content of whole chunks of a block, as pieces for a block in which it is `shift` bytes later. Gaps are holes. */
  async #pieces({ blk, lo, hi }: BlockPart, shift: number): Promise<Piece[]> {
    const pieces: Piece[] = []
    const add = ({ lo, hi, slice }: SharedPart): void => {
      pieces.push({ kind: 'shared', lo: lo + shift, hi: hi + shift, slice })
    }
    for (const segment of this.#overlays.get(blk)?.segments(lo, hi) ?? [
      { kind: 'stored' as const, lo, hi },
    ]) {
      if (segment.kind === 'shared') add(segment)
      else if (segment.kind === 'bytes')
        pieces.push({ kind: 'bytes', lo: segment.lo + shift, bytes: segment.bytes })
      else if (segment.kind === 'stored') {
        const parts = await this.#blocks.shareable(blk, segment.lo, segment.hi)
        if (parts === undefined) {
          const bytes = joinBytes(await this.#blocks.read(blk, segment.lo, segment.hi))
          pieces.push({ kind: 'bytes', lo: segment.lo + shift, bytes })
        } else for (const part of parts) add(part)
      }
    }
    return pieces
  }

  #change(blk: number, change: (overlay: Overlay) => void): void {
    const overlay = this.#overlays.get(blk) ?? new Overlay(this.blksize)
    this.#overlays.set(blk, overlay)
    const before = this.#costOf(overlay)
    change(overlay)
    this.#connection.account(this.#costOf(overlay) - before)
    if (this.#connection.keptReads.isKeeping) this.#unloaded.add(blk)
  }

  /**
   * Memory that an overlay takes until it is stored, in bytes. In ZBlk0 format a changed block is stored as one record, for which its other
   * bytes are read.
   */
  #costOf(overlay: Overlay): number {
    if (this.#connection.zblkFormat !== 'zblk0' || overlay.isEmpty) return overlay.sizeBytes
    return Math.max(overlay.sizeBytes, this.blksize)
  }

  #forget(blk: number): void {
    const overlay = this.#overlays.get(blk)
    if (overlay === undefined) return
    this.#connection.account(-this.#costOf(overlay))
    this.#overlays.delete(blk)
    overlay.release()
  }

  async #zeroPart({ blk, lo, hi }: BlockPart): Promise<void> {
    if (lo >= hi || (!this.#overlays.has(blk) && (await this.#blocks.find(blk)) === undefined)) return
    await this.#assertReadable(blk)
    const first = Math.min(hi, chunkUp(lo))
    const last = hi === this.blksize ? hi : Math.max(first, chunkDown(hi))
    const edges = [
      { blk, lo, hi: first },
      { blk, lo: last, hi },
    ].filter(({ lo, hi }) => lo < hi)
    const bases: ReadonlyMap<number, Uint8Array>[] = []
    this.#users++
    try {
      for (const edge of edges) bases.push(await this.#edges(edge))
    } finally {
      this.#users--
    }
    this.#connection.join(this)
    this.#change(blk, overlay => {
      for (const [i, { lo, hi }] of edges.entries())
        overlay.write(lo, new Uint8Array(hi - lo), bases[i] ?? new Map())
      if (first < last) overlay.zero(first, last)
    })
  }

  /** Removes blocks `[lo, hi)`. */
  async #drop(lo: number, hi: number): Promise<void> {
    for (const blk of this.#overlays.keys()) if (lo <= blk && blk < hi) this.#forget(blk)
    const { blktab } = this.#blocks
    if (lo === 0 && hi === Infinity) {
      if ((await blktab.minKey()) !== undefined) await blktab.clearAll()
      this.onEmptied()
      return
    }
    const turns = new Turns()
    for (;;) {
      const { keys } = await blktab.batch({ lo, ...(hi === Infinity ? {} : { hi }) }, Infinity)
      if (keys.length === 0) return
      for (const blk of keys) {
        await turns.pass()
        this.onGrowth(-(await storedBytes(this.#blocks, blk)))
        await blktab.delete(blk)
      }
    }
  }

  /** The first block `>= blk` that is stored or overlaid. */
  async #nextBlock(blk: number): Promise<number | undefined> {
    let next = (await this.#blocks.blktab.minKey(blk)) ?? Infinity
    for (const overlaid of this.#overlays.keys()) if (overlaid >= blk) next = Math.min(next, overlaid)
    return next === Infinity ? undefined : next
  }

  /** The data of a block, stored or overlaid, in whole chunks. */
  async #extents(blk: number): Promise<Extent[]> {
    const segments = this.#overlays.get(blk)?.segments(0, this.blksize) ?? [
      { kind: 'stored' as const, lo: 0, hi: this.blksize },
    ]
    return dataExtents(segments, await this.#blocks.extents(blk), this.blksize)
  }
}
