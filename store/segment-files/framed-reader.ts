/** Reads positions of segments with frames (framed-layout.ts), and verifies each frame that a read touches. */
import { type FrameOpener, PART_BYTES, SEALED_PART_BYTES } from '../encryption/frame-seal.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import {
  FRAME_BYTES,
  FRAME_HEADER_BYTES,
  FRAME_OF_PARTS_BYTES,
  FRAME_UNCOMPRESSED_BYTES,
  FrameDecoder,
  frameDown,
  STORED_FRAME_BYTES,
  storedSum,
} from '../indexed/frame-codec.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import {
  ENTRY_BYTES,
  entryAt,
  entryOffset,
  type FrameEntry,
  frameNumber,
  FRAMES_PER_SEGMENT,
  PAGE_BYTES,
} from './framed-layout.ts'
import { CUT_SHORT, readUpTo } from './read-at.ts'

/** Pages of tables that are cached: 4 MiB, for 8 GiB of positions. */
const PAGES_KEPT = 1024
const FRAMES_PER_PAGE = PAGE_BYTES / ENTRY_BYTES
const PAGES_PER_SEGMENT = FRAMES_PER_SEGMENT / FRAMES_PER_PAGE

/** Frames that were read in part and are cached, a power of two: 1 MiB. Neighbouring short reads expand a frame once. */
const FRAMES_KEPT = 64

/** Maximum length of a run of frames that is read with one call. */
const RUN_BYTES = 1 << 20

/** A place of the cache of frames. Each position has one, so that a read allocates nothing. */
interface CachedFrame {
  /** The position of the frame; -1 for none. */
  start: number
  /** Of the stored frame: a position can be written again if its transaction fails. */
  sum: bigint
  /** In {@link CachedFrame.memory}; of them, the bytes `[lo, hi)` were expanded. */
  units: Buffer
  lo: number
  hi: number
  readonly memory: Buffer
}

export class FramedReader {
  readonly #decoder: FrameDecoder
  readonly #isEncrypted: boolean
  /** By number, counted over all segments; the oldest is dropped first. */
  readonly #pages = new Map<number, Buffer>()
  /** By the lowest bits of the frame's number. */
  readonly #frames: CachedFrame[] = []
  readonly #stored = Buffer.allocUnsafeSlow(RUN_BYTES + STORED_FRAME_BYTES)
  /** Receives parts of a frame of which not all is wanted. */
  readonly #units = Buffer.allocUnsafeSlow(FRAME_BYTES)

  /** @param opener undefined for a database that is not encrypted. */
  constructor(opener?: FrameOpener) {
    this.#decoder = new FrameDecoder(opener)
    this.#isEncrypted = opener !== undefined
  }

  /** Forgets a segment that was removed and made again. */
  forget(index: number): void {
    for (let page = 0; page < PAGES_PER_SEGMENT; page++) this.#pages.delete(index * PAGES_PER_SEGMENT + page)
  }

  /**
   * Reads `[pos, pos + target.length)`, positions of the open segment `index`.
   * @throws BulkDamageError if bytes are missing or differ from what was written.
   */
  read(fd: number, index: number, pos: number, target: Uint8Array): void {
    const end = pos + target.length
    for (let at = pos; at < end;) {
      const start = frameDown(at)
      const part = target.subarray(at - pos)
      if (at !== start || end - at < FRAME_BYTES) {
        const off = at - start
        const wanted = part.subarray(0, FRAME_BYTES - off)
        this.#readPart(fd, index, start, off, wanted)
        at += wanted.length
      } else {
        at += this.#readWhole(fd, index, start, part)
      }
    }
  }

