/**
 * A set of integers from 0 in bounded memory: one bit each, in pages, of which some are in memory and the others in a
 * temporary file that is removed with the process. Access in ascending order is cheapest.
 */
import type Database from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import { openScratch } from './scratch.ts'

const PAGE_BYTES = 16_384
const PAGE_BITS = PAGE_BYTES * 8
const PAGES_IN_MEMORY = 512

interface Page {
  readonly bits: Uint8Array
  changed: boolean
}

export class PagedBitmap {
  readonly #db: Database.Database
  readonly #read: Database.Statement<[number], Buffer>
  readonly #write: Database.Statement<[number, Uint8Array]>
  readonly #next: Database.Statement<[number], number | null>
  readonly #pages: LRUCache<number, Page>
  #lastNumber = -1
  #lastPage: Page | undefined

  constructor() {
    this.#db = openScratch('CREATE TABLE page (number INTEGER PRIMARY KEY, bits BLOB NOT NULL)')
    this.#db.pragma('cache_size = -2048')
    this.#read = this.#db.prepare<[number], Buffer>('SELECT bits FROM page WHERE number = ?').pluck()
    this.#write = this.#db.prepare('INSERT OR REPLACE INTO page VALUES (?, ?)')
    this.#next = this.#db
      .prepare<[number], number | null>('SELECT min(number) FROM page WHERE number >= ?')
      .pluck()
    this.#pages = new LRUCache<number, Page>({
      max: PAGES_IN_MEMORY,
      dispose: (page, number, reason) => {
        if (reason === 'evict') this.#store(number, page)
      },
    })
  }

  has(index: number): boolean {
    const bit = index % PAGE_BITS
    return (((this.#page(index)?.bits[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1
  }

  /** Adds an integer; returns whether it was absent. */
  add(index: number): boolean {
    const bit = index % PAGE_BITS
    const page = this.#pageForWriting(index)
    const byte = page.bits[bit >> 3] ?? 0
    const mask = 1 << (bit & 7)
    if ((byte & mask) !== 0) return false
    page.bits[bit >> 3] = byte | mask
    return true
  }

  delete(index: number): void {
    const page = this.#page(index)
    const bit = index % PAGE_BITS
    if (page === undefined) return
    page.bits[bit >> 3] = (page.bits[bit >> 3] ?? 0) & ~(1 << (bit & 7))
    page.changed = true
  }

  /** Adds `[lo, hi)`. */
  addRange(lo: number, hi: number): void {
    let index = lo
    while (index < hi) {
      const bit = index % PAGE_BITS
      const end = Math.min(PAGE_BITS, bit + hi - index)
      if (bit % 8 === 0 && end - bit >= 8) {
        const whole = end - (end % 8)
        this.#pageForWriting(index).bits.fill(0xff, bit >> 3, whole >> 3)
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
      if (page !== undefined) count += countBits(page.bits, bit, end)
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
        const found = findBit(page.bits, present, bit)
        index += found - bit
        if (found < PAGE_BITS) return Math.min(index, end)
      } else if (present) index = this.#nextPage(index)
      else return index
    }
    return end
  }

  close(): void {
    this.#db.close()
  }

  /** The first index of the next page that exists. */
  #nextPage(index: number): number {
    const number = Math.floor(index / PAGE_BITS) + 1
    let next = this.#next.get(number) ?? Number.POSITIVE_INFINITY
    for (const kept of this.#pages.keys()) if (kept >= number) next = Math.min(next, kept)
    return next * PAGE_BITS
  }

  #page(index: number): Page | undefined {
    const number = Math.floor(index / PAGE_BITS)
    if (number === this.#lastNumber) return this.#lastPage
    let page = this.#pages.get(number)
    if (page === undefined) {
      const bits = this.#read.get(number)
      if (bits !== undefined) {
        page = { bits, changed: false }
        this.#pages.set(number, page)
      }
    }
    this.#lastNumber = number
    this.#lastPage = page
    return page
  }

  #pageForWriting(index: number): Page {
    let page = this.#page(index)
    if (page === undefined) {
      page = { bits: new Uint8Array(PAGE_BYTES), changed: true }
      this.#pages.set(this.#lastNumber, page)
      this.#lastPage = page
    }
    page.changed = true
    return page
  }

  #store(number: number, page: Page): void {
    if (page.changed) this.#write.run(number, page.bits)
    // If the page is loaded again, it will be another object.
    if (number === this.#lastNumber) this.#lastNumber = -1
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
