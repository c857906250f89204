/**
 * Compresses units together, for every form in which a Bulk stores several of them at a time.
 *
 * Shuffled bytes have the first bytes of all elements first, then the second ones, and so on: the high bytes of numbers that
 * differ little are equal, and compress well.
 */
import type { BlockCodec, Compression, CompressionMethod } from '../compression.ts'
import { lz4 } from '../lz4.ts'
import { zstd } from '../zstd.ts'
import { UNIT_BYTES } from './frame.ts'

/**
 * Zstandard expands a piece only as a whole, so that units are compressed in pieces of this length: a short read expands one of them. docs/notes.md
 * has figures.
 */
export const PIECE_BYTES = 2 * UNIT_BYTES

/** Units that shrink by less than this part are stored as they are: expanding them would cost more than reading them. */
const LEAST_SAVED = 1 / 16

const CODECS: Record<CompressionMethod, () => BlockCodec> = { zstd, lz4 }

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
    const room = roomFor(units, into)
    if (elementBytes === 0)
      return method === 'zstd' ? inPieces(units, room, level) : CODECS[method]().compress(units, room, level)
    const shuffled = this.#memory.subarray(0, units.length)
    shuffle(units, elementBytes, shuffled)
    return CODECS[method]().compress(shuffled, room, level)
  }

  /**
   * As {@link UnitCompression.expand}, but only as much of `units` as it takes for the bytes `[lo, hi)`; returns which bytes were expanded. Undefined
   * if they cannot be.
   */
  expandPart(
    from: Uint8Array,
    { method, elementBytes }: Pick<Compression, 'elementBytes'> & { readonly method: CompressionMethod },
    units: Uint8Array,
    lo: number,
    hi: number,
  ): Expanded | undefined {
    const codec = CODECS[method]()
    if (elementBytes === 0 && hi <= units.length && hi - lo < units.length) {
      const first = units.length > PIECE_BYTES ? codec.firstPiece?.(from) : undefined
      // Another writer may have made other pieces.
      if (first !== undefined && first < from.length) {
        if (hi <= PIECE_BYTES && codec.expand(from.subarray(0, first), units.subarray(0, PIECE_BYTES)))
          return { lo: 0, hi: PIECE_BYTES }
        if (lo >= PIECE_BYTES && codec.expand(from.subarray(first), units.subarray(PIECE_BYTES)))
          return { lo: PIECE_BYTES, hi: units.length }
      } else if (hi < units.length && codec.expandStart?.(from, units.subarray(0, hi)) === true)
        return { lo: 0, hi }
    }
    return this.expand(from, method, elementBytes, units) ? { lo: 0, hi: units.length } : undefined
  }

  /** Expands to `units`; false if the result does not have exactly that length. */
  expand(from: Uint8Array, method: CompressionMethod, elementBytes: number, units: Uint8Array): boolean {
    if (elementBytes === 0) return CODECS[method]().expand(from, units)
    if (UNIT_BYTES % elementBytes !== 0) return false
    const shuffled = this.#memory.subarray(0, units.length)
    if (!CODECS[method]().expand(from, shuffled)) return false
    unshuffle(shuffled, elementBytes, units)
    return true
  }
}

/** Units `[lo, hi)` of those that are wanted were expanded. */
export interface Expanded {
  readonly lo: number
  readonly hi: number
}

/** Compresses with Zstandard. */
function inPieces(units: Uint8Array, room: Uint8Array, level: number): number {
  const codec = zstd()
  let length = 0
  for (let at = 0; at < units.length; at += PIECE_BYTES) {
    const piece = codec.compress(units.subarray(at, at + PIECE_BYTES), room.subarray(length), level)
    if (piece === 0) return 0
    length += piece
  }
  return length
}

/** As {@link UnitCompression.compress}, in another thread; several calls may be in progress. `into` has the length of the units at least. */
export async function compressElsewhere(
  units: Uint8Array,
  { method, level, elementBytes }: Compression,
  into: Uint8Array,
): Promise<number> {
  if (method === 'off') return 0
  let from = units
  if (elementBytes > 0) {
    from = Buffer.allocUnsafeSlow(units.length)
    shuffle(units, elementBytes, from)
  }
  return await CODECS[method]().compressAsync(from, roomFor(units, into), level)
}

const roomFor = (units: Uint8Array, into: Uint8Array): Uint8Array =>
  into.subarray(0, Math.floor(units.length * (1 - LEAST_SAVED)))

function shuffle(from: Uint8Array, elementBytes: number, into: Uint8Array): void {
  const words = wordsOf(from, elementBytes)
  if (words !== undefined) return shuffleWords(words, elementBytes, into)
  let at = 0
  for (let byte = 0; byte < elementBytes; byte++)
    for (let off = byte; off < from.length; off += elementBytes) into[at++] = from[off] ?? 0
}

function unshuffle(from: Uint8Array, elementBytes: number, into: Uint8Array): void {
  const words = wordsOf(into, elementBytes)
  if (words !== undefined) return unshuffleWords(from, elementBytes, words)
  let at = 0
  for (let byte = 0; byte < elementBytes; byte++)
    for (let off = byte; off < from.length; off += elementBytes) into[off] = from[at++] ?? 0
}

/** Elements as little-endian words of 4 bytes, which are shuffled several times as fast as bytes; undefined if they are not aligned. */
const wordsOf = (elements: Uint8Array, elementBytes: number): Uint32Array | undefined =>
  elementBytes % 4 === 0 && elements.byteOffset % 4 === 0
    ? new Uint32Array(elements.buffer, elements.byteOffset, elements.length / 4)
    : undefined

function shuffleWords(words: Uint32Array, elementBytes: number, into: Uint8Array): void {
  const step = elementBytes / 4
  const count = words.length / step
  for (let word = 0; word < step; word++) {
    const first = 4 * word * count
    const [second, third, fourth] = [first + count, first + 2 * count, first + 3 * count]
    for (let i = 0, at = word; i < count; i++, at += step) {
      const value = words[at] ?? 0
      into[first + i] = value
      into[second + i] = value >>> 8
      into[third + i] = value >>> 16
      into[fourth + i] = value >>> 24
    }
  }
}

function unshuffleWords(from: Uint8Array, elementBytes: number, words: Uint32Array): void {
  const step = elementBytes / 4
  const count = words.length / step
  for (let word = 0; word < step; word++) {
    const first = 4 * word * count
    const [second, third, fourth] = [first + count, first + 2 * count, first + 3 * count]
    for (let i = 0, at = word; i < count; i++, at += step)
      words[at] =
        (from[first + i] ?? 0) |
        ((from[second + i] ?? 0) << 8) |
        ((from[third + i] ?? 0) << 16) |
        ((from[fourth + i] ?? 0) << 24)
  }
}
