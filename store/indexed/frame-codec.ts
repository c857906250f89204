/**
 * A frame: up to {@link FRAME_BYTES} of bulk bytes, compressed together. The units of a Bulk are stored either by themselves,
 * with a checksum each (frame.ts), or in frames, which describe themselves:
 *
 * | in a frame | length | is, numbers little-endian                                        |
 * |------------|--------|------------------------------------------------------------------|
 * | 0          | 8      | XXH64 of everything after it                                     |
 * | 8          | 8      | the position of its first unit, a multiple of {@link FRAME_BYTES} |
 * | 16         | 1      | how its units are stored: 0 as they are, 1 Zstandard, 2 LZ4      |
 * | 17         | 1      | the number of its units, 1 to {@link FRAME_UNITS}                |
 * | 18         | 1      | the size of the elements whose bytes are shuffled; 0 for none    |
 * | 19         | 1      | how the body is encrypted (encryption/frame-seal.ts): 0 not, 1 as a whole, 2 in parts |
 * | 20         | 4      | the length of the body                                           |
 * | 24         |        | the body                                                         |
 *
 * A frame is the least that can be released, and that can be read and verified, so it is short: a random read of 4 KiB expands 16 KiB. Only
 * the parts of an encrypted frame that is not compressed can be read by themselves.
 */
import { xxh64 } from '../checksum.ts'
import { BulkDamageError } from './bulk.ts'
import type { Compression, CompressionMethod } from '../compression.ts'
import { SEAL_BYTES } from '../encryption/aead.ts'
import {
  type FrameOpener,
  type FrameSeal,
  SEALED_HEADER_BYTES,
  sealedPartsBytes,
} from '../encryption/frame-seal.ts'
import { UNIT_BYTES } from './frame.ts'
import { UnitCompression } from './unit-compression.ts'

/** The greatest number of units in a frame. */
export const FRAME_UNITS = 4

/** The positions of a frame, including those that it has no units for. */
export const FRAME_BYTES = FRAME_UNITS * UNIT_BYTES

export const FRAME_HEADER_BYTES = 24

/** The length of a full frame that is neither compressed nor encrypted. */
export const FRAME_UNCOMPRESSED_BYTES = FRAME_HEADER_BYTES + FRAME_BYTES

/** A full frame whose parts are encrypted by themselves (encryption/frame-seal.ts). No other frame is as long. */
export const FRAME_OF_PARTS_BYTES = FRAME_HEADER_BYTES + sealedPartsBytes(FRAME_BYTES)

/** The length of the longest stored frame. */
export const STORED_FRAME_BYTES = FRAME_OF_PARTS_BYTES

const SUM_BYTES = 8
const POSITION_OFFSET = 8
const METHOD_OFFSET = 16
const UNITS_OFFSET = 17
const ELEMENT_OFFSET = 18
const SEALED_OFFSET = 19
const LENGTH_OFFSET = 20

const AS_IT_IS = 0
/** By the number in a header. */
const METHODS: readonly (CompressionMethod | undefined)[] = [undefined, 'zstd', 'lz4']
const NUMBERS = { off: AS_IT_IS, zstd: 1, lz4: 2 } as const

const PLAIN = 0
const SEALED_WHOLE = 1
const SEALED_PARTS = 2

/** The start of the frame with the byte at `pos`. */
export const frameDown = (pos: number): number => pos - (pos % FRAME_BYTES)

/** The start of the first frame at or after `pos`. */
export const frameUp = (pos: number): number => frameDown(pos + FRAME_BYTES - 1)

/** Writes frames. Not reentrant. */
export class FrameEncoder {
  readonly #compression: Compression
  readonly #seal: FrameSeal | undefined
  readonly #units = new UnitCompression(FRAME_BYTES)
  /** Receives compressed units that are to be encrypted. */
  readonly #memory = Buffer.allocUnsafeSlow(FRAME_BYTES)

  /** @param seal undefined for a database that is not encrypted. */
  constructor(compression: Compression, seal?: FrameSeal) {
    this.#compression = compression
    this.#seal = seal
  }

  /** Call before the first frame at positions that may have been written before. */
  beginEpoch(pos: number): void {
    this.#seal?.beginEpoch(pos)
  }

