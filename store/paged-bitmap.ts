/**
 * A set of integers from 0 in bounded memory: one bit each, in pages (paged-memory.ts). Access in ascending order is cheapest.
 */
import { PAGE_BYTES, Paged, ScratchPages, type PageFile } from './paged-memory.ts'

const PAGE_BITS = PAGE_BYTES * 8

export class PagedBitmap extends Paged<Uint8Array> {
  /** @param file has the pages that are not in memory. */
  constructor(file: PageFile = new ScratchPages()) {
    super(file, bytes => bytes)
  }

  has(index: number): boolean {
    const bit = index % PAGE_BITS
    return (((this.#page(index)?.[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1
  }

  /** Adds an integer; returns whether it was absent. */
  add(index: number): boolean {
    const bit = index % PAGE_BITS
    const bits = this.#pageForWriting(index)
    const byte = bits[bit >> 3] ?? 0
    const mask = 1 << (bit & 7)
    if ((byte & mask) !== 0) return false
    bits[bit >> 3] = byte | mask
    return true
  }

  delete(index: number): void {
    if (this.#page(index) === undefined) return
    const bits = this.#pageForWriting(index)
    const bit = index % PAGE_BITS
    bits[bit >> 3] = (bits[bit >> 3] ?? 0) & ~(1 << (bit & 7))
  }

  /** Adds `[lo, hi)`. */
  addRange(lo: number, hi: number): void {
    let index = lo
    while (index < hi) {
      const bit = index % PAGE_BITS
      const end = Math.min(PAGE_BITS, bit + hi - index)
      if (bit % 8 === 0 && end - bit >= 8) {
        const whole = end - (end % 8)
        this.#pageForWriting(index).fill(0xff, bit >> 3, whole >> 3)
        index += whole - bit
      } else {
        this.add(index)
        index++
      }
    }
  }

  /** Counts the members in `[lo, hi)`. */
  count(lo: number, hi: number): number {
    let count = 0
    for (let index = lo; index < hi;) {
      const bit = index % PAGE_BITS
      const end = Math.min(PAGE_BITS, bit + hi - index)
      const page = this.#page(index)
      if (page !== undefined) count += countBits(page, bit, end)
      index += end - bit
    }
    return count
  }

  /** The least integer in `[from, end)` that is (`present`) or is not a member; `end` if there is none. */
  find(present: boolean, from: number, end: number): number {
    let index = from
    while (index < end) {
      const page = this.#page(index)
      if (page !== undefined) {
        const bit = index % PAGE_BITS
        const found = findBit(page, present, bit)
        index += found - bit
        if (found < PAGE_BITS) return Math.min(index, end)
      } else if (present) index = this.#nextPage(index)
      else return index
    }
    return end
  }

  /** The first index of the next page that exists. */
  #nextPage(index: number): number {
    return this.pages.next(Math.floor(index / PAGE_BITS) + 1) * PAGE_BITS
  }

  #page(index: number): Uint8Array | undefined {
    return this.pages.page(Math.floor(index / PAGE_BITS))
  }

  #pageForWriting(index: number): Uint8Array {
    return this.pages.pageForWriting(Math.floor(index / PAGE_BITS))
  }
}

const BITS_SET = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0
  for (let bits = byte; bits !== 0; bits >>= 1) count += bits & 1
  return count
})

/** Counts the bits of `[lo, hi)` that are set. */
function countBits(bits: Uint8Array, lo: number, hi: number): number {
  let count = 0
  let bit = lo
  const isSet = (bit: number): number => ((bits[bit >> 3] ?? 0) >> (bit & 7)) & 1
  for (; bit < hi && (bit & 7) !== 0; bit++) count += isSet(bit)
  for (; bit + 8 <= hi; bit += 8) count += BITS_SET[bits[bit >> 3] ?? 0] ?? 0
  for (; bit < hi; bit++) count += isSet(bit)
  return count
}

/** The first bit from `from` on that is (`present`) or is not set; {@link PAGE_BITS} if there is none. */
function findBit(bits: Uint8Array, present: boolean, from: number): number {
  const skipped = present ? 0 : 0xff
  let bit = from
  while (bit < PAGE_BITS) {
    const byte = bits[bit >> 3] ?? 0
    if (byte === skipped) bit = (bit | 7) + 1
    else if (((byte >> (bit & 7)) & 1) === (present ? 1 : 0)) return bit
    else bit++
  }
  return PAGE_BITS
}
