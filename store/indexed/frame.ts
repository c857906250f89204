/**
 * The units in which a Bulk stores bytes, the same for all of them. Bulk bytes are a sequence of units of {@link UNIT_BYTES}. A
 * Bulk stores them compressed, in frames (frame-codec.ts), or as they are. In the latter case each has a checksum, XXH64 seeded by the unit's position,
 * so that a unit at the wrong position is detected. The checksums of a group are stored together before it:
 *
 * | in a stored group | is                                                               |
 * |-------------------|------------------------------------------------------------------|
 * | 4096 bytes        | the checksums of the 512 units, 8 bytes little-endian each       |
 * | 512 * 4096 bytes  | the units                                                        |
 *
 * Positions count the bytes of units, not those of checksums. A group begins at each multiple of {@link GROUP_BYTES}. It may end after
 * any unit.
 */
import { xxh64 } from '../checksum.ts'

/** Bulk bytes are written, verified and released in units of this length. Shorter data is stored in rows. */
export const UNIT_BYTES = 4096

/** The length of a checksum. */
export const SUM_BYTES = 8

/** The length of the units whose checksums fill a unit. */
export const GROUP_BYTES = (UNIT_BYTES / SUM_BYTES) * UNIT_BYTES

/** The length of a whole group with its checksums. */
export const STORED_GROUP_BYTES = UNIT_BYTES + GROUP_BYTES

/** The end of the last whole unit before `pos`. */
export const unitDown = (pos: number): number => pos - (pos % UNIT_BYTES)

/** The units that bulk bytes lie in, as in StoredRevision; none if `pos` is null. */
export const unitsOf = (
  pos: number | null,
  len: number,
): { readonly unitLo: number; readonly unitHi: number } =>
  pos === null
    ? { unitLo: 0, unitHi: 0 }
    : { unitLo: Math.floor(pos / UNIT_BYTES), unitHi: Math.ceil((pos + len) / UNIT_BYTES) }

/** The offset of a unit's checksum among those of its group. */
export const sumAt = (pos: number): number => ((pos % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES

/** The checksum of the unit at a position. */
export const unitSum = (unit: Uint8Array, pos: number): bigint => xxh64(unit, BigInt(pos))

/** A group being assembled in memory, in its stored form. */
export class Group {
  /** The whole group: checksums, then units. */
  readonly bytes: Uint8Array
  readonly units: Uint8Array
  readonly #sums: DataView

  /** @param bytes {@link STORED_GROUP_BYTES} of memory. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.units = bytes.subarray(UNIT_BYTES)
    this.#sums = new DataView(bytes.buffer, bytes.byteOffset, UNIT_BYTES)
  }

  /** Sets the checksum of the unit at `pos`, which must be in {@link Group.units} already. */
  seal(pos: number): void {
    const at = pos % GROUP_BYTES
    this.#sums.setBigUint64(sumAt(pos), unitSum(this.units.subarray(at, at + UNIT_BYTES), pos), true)
  }
}

/** Whether whole units of one group, the first at `pos`, match the group's checksums. */
export function isIntact(pos: number, units: Uint8Array, sums: Buffer): boolean {
  let at = sumAt(pos)
  for (let off = 0; off < units.length; off += UNIT_BYTES, at += SUM_BYTES)
    if (unitSum(units.subarray(off, off + UNIT_BYTES), pos + off) !== sums.readBigUInt64LE(at)) return false
  return true
}