  /**
   * Writes the frame of `units` (1 to {@link FRAME_UNITS} of them) at position `pos` to the start of `into`, which has room for
   * {@link STORED_FRAME_BYTES}; returns its length.
   */
  encode(pos: number, units: Uint8Array, into: Buffer): number {
    const seal = this.#seal
    const room = seal === undefined ? into.subarray(FRAME_HEADER_BYTES) : this.#memory
    const packed = room.subarray(0, units.length)
    const length = this.#units.compress(units, this.#compression, packed)
    const isCompressed = length > 0
    const count = units.length / UNIT_BYTES
    const sealing = seal === undefined ? PLAIN : isCompressed ? SEALED_WHOLE : SEALED_PARTS
    const end = FRAME_HEADER_BYTES + bodyBytes(isCompressed ? length : units.length, sealing)
    into.writeBigUInt64LE(BigInt(pos), POSITION_OFFSET)
    into[METHOD_OFFSET] = isCompressed ? NUMBERS[this.#compression.method] : AS_IT_IS
    into[UNITS_OFFSET] = count
    into[ELEMENT_OFFSET] = isCompressed ? this.#compression.elementBytes : 0
    into[SEALED_OFFSET] = sealing
    into.writeUInt32LE(end - FRAME_HEADER_BYTES, LENGTH_OFFSET)
    const body = into.subarray(FRAME_HEADER_BYTES, end)
    if (seal === undefined) {
      if (!isCompressed) body.set(units)
    } else if (isCompressed) seal.seal(pos, sealedHeader(into), packed.subarray(0, length), body)
    else seal.sealParts(pos, sealedHeader(into), units, body)
    into.writeBigUInt64LE(xxh64(into.subarray(SUM_BYTES, end)))
    return end
  }
}

/** Reads frames. Not reentrant. */
export class FrameDecoder {
  readonly #opener: FrameOpener | undefined
  readonly #units = new UnitCompression(FRAME_BYTES)
  /** Receives decrypted units that are compressed. */
  readonly #memory = Buffer.allocUnsafeSlow(FRAME_BYTES)

  /** @param opener undefined for a database that is not encrypted. */
  constructor(opener?: FrameOpener) {
    this.#opener = opener
  }

  /** The bytes of the units that the last {@link FrameDecoder.decode} has written. */
  lo = 0
  hi = 0

