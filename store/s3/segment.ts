/**
 * Segments: the immutable objects in which bulk bytes are stored. A segment is a header and frames; a frame has up to
 * {@link FRAME_UNITS} units of consecutive positions with their checksums, and does not cross a multiple of
 * {@link FRAME_UNIT_BYTES}. It is what a reader fetches, verifies and caches.
 *
 * | in an object  | length      | is                                                               |
 * |---------------|-------------|------------------------------------------------------------------|
 * | 0             | 8           | "ZBLKSEG1"                                                       |
 * | 8             | 16          | the database's id                                                |
 * | 24            | 8           | the epoch of the writer; little-endian, as all numbers           |
 * | 32            | 8           | the counter                                                      |
 * | 40            | 4           | F, the number of frames                                          |
 * | 44            | 4           | 0                                                                |
 * | 48            | 16 x F      | the table of frames, ascending by position                       |
 * | 48 + 16 x F   | 8           | the XXH64 of everything before                                   |
 * |               |             | the frames                                                       |
 *
 * | in the table  | length      | is                                                               |
 * |---------------|-------------|------------------------------------------------------------------|
 * | 0             | 6           | the number of the first unit: its position / 4096                |
 * | 6             | 1           | U, the number of units                                           |
 * | 7             | 1           | if it is compressed: the size of the elements that are shuffled, 0 for none; 64 more if with LZ4; 128 more if it is encrypted |
 * | 8             | 4           | the offset of the frame in the object                            |
 * | 12            | 4           | its length: U x 4104, or less if it is compressed; 36 more if it is encrypted (encryption/segment-seal.ts) |
 *
 * | in a frame    | length      | is                                                               |
 * |---------------|-------------|------------------------------------------------------------------|
 * | 0             | 8 x U       | the checksum of each unit (store/indexed/frame.ts)               |
 * | 8 x U         | 4096 x U    | the units; if it is compressed, frames of Zstandard or one block of LZ4 |
 *
 * The key of the object is `segments/EPOCH/COUNTER`, both as 8 hex digits or more. No key is used twice: an epoch belongs to one
 * writer, which counts.
 */
import { xxh64 } from '../checksum.ts'
import type { Compression, CompressionMethod } from '../compression.ts'
import { StoreError } from '../errors.ts'
import { SUM_BYTES, UNIT_BYTES, unitSum } from '../indexed/frame.ts'
import { SEGMENT_SEAL_BYTES, type SegmentOpener, type SegmentSeal } from '../encryption/segment-seal.ts'
import { compressElsewhere, UnitCompression } from '../indexed/unit-compression.ts'

/** Maximum units in a frame. */
export const FRAME_UNITS = 32
export const FRAME_UNIT_BYTES = FRAME_UNITS * UNIT_BYTES

/** Maximum length of a frame. */
export const FRAME_MAX_BYTES = FRAME_UNITS * (SUM_BYTES + UNIT_BYTES)

/** The bytes of units in a full segment. */
export const SEGMENT_UNIT_BYTES = 8 << 20

const MAGIC = Buffer.from('ZBLKSEG1')
const ID_BYTES = 16
const HEADER_BYTES = 48
const ENTRY_BYTES = 16
/** The part of an entry that an encrypted frame is bound to. */
const BOUND_BYTES = 8
const IS_LZ4 = 0x40
const METHOD_FLAG: Record<CompressionMethod, number> = { zstd: 0, lz4: IS_LZ4 }
const IS_ENCRYPTED = 0x80

/** Identifies a segment. */
export interface SegmentId {
  readonly epoch: number
  readonly counter: number
}

export interface Segment extends SegmentId {
  /** The length of the object. */
  readonly bytes: number
  readonly frames: FrameTable
}

/** The key of a segment's object; keys are ordered as the ids are. */
export const segmentKey = ({ epoch, counter }: SegmentId): string =>
  `${SEGMENTS}${hex(epoch)}/${hex(counter)}`

/** All keys of segments begin with this. */
export const SEGMENTS = 'segments/'

/** Less than every key of this epoch and of later ones, and not less than any other. */
export const epochStart = (epoch: number): string => `${SEGMENTS}${hex(epoch)}`

