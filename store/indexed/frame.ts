/**
 * The frame in which a Bulk stores bytes, the same for all of them. Bulk bytes are a sequence of units of
 * {@link UNIT_BYTES}; each has a checksum, XXH64 seeded by the unit's position, so that a unit that turns up at another
 * place is found. The checksums of {@link GROUP_BYTES} of units lie together in front of them:
 *
 * | in a frame       | is                                                               |
 * |------------------|------------------------------------------------------------------|
 * | 4096 bytes       | the checksums of the 512 units, 8 bytes little-endian each       |
 * | 512 * 4096 bytes | the units: a group                                               |
 *
 * A position counts the bytes of units, not those of checksums, and begins a frame where it is a multiple of
 * {@link GROUP_BYTES}. A frame may end after any unit. Compression and encryption would be steps of {@link Frame.seal}
 * and {@link isIntact}.
 */
import { xxh64 } from '../checksum.ts'

/** Bulk bytes are written, checked and released in pieces of this length. What is shorter lies in a row. */
export const UNIT_BYTES = 4096

/** The length of a checksum. */
export const SUM_BYTES = 8

/** The length of the units whose checksums fill a unit. */
export const GROUP_BYTES = (UNIT_BYTES / SUM_BYTES) * UNIT_BYTES

/** The length of a whole frame. */
export const FRAME_BYTES = UNIT_BYTES + GROUP_BYTES

/** The end of the last whole unit before `pos`. */
export const unitDown = (pos: number): number => pos - (pos % UNIT_BYTES)

/** Where the checksum of the unit at a position lies among those of its group. */
export const sumAt = (pos: number): number => ((pos % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES

const unitSum = (unit: Uint8Array, pos: number): bigint => xxh64(unit, BigInt(pos))

/** A frame that is being filled in memory, as it will be stored. */
export class Frame {
  /** The whole frame: checksums, then units. */
  readonly bytes: Uint8Array
  readonly units: Uint8Array
  readonly #sums: DataView

  /** @param bytes {@link FRAME_BYTES} of memory. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.units = bytes.subarray(UNIT_BYTES)
    this.#sums = new DataView(bytes.buffer, bytes.byteOffset, UNIT_BYTES)
  }

  /** Enters the checksum of the unit at `pos`, which lies in {@link Frame.units} already. */
  seal(pos: number): void {
    const at = pos % GROUP_BYTES
    this.#sums.setBigUint64(sumAt(pos), unitSum(this.units.subarray(at, at + UNIT_BYTES), pos), true)
  }
}

/** Whether whole units of one group, the first at `pos`, are those that the group's checksums were made of. */
export function isIntact(pos: number, units: Uint8Array, sums: Buffer): boolean {
  let at = sumAt(pos)
  for (let off = 0; off < units.length; off += UNIT_BYTES, at += SUM_BYTES)
    if (unitSum(units.subarray(off, off + UNIT_BYTES), pos + off) !== sums.readBigUInt64LE(at)) return false
  return true
}
