/**
 * Compresses units together, for every form in which a Bulk stores several of them at a time.
 *
 * Shuffled bytes have the first bytes of all elements first, then the second ones, and so on: the high bytes of numbers that
 * differ little are equal, and compress well.
 */
import type { Compression } from '../compression.ts'
import { zstd } from '../zstd.ts'
import { UNIT_BYTES } from './frame.ts'

/** Units that shrink by less than this part are stored as they are: expanding them would cost more than reading them. */
const LEAST_SAVED = 1 / 16

/** Not reentrant. */
export class UnitCompression {
  /** For shuffled bytes. */
  readonly #memory: Buffer

  /** @param maxBytes the length of the units of one call. */
  constructor(maxBytes: number) {
    this.#memory = Buffer.allocUnsafeSlow(maxBytes)
  }

  /** Compresses units to the start of `into`; returns the length, 0 if they are not worth it. */
  compress(units: Uint8Array, { method, level, elementBytes }: Compression, into: Uint8Array): number {
    if (method === 'off') return 0
    const room = into.subarray(0, Math.floor(units.length * (1 - LEAST_SAVED)))
    if (elementBytes === 0) return zstd().compress(units, room, level)
    const shuffled = this.#memory.subarray(0, units.length)
    shuffle(units, elementBytes, shuffled)
    return zstd().compress(shuffled, room, level)
  }

  /** Expands to `units`; false if the result does not have exactly that length. */
  expand(from: Uint8Array, elementBytes: number, units: Uint8Array): boolean {
    if (elementBytes === 0) return zstd().expand(from, units)
    if (UNIT_BYTES % elementBytes !== 0) return false
    const shuffled = this.#memory.subarray(0, units.length)
    if (!zstd().expand(from, shuffled)) return false
    unshuffle(shuffled, elementBytes, units)
    return true
  }
}

function shuffle(from: Uint8Array, elementBytes: number, into: Uint8Array): void {
  let at = 0
  for (let byte = 0; byte < elementBytes; byte++)
    for (let off = byte; off < from.length; off += elementBytes) into[at++] = from[off] ?? 0
}

function unshuffle(from: Uint8Array, elementBytes: number, into: Uint8Array): void {
  let at = 0
  for (let byte = 0; byte < elementBytes; byte++)
    for (let off = byte; off < from.length; off += elementBytes) into[off] = from[at++] ?? 0
}
