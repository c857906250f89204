/**
 * A frame: up to {@link FRAME_BYTES} of bulk bytes, compressed together. The units of a Bulk are stored either by themselves,
 * with a checksum each (frame.ts), or in frames, which describe themselves:
 *
 * | in a frame | length | is, numbers little-endian                                        |
 * |------------|--------|------------------------------------------------------------------|
 * | 0          | 8      | XXH64 of everything after it                                     |
 * | 8          | 8      | the position of its first unit, a multiple of {@link FRAME_BYTES} |
 * | 16         | 1      | how its units are stored: 0 as they are, 1 with Zstandard        |
 * | 17         | 1      | the number of its units, 1 to {@link FRAME_UNITS}                |
 * | 18         | 1      | the size of the elements whose bytes are shuffled; 0 for none    |
 * | 19         | 1      | 0                                                                |
 * | 20         | 4      | the length of the body                                           |
 * | 24         |        | the body                                                         |
 *
 * A frame is the least that can be read, verified and released, so it is short: a random read of 4 KiB expands 16 KiB.
 */
import { xxh64 } from '../checksum.ts'
import { BulkDamageError } from './bulk.ts'
import type { Compression } from '../compression.ts'
import { UNIT_BYTES } from './frame.ts'
import { UnitCompression } from './unit-compression.ts'

/** The greatest number of units in a frame. */
export const FRAME_UNITS = 4

/** The positions of a frame, including those that it has no units for. */
export const FRAME_BYTES = FRAME_UNITS * UNIT_BYTES

export const FRAME_HEADER_BYTES = 24

/** The length of the longest stored frame. */
export const STORED_FRAME_BYTES = FRAME_HEADER_BYTES + FRAME_BYTES

const SUM_BYTES = 8
const POSITION_OFFSET = 8
const METHOD_OFFSET = 16
const UNITS_OFFSET = 17
const ELEMENT_OFFSET = 18
const LENGTH_OFFSET = 20

const AS_IT_IS = 0
const ZSTD = 1

/** The start of the frame with the byte at `pos`. */
export const frameDown = (pos: number): number => pos - (pos % FRAME_BYTES)

/** The start of the first frame at or after `pos`. */
export const frameUp = (pos: number): number => frameDown(pos + FRAME_BYTES - 1)

/** Writes frames. Not reentrant. */
export class FrameEncoder {
  readonly #compression: Compression
  readonly #units = new UnitCompression(FRAME_BYTES)

  constructor(compression: Compression) {
    this.#compression = compression
  }

  /**
   * Writes the frame of `units` (1 to {@link FRAME_UNITS} of them) at position `pos` to the start of `into`, which has room for
   * {@link STORED_FRAME_BYTES}; returns its length.
   */
  encode(pos: number, units: Uint8Array, into: Buffer): number {
    const body = into.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + units.length)
    let { elementBytes } = this.#compression
    let length = this.#units.compress(units, this.#compression, body)
    const method = length === 0 ? AS_IT_IS : ZSTD
    if (method === AS_IT_IS) {
      body.set(units)
      length = units.length
      elementBytes = 0
    }
    into.writeBigUInt64LE(BigInt(pos), POSITION_OFFSET)
    into[METHOD_OFFSET] = method
    into[UNITS_OFFSET] = units.length / UNIT_BYTES
    into[ELEMENT_OFFSET] = elementBytes
    into[ELEMENT_OFFSET + 1] = 0
    into.writeUInt32LE(length, LENGTH_OFFSET)
    const end = FRAME_HEADER_BYTES + length
    into.writeBigUInt64LE(xxh64(into.subarray(SUM_BYTES, end)))
    return end
  }
}

/** Reads frames. Not reentrant. */
export class FrameDecoder {
  readonly #units = new UnitCompression(FRAME_BYTES)

  /**
   * Verifies the stored frame at position `pos`, and writes its units to the start of `into`.
   * @returns the number of bytes of its units. @throws BulkDamageError
   */
  decode(pos: number, stored: Buffer, into: Uint8Array): number {
    if (stored.length < FRAME_HEADER_BYTES) throw new BulkDamageError(DIFFERS)
    const end = FRAME_HEADER_BYTES + stored.readUInt32LE(LENGTH_OFFSET)
    if (stored.length < end || storedSum(stored) !== xxh64(stored.subarray(SUM_BYTES, end)))
      throw new BulkDamageError(DIFFERS)
    if (stored.readBigUInt64LE(POSITION_OFFSET) !== BigInt(pos))
      throw new BulkDamageError('its bytes belong to another place')
    const length = (stored[UNITS_OFFSET] ?? 0) * UNIT_BYTES
    const body = stored.subarray(FRAME_HEADER_BYTES, end)
    const method = stored[METHOD_OFFSET]
    const elementBytes = stored[ELEMENT_OFFSET] ?? 0
    if (length > FRAME_BYTES || length > into.length) throw new BulkDamageError(MALFORMED)
    const units = into.subarray(0, length)
    if (method === AS_IT_IS && body.length === length) units.set(body)
    else if (method !== ZSTD || !this.#units.expand(body, elementBytes, units))
      throw new BulkDamageError(MALFORMED)
    return length
  }
}

/** The checksum in a frame's header: it tells frames apart, too. */
export const storedSum = (header: Buffer): bigint => header.readBigUInt64LE(0)

const DIFFERS = 'the checksum of its bytes in the log differs'
const MALFORMED = 'its bytes in the log have another form than those of a frame'