/** The id in a key; undefined for another object. */
export function parseSegmentKey(key: string): SegmentId | undefined {
  const found = /^segments\/([0-9a-f]{8,13})\/([0-9a-f]{8,13})$/.exec(key)
  if (found === null) return undefined
  const id = { epoch: Number.parseInt(found[1] ?? '', 16), counter: Number.parseInt(found[2] ?? '', 16) }
  return segmentKey(id) === key ? id : undefined
}

const hex = (number: number): string => number.toString(16).padStart(8, '0')

/** A frame's entry in the table. */
export interface FrameEntry {
  readonly pos: number
  /** The length of its units. */
  readonly len: number
  readonly offset: number
  /** Its length in the object: less than that of its checksums and units if it is compressed. */
  readonly bytes: number
  /** How it is compressed, if it is. */
  readonly method: CompressionMethod
  /** As {@link Compression.elementBytes}. */
  readonly elementBytes: number
  readonly isEncrypted: boolean
  /** The bytes of the entry that an encrypted frame is bound to. */
  readonly bound: Buffer
}

/** The table of frames in a segment's header. */
export class FrameTable {
  readonly encoded: Buffer

  /** @throws StoreError if it is damaged. */
  constructor(encoded: Buffer) {
    this.encoded = encoded
    if (encoded.length === 0 || encoded.length % ENTRY_BYTES !== 0) throw damagedTable()
    let [end, offset] = [0, 0]
    for (let index = 0; index < this.length; index++) {
      const entry = this.at(index)
      const isWhole =
        entry.len > 0 &&
        entry.len <= FRAME_UNIT_BYTES &&
        entry.bytes - (entry.isEncrypted ? SEGMENT_SEAL_BYTES : 0) <=
          (entry.len / UNIT_BYTES) * (SUM_BYTES + UNIT_BYTES) &&
        entry.bytes > (entry.len / UNIT_BYTES) * SUM_BYTES
      if (!isWhole || entry.pos < end || entry.offset < offset) throw damagedTable()
      end = entry.pos + entry.len
      offset = entry.offset + entry.bytes
    }
  }

  get length(): number {
    return this.encoded.length / ENTRY_BYTES
  }

  /** The length of all units, before compression. */
  get unitBytes(): number {
    let sum = 0
    for (let index = 0; index < this.length; index++) sum += this.at(index).len
    return sum
  }

  at(index: number): FrameEntry {
    const at = index * ENTRY_BYTES
    const flags = this.encoded.readUInt8(at + 7)
    return {
      pos: this.encoded.readUIntLE(at, 6) * UNIT_BYTES,
      len: this.encoded.readUInt8(at + 6) * UNIT_BYTES,
      method: (flags & IS_LZ4) === 0 ? 'zstd' : 'lz4',
      elementBytes: flags % IS_LZ4,
      isEncrypted: flags >= IS_ENCRYPTED,
      bound: this.encoded.subarray(at, at + BOUND_BYTES),
      offset: this.encoded.readUInt32LE(at + 8),
      bytes: this.encoded.readUInt32LE(at + 12),
    }
  }

  /** The index of the first frame that ends after `pos`. */
  find(pos: number): number {
    let [lo, hi] = [0, this.length]
    while (lo < hi) {
      const middle = (lo + hi) >> 1
      const { pos: start, len } = this.at(middle)
      if (start + len <= pos) lo = middle + 1
      else hi = middle
    }
    return lo
  }
}

const damagedTable = (): StoreError =>
  new StoreError('the table of a segment is damaged', { code: 'damaged-index' })

/** A frame that is being gathered, or complete: in its stored form, uncompressed and without checksums. */
interface OpenFrame {
  readonly pos: number
  /** Has room for the units up to the end of the frame. */
  readonly stored: Buffer
  /** The length of the checksums of these units. */
  readonly sums: number
  /** The bytes of units that were added. */
  fill: number
}

/** A frame in its stored form. */
interface SealedFrame {
  readonly pos: number
  /** The length of its units. */
  readonly len: number
  readonly method: CompressionMethod
  readonly elementBytes: number
  readonly sealed: Buffer
}

