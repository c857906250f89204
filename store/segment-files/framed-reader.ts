/** Reads positions of segments with frames (framed-layout.ts), and verifies each frame that a read touches. */
import { LRUCache } from 'lru-cache'
import type { FrameOpener } from '../encryption/frame-seal.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import {
  FRAME_BYTES,
  FRAME_HEADER_BYTES,
  FrameDecoder,
  frameDown,
  STORED_FRAME_BYTES,
  storedSum,
} from '../indexed/frame-codec.ts'
import {
  ENTRY_BYTES,
  entryAt,
  entryOffset,
  type FrameEntry,
  frameNumber,
  PAGE_BYTES,
} from './framed-layout.ts'
import { CUT_SHORT, readUpTo } from './read-at.ts'

/** Pages of tables that are cached: 4 MiB, for 8 GiB of positions. */
const PAGES_KEPT = 1024
const FRAMES_PER_PAGE = PAGE_BYTES / ENTRY_BYTES

/** Frames that were read in part and are cached: 1 MiB. Neighbouring short reads expand a frame once. */
const FRAMES_KEPT = 64

/** Maximum length of a run of frames that is read with one call. */
const RUN_BYTES = 1 << 20

interface KnownFrame {
  /** Of the stored frame: a position can be written again if its transaction fails. */
  readonly sum: bigint
  readonly units: Buffer
  /** {@link FRAME_BYTES}, of which the units are the beginning. */
  readonly memory: Buffer
}

export class FramedReader {
  readonly #decoder: FrameDecoder
  /** By segment and number of the page. */
  readonly #pages = new LRUCache<string, Buffer>({ max: PAGES_KEPT })
  /** By position. */
  readonly #frames = new LRUCache<number, KnownFrame>({
    max: FRAMES_KEPT,
    dispose: ({ memory }) => void (this.#spare = memory),
  })
  /** Memory of a frame that is not cached any more: allocating it for each read would keep the garbage collector busy. */
  #spare: Buffer | undefined
  readonly #stored = Buffer.allocUnsafeSlow(RUN_BYTES + STORED_FRAME_BYTES)

  /** @param opener undefined for a database that is not encrypted. */
  constructor(opener?: FrameOpener) {
    this.#decoder = new FrameDecoder(opener)
  }

  /** Forgets a segment that was removed and made again. */
  forget(index: number): void {
    for (const key of this.#pages.keys()) if (key.startsWith(`${index}:`)) this.#pages.delete(key)
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
    const known = this.#frames.get(start)
    if (known !== undefined && this.#isSame(fd, entry, known)) {
      copyPart(known.units, off, target)
      return
    }
    const stored = this.#stored.subarray(0, entry.length)
    const memory = this.#spare ?? Buffer.allocUnsafeSlow(FRAME_BYTES)
    this.#spare = undefined
    const length = this.#decode(fd, start, entry, stored, memory)
    const units = memory.subarray(0, length)
    copyPart(units, off, target)
    this.#frames.set(start, { sum: storedSum(stored), units, memory })
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

  #decode(fd: number, start: number, entry: FrameEntry, stored: Buffer, units: Buffer): number {
    if (readUpTo(fd, stored, entry.offset) < stored.length) throw new BulkDamageError(CUT_SHORT)
    return this.#decoder.decode(start, stored, units)
  }

  /** Whether the file still has the frame that is cached. */
  #isSame(fd: number, { offset, length }: FrameEntry, { sum }: KnownFrame): boolean {
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
    const key = `${index}:${page}`
    const known = this.#pages.get(key)
    const entry = known && entryAt(known, at)
    if (entry !== undefined) return entry
    // Not cached, or cached before this frame was written.
    const table = Buffer.alloc(PAGE_BYTES)
    readUpTo(fd, table, entryOffset(page * FRAMES_PER_PAGE))
    this.#pages.set(key, table)
    return entryAt(table, at)
  }
}

/** @throws BulkDamageError if the frame ends before the part. */
function copyPart(units: Buffer, off: number, target: Uint8Array): void {
  if (units.length < off + target.length) throw new BulkDamageError(CUT_SHORT)
  target.set(units.subarray(off, off + target.length))
}