  /** Reads a part of a frame. */
  #readPart(fd: number, index: number, start: number, off: number, target: Uint8Array): void {
    const entry = this.#entry(fd, index, start)
    if (this.#readParts(fd, entry, start, off, target)) return
    const frame = (this.#frames[(start / FRAME_BYTES) % FRAMES_KEPT] ??= emptyFrame())
    const end = off + target.length
    if (frame.start !== start || !this.#isSame(fd, entry, frame))
      this.#load(fd, start, entry, frame, off, end)
    // A second read of a frame is one of neighbouring reads.
    else if (off < frame.lo || end > frame.hi) this.#load(fd, start, entry, frame, 0, FRAME_BYTES)
    const { units } = frame
    if (units.length < end) throw new BulkDamageError(CUT_SHORT)
    units.copy(target, 0, off, end)
  }

  /** Reads whole units of a frame whose parts are encrypted by themselves; false if it is another frame, or damaged. */
  #readParts(
    fd: number,
    { offset, length }: FrameEntry,
    start: number,
    off: number,
    target: Uint8Array,
  ): boolean {
    const end = off + target.length
    if (length !== FRAME_OF_PARTS_BYTES || off % UNIT_BYTES !== 0 || end % UNIT_BYTES !== 0) return false
    const first = Math.floor(off / PART_BYTES)
    const count = Math.ceil(end / PART_BYTES) - first
    const sealed = this.#stored.subarray(0, count * SEALED_PART_BYTES)
    const at = offset + FRAME_HEADER_BYTES + first * SEALED_PART_BYTES
    if (readUpTo(fd, sealed, at) < sealed.length) return false
    const isWhole = count * PART_BYTES === target.length
    const units = isWhole ? target : this.#units.subarray(0, count * PART_BYTES)
    if (!this.#decoder.openParts(start + first * PART_BYTES, sealed, units)) return false
    if (!isWhole) target.set(units.subarray(off - first * PART_BYTES, end - first * PART_BYTES))
    return true
  }

  /** Reads a frame to the cache, at least the bytes `[lo, hi)`. One that is stored as it is is verified where it was read to. */
  #load(
    fd: number,
    start: number,
    { offset, length }: FrameEntry,
    frame: CachedFrame,
    lo: number,
    hi: number,
  ): void {
    const { memory } = frame
    const isRaw = !this.#isEncrypted && length >= FRAME_UNCOMPRESSED_BYTES && length <= memory.length
    const stored = (isRaw ? memory : this.#stored).subarray(0, length)
    frame.start = -1
    if (readUpTo(fd, stored, offset) < length) throw new BulkDamageError(CUT_SHORT)
    frame.units = isRaw
      ? this.#decoder.rawUnits(start, stored)
      : memory.subarray(0, this.#decoder.decode(start, stored, memory, lo, hi))
    frame.lo = isRaw ? 0 : this.#decoder.lo
    frame.hi = isRaw ? frame.units.length : this.#decoder.hi
    frame.sum = storedSum(stored)
    frame.start = start
  }

  /** Reads whole frames from `start` on, as many as are adjacent in the file; returns their length. `target` has room for one at least. */
  #readWhole(fd: number, index: number, start: number, target: Uint8Array): number {
    const first = this.#entry(fd, index, start)
    const entries = [first]
    let length = first.length
    while ((entries.length + 1) * FRAME_BYTES <= target.length && length < RUN_BYTES) {
      const next = this.#entryIfThere(fd, index, start + entries.length * FRAME_BYTES)
      if (next?.offset !== first.offset + length || next.isReleased) break
      entries.push(next)
      length += next.length
    }
    const stored = this.#stored.subarray(0, length)
    if (readUpTo(fd, stored, first.offset) < length) throw new BulkDamageError(CUT_SHORT)
    for (const [number, entry] of entries.entries()) {
      const at = entry.offset - first.offset
      const units = target.subarray(number * FRAME_BYTES, (number + 1) * FRAME_BYTES)
      const bytes = this.#decoder.decode(
        start + number * FRAME_BYTES,
        stored.subarray(at, at + entry.length),
        units,
      )
      if (bytes < units.length) throw new BulkDamageError(CUT_SHORT)
    }
    return entries.length * FRAME_BYTES
  }

  /** Whether the file still has the frame that is cached. */
  #isSame(fd: number, { offset, length }: FrameEntry, { sum }: CachedFrame): boolean {
    const header = this.#stored.subarray(0, FRAME_HEADER_BYTES)
    return (
      length >= header.length && readUpTo(fd, header, offset) === header.length && storedSum(header) === sum
    )
  }

  /** @throws BulkDamageError if the frame was not written. */
  #entry(fd: number, index: number, start: number): FrameEntry {
    const entry = this.#entryIfThere(fd, index, start)
    if (entry === undefined) throw new BulkDamageError(CUT_SHORT)
    if (entry.isReleased) throw new BulkDamageError('a pack has released its bytes')
    return entry
  }

  /** The entry of the frame at `start`; undefined if it is in another segment, or not written. */
  #entryIfThere(fd: number, index: number, start: number): FrameEntry | undefined {
    const number = frameNumber(start)
    const page = Math.floor(number / FRAMES_PER_PAGE)
    const at = (number % FRAMES_PER_PAGE) * ENTRY_BYTES
    const key = index * PAGES_PER_SEGMENT + page
    const known = this.#pages.get(key)
    const entry = known && entryAt(known, at)
    if (entry !== undefined) return entry
    // Not cached, or cached before this frame was written.
    const table = known ?? Buffer.alloc(PAGE_BYTES)
    table.fill(0, readUpTo(fd, table, entryOffset(page * FRAMES_PER_PAGE)))
    if (known === undefined) this.#keep(key, table)
    return entryAt(table, at)
  }

  #keep(key: number, table: Buffer): void {
    const [oldest] = this.#pages.keys()
    if (this.#pages.size === PAGES_KEPT && oldest !== undefined) this.#pages.delete(oldest)
    this.#pages.set(key, table)
  }
}

const emptyFrame = (): CachedFrame => ({
  start: -1,
  sum: 0n,
  units: Buffer.alloc(0),
  lo: 0,
  hi: 0,
  memory: Buffer.allocUnsafeSlow(FRAME_UNCOMPRESSED_BYTES),
})