const compressor = new UnitCompression(FRAME_UNIT_BYTES)

/** Frames that are compressed at a time. */
const COMPRESSIONS_MAX = 2

/** Assembles a segment. Positions ascend; they may have gaps between whole units. */
export class SegmentBuilder {
  readonly #compression: Compression
  /** Those that are complete. */
  readonly #frames: OpenFrame[] = []
  #open: OpenFrame | undefined
  #unitBytes = 0

  constructor(compression: Compression) {
    this.#compression = compression
  }

  /** The bytes that were added. */
  get unitBytes(): number {
    return this.#unitBytes
  }

  /** Adds bytes at a position, as many as fit into its frame; returns their number. */
  add(pos: number, bytes: Uint8Array): number {
    if (this.#open !== undefined && this.#open.pos + this.#open.fill !== pos) this.#complete()
    const open = (this.#open ??= openFrame(pos))
    const part = bytes.subarray(0, FRAME_UNIT_BYTES - (pos % FRAME_UNIT_BYTES))
    open.stored.set(part, open.sums + open.fill)
    open.fill += part.length
    this.#unitBytes += part.length
    if ((pos + part.length) % FRAME_UNIT_BYTES === 0) this.#complete()
    return part.length
  }

  /** The units that were added, in their order. */
  units(): readonly Uint8Array[] {
    this.#complete()
    return this.#frames.map(({ stored, sums, fill }) => stored.subarray(sums, sums + fill))
  }

  /**
   * The finished segment, and the parts of its object. Frames are compressed in other threads; nothing may be added meanwhile.
   * @param seal undefined for a database that is not encrypted.
   */
  async finish(
    id: SegmentId,
    databaseId: string,
    seal?: SegmentSeal,
  ): Promise<{ readonly segment: Segment; readonly object: readonly Buffer[] }> {
    this.#complete()
    const frames = await this.#sealed()
    const table = Buffer.alloc(frames.length * ENTRY_BYTES)
    let offset = HEADER_BYTES + table.length + SUM_BYTES
    const stored: Buffer[] = []
    for (const [index, { pos, len, method, elementBytes, sealed }] of frames.entries()) {
      const at = index * ENTRY_BYTES
      table.writeUIntLE(pos / UNIT_BYTES, at, 6)
      table.writeUInt8(len / UNIT_BYTES, at + 6)
      const flags = METHOD_FLAG[method] + (seal === undefined ? 0 : IS_ENCRYPTED)
      table.writeUInt8(elementBytes + flags, at + 7)
      const bound = table.subarray(at, at + BOUND_BYTES)
      const frame = seal?.sealFrame(id.epoch, id.counter, bound, sealed) ?? sealed
      stored.push(frame)
      table.writeUInt32LE(offset, at + 8)
      table.writeUInt32LE(frame.length, at + 12)
      offset += frame.length
    }
    const header = headerOf(id, databaseId, table)
    return {
      segment: { ...id, bytes: offset, frames: new FrameTable(table) },
      object: [header, ...stored],
    }
  }

  #complete(): void {
    const open = this.#open
    this.#open = undefined
    if (open !== undefined && open.fill > 0) this.#frames.push(open)
  }

  async #sealed(): Promise<readonly SealedFrame[]> {
    const sealed: SealedFrame[] = []
    for (let index = 0; index < this.#frames.length; index += COMPRESSIONS_MAX) {
      const some = this.#frames.slice(index, index + COMPRESSIONS_MAX)
      sealed.push(...(await Promise.all(some.map(frame => sealFrame(frame, this.#compression)))))
    }
    return sealed
  }
}

function openFrame(pos: number): OpenFrame {
  const room = FRAME_UNIT_BYTES - (pos % FRAME_UNIT_BYTES)
  const sums = (room / UNIT_BYTES) * SUM_BYTES
  return { pos, stored: Buffer.allocUnsafeSlow(sums + room), sums, fill: 0 }
}

function headerOf({ epoch, counter }: SegmentId, databaseId: string, table: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES + table.length + SUM_BYTES)
  MAGIC.copy(header)
  header.write(databaseId, MAGIC.length, ID_BYTES, 'hex')
  header.writeBigUInt64LE(BigInt(epoch), 24)
  header.writeBigUInt64LE(BigInt(counter), 32)
  header.writeUInt32LE(table.length / ENTRY_BYTES, 40)
  table.copy(header, HEADER_BYTES)
  header.writeBigUInt64LE(xxh64(header.subarray(0, -SUM_BYTES)), HEADER_BYTES + table.length)
  return header
}

/** The stored form of a frame of whole units. */
async function sealFrame(
  { pos, stored, sums, fill }: OpenFrame,
  compression: Compression,
): Promise<SealedFrame> {
  const units = stored.subarray(sums, sums + fill)
  const length = (fill / UNIT_BYTES) * SUM_BYTES
  const compressed = compression.method === 'off' ? Buffer.alloc(0) : Buffer.allocUnsafeSlow(length + fill)
  const bytes = await compressElsewhere(units, compression, compressed.subarray(length))
  const isCompressed = bytes > 0
  // A frame may have fewer units than it has room for.
  const isInPlace = !isCompressed && length === sums
  const sealed = isCompressed
    ? compressed.subarray(0, length + bytes)
    : isInPlace
      ? stored
      : Buffer.allocUnsafeSlow(length + fill)
  for (let off = 0, at = 0; off < fill; off += UNIT_BYTES, at += SUM_BYTES)
    sealed.writeBigUInt64LE(unitSum(units.subarray(off, off + UNIT_BYTES), pos + off), at)
  if (!isCompressed && !isInPlace) sealed.set(units, length)
  const method = isCompressed && compression.method === 'lz4' ? 'lz4' : 'zstd'
  return { pos, len: fill, method, elementBytes: isCompressed ? compression.elementBytes : 0, sealed }
}

/** The units of a sealed frame, in its own memory unless they are compressed; undefined if they cannot be expanded. */
function unitsIn(
  sealed: Buffer,
  { len, method, elementBytes }: Pick<FrameEntry, 'len' | 'method' | 'elementBytes'>,
): Buffer | undefined {
  const body = sealed.subarray((len / UNIT_BYTES) * SUM_BYTES)
  if (body.length === len) return body
  const units = Buffer.allocUnsafeSlow(len)
  return compressor.expand(body, method, elementBytes, units) ? units : undefined
}

/** A frame in its stored form, and which of its units are intact. */
export class StoredFrame {
  readonly pos: number
  readonly stored: Buffer
  readonly units: Buffer
  /** By position. */
  readonly #damaged = new Set<number>()

  /**
   * @param isVerified whether the caller has compared the bytes with what was intact once.
   * @param opener undefined for a database that is not encrypted.
   */
  constructor(
    entry: FrameEntry,
    stored: Buffer,
    isVerified = false,
    { epoch, counter }: SegmentId = { epoch: 0, counter: 0 },
    opener?: SegmentOpener,
  ) {
    const { pos, len } = entry
    this.pos = pos
    this.stored = stored
    const isKnown = entry.isEncrypted === (opener !== undefined)
    const plain = opener === undefined ? stored : opener.openFrame(epoch, counter, entry.bound, stored)
    if (opener?.isKeyless === true) {
      this.units = Buffer.alloc(len)
      if (isKnown && plain !== undefined) return
    }
    const units = isKnown && plain !== undefined ? unitsIn(plain, entry) : undefined
    this.units = units ?? Buffer.alloc(len)
    if (isVerified && units !== undefined) return
    for (let off = 0, at = 0; off < len; off += UNIT_BYTES, at += SUM_BYTES)
      if (
        units === undefined ||
        unitSum(units.subarray(off, off + UNIT_BYTES), pos + off) !== plain?.readBigUInt64LE(at)
      )
        this.#damaged.add(pos + off)
  }

  get isIntact(): boolean {
    return this.#damaged.size === 0
  }

  /** Whether the units of the bytes `[lo, hi)` are intact. */
  isIntactIn(lo: number, hi: number): boolean {
    for (const pos of this.#damaged) if (pos < hi && pos + UNIT_BYTES > lo) return false
    return true
  }
}