  /**
   * Verifies the stored frame at position `pos`, and writes its units to the start of `into`; at least the bytes `[lo, hi)` of them, if these are
   * given.
   * @returns the number of bytes of its units. @throws BulkDamageError
   */
  decode(pos: number, stored: Buffer, into: Uint8Array, lo = 0, hi = FRAME_BYTES): number {
    if (stored.length < FRAME_HEADER_BYTES) throw new BulkDamageError(DIFFERS)
    const end = FRAME_HEADER_BYTES + stored.readUInt32LE(LENGTH_OFFSET)
    // The tag of an encrypted frame covers more than its checksum does, and is verified faster.
    const isSealed = this.#opener?.isKeyless === false && stored[SEALED_OFFSET] !== 0
    if (stored.length < end || (!isSealed && !isSumRight(stored, end))) throw new BulkDamageError(DIFFERS)
    assertPlace(pos, stored)
    const length = (stored[UNITS_OFFSET] ?? 0) * UNIT_BYTES
    const body = stored.subarray(FRAME_HEADER_BYTES, end)
    const method = stored[METHOD_OFFSET]
    if (length > FRAME_BYTES || length > into.length) throw new BulkDamageError(MALFORMED)
    const units = into.subarray(0, length)
    if ((stored[SEALED_OFFSET] !== 0) !== (this.#opener !== undefined)) throw new BulkDamageError(FORGED)
    this.lo = 0
    this.hi = length
    if (this.#opener?.isKeyless === true) {
      units.fill(0)
      return length
    }
    if (method === AS_IT_IS) this.#copy(pos, stored, body, units)
    else this.#expand(pos, stored, body, units, lo, hi)
    return length
  }

  /**
   * Verifies the stored frame at position `pos`, which is neither compressed nor encrypted; returns its units, in the memory of `stored`.
   * @throws BulkDamageError
   */
  rawUnits(pos: number, stored: Buffer): Buffer {
    const end = FRAME_HEADER_BYTES + (stored[UNITS_OFFSET] ?? 0) * UNIT_BYTES
    const isWhole = end <= stored.length && end === FRAME_HEADER_BYTES + stored.readUInt32LE(LENGTH_OFFSET)
    if (!isWhole || !isSumRight(stored, end)) throw new BulkDamageError(DIFFERS)
    assertPlace(pos, stored)
    if (stored[SEALED_OFFSET] !== 0) throw new BulkDamageError(FORGED)
    if (stored[METHOD_OFFSET] !== AS_IT_IS) throw new BulkDamageError(MALFORMED)
    return stored.subarray(FRAME_HEADER_BYTES, end)
  }

  /**
   * Decrypts consecutive parts of a frame of {@link FRAME_OF_PARTS_BYTES}, the first at position `pos`, that were read without the rest of the
   * frame; false if they are damaged, or the key is missing.
   */
  openParts(pos: number, sealed: Buffer, units: Uint8Array): boolean {
    return this.#opener?.openParts(pos, PARTS_HEADER, sealed, units) ?? false
  }

  #copy(pos: number, stored: Buffer, body: Buffer, units: Uint8Array): void {
    const sealing = stored[SEALED_OFFSET] ?? PLAIN
    if (body.length !== bodyBytes(units.length, sealing)) throw new BulkDamageError(MALFORMED)
    const opener = this.#opener
    if (opener === undefined) {
      units.set(body)
      return
    }
    const header = sealedHeader(stored)
    const isOpen =
      sealing === SEALED_PARTS
        ? opener.openParts(pos, header, body, units)
        : opener.open(pos, header, body, units)
    if (!isOpen) throw notSealed(stored)
  }

  #expand(pos: number, stored: Buffer, body: Buffer, units: Uint8Array, lo: number, hi: number): void {
    let packed = body
    if (this.#opener !== undefined) {
      const length = body.length - SEAL_BYTES
      if (length < 0 || length > FRAME_BYTES) throw new BulkDamageError(MALFORMED)
      packed = this.#memory.subarray(0, length)
      if (!this.#opener.open(pos, sealedHeader(stored), body, packed)) throw notSealed(stored)
    }
    const method = METHODS[stored[METHOD_OFFSET] ?? 0]
    const elementBytes = stored[ELEMENT_OFFSET] ?? 0
    const expanded = method && this.#units.expandPart(packed, { method, elementBytes }, units, lo, hi)
    if (expanded === undefined) throw new BulkDamageError(MALFORMED)
    this.lo = expanded.lo
    this.hi = expanded.hi
  }
}

const sealedHeader = (stored: Buffer): Buffer =>
  stored.subarray(POSITION_OFFSET, POSITION_OFFSET + SEALED_HEADER_BYTES)

/** What is authenticated of the headers of frames of {@link FRAME_OF_PARTS_BYTES}, which differ in their positions only. */
const PARTS_HEADER = Buffer.alloc(SEALED_HEADER_BYTES)
PARTS_HEADER[METHOD_OFFSET - POSITION_OFFSET] = AS_IT_IS
PARTS_HEADER[UNITS_OFFSET - POSITION_OFFSET] = FRAME_UNITS
PARTS_HEADER[SEALED_OFFSET - POSITION_OFFSET] = SEALED_PARTS
PARTS_HEADER.writeUInt32LE(FRAME_OF_PARTS_BYTES - FRAME_HEADER_BYTES, LENGTH_OFFSET - POSITION_OFFSET)

/** The length of the body with `length` bytes to be sealed. */
const bodyBytes = (length: number, sealing: number): number =>
  sealing === PLAIN ? length : sealing === SEALED_PARTS ? sealedPartsBytes(length) : length + SEAL_BYTES

/** The checksum in a frame's header: it tells frames apart, too. */
export const storedSum = (header: Buffer): bigint => header.readBigUInt64LE(0)

/** A stored frame by its header. */
export interface StoredFrame {
  /** The position of its first unit. */
  readonly pos: number
  /** The length of the stored frame. */
  readonly length: number
  /** The bytes of its units. */
  readonly unitBytes: number
}

/** The stored and encrypted frame that some bytes begin with, verified by its checksum; undefined if it is damaged, or cut short. */
export function sealedFrameIn(bytes: Buffer): StoredFrame | undefined {
  if (bytes.length < FRAME_HEADER_BYTES) return undefined
  const length = FRAME_HEADER_BYTES + bytes.readUInt32LE(LENGTH_OFFSET)
  if (length > Math.min(bytes.length, STORED_FRAME_BYTES) || !isSumRight(bytes, length)) return undefined
  const [pos, units] = [Number(bytes.readBigUInt64LE(POSITION_OFFSET)), bytes[UNITS_OFFSET] ?? 0]
  const isFrame = units >= 1 && units <= FRAME_UNITS && bytes[SEALED_OFFSET] !== PLAIN
  if (!isFrame || !Number.isSafeInteger(pos) || pos % FRAME_BYTES !== 0) return undefined
  return { pos, length, unitBytes: units * UNIT_BYTES }
}

const DIFFERS = 'the checksum of its bytes in the log differs'
const MALFORMED = 'its bytes in the log have another form than those of a frame'
const FORGED = 'its bytes in the log were not encrypted with the key of this database for this place'

function assertPlace(pos: number, stored: Buffer): void {
  if (stored.readBigUInt64LE(POSITION_OFFSET) !== BigInt(pos))
    throw new BulkDamageError('its bytes belong to another place')
}

const isSumRight = (stored: Buffer, end: number): boolean =>
  storedSum(stored) === xxh64(stored.subarray(SUM_BYTES, end))

/** The error of a frame whose tag differs: by accident, unless its checksum is right. */
const notSealed = (stored: Buffer): BulkDamageError =>
  new BulkDamageError(
    isSumRight(stored, FRAME_HEADER_BYTES + stored.readUInt32LE(LENGTH_OFFSET)) ? FORGED : DIFFERS,
  )
