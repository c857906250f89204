/** Numbered pages of one length, of which some are in memory and the others in a file. */
import type Database from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import { openScratch } from './scratch.ts'

const BYTES_IN_MEMORY = 8 << 20
/** The length of a page of a collection. */
export const PAGE_BYTES = 16_384

/** Where pages are while they are not in memory. */
export interface PageFile {
  read(number: number): Uint8Array | undefined
  write(number: number, bytes: Uint8Array): void
  /** The least number of a page from `number` on. */
  next(number: number): number | undefined
  close(): void
}

/** A temporary file, which is removed with the process. */
export class ScratchPages implements PageFile {
  readonly #db: Database.Database
  readonly #read: Database.Statement<[number], Buffer>
  readonly #write: Database.Statement<[number, Uint8Array]>
  readonly #next: Database.Statement<[number], number | null>

  constructor() {
    this.#db = openScratch('CREATE TABLE page (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL)')
    this.#db.pragma('cache_size = -2048')
    this.#read = this.#db.prepare<[number], Buffer>('SELECT bytes FROM page WHERE number = ?').pluck()
    this.#write = this.#db.prepare('INSERT OR REPLACE INTO page VALUES (?, ?)')
    this.#next = this.#db
      .prepare<[number], number | null>('SELECT min(number) FROM page WHERE number >= ?')
      .pluck()
  }

  read(number: number): Uint8Array | undefined {
    return this.#read.get(number)
  }

  write(number: number, bytes: Uint8Array): void {
    this.#write.run(number, bytes)
  }

  next(number: number): number | undefined {
    return this.#next.get(number) ?? undefined
  }

  close(): void {
    this.#db.close()
  }
}

interface Page<T> {
  readonly bytes: Uint8Array
  readonly view: T
  isChanged: boolean
}

/** @typeParam T how a page's bytes are seen. */
export class PagedMemory<T> {
  readonly #file: PageFile
  readonly #pageBytes: number
  readonly #viewOf: (bytes: Uint8Array) => T
  readonly #pages: LRUCache<number, Page<T>>
  #lastNumber = -1
  #lastPage: Page<T> | undefined

  /** @param viewOf makes the view of a page, which begins at a multiple of 8 bytes in its memory. */
  constructor(file: PageFile, pageBytes: number, viewOf: (bytes: Uint8Array) => T) {
    this.#file = file
    this.#pageBytes = pageBytes
    this.#viewOf = viewOf
    this.#pages = new LRUCache<number, Page<T>>({
      max: BYTES_IN_MEMORY / pageBytes,
      dispose: (page, number, reason) => {
        if (reason !== 'evict') return
        this.#store(number, page)
        // If the page is loaded again, it will be another object.
        if (number === this.#lastNumber) this.#lastNumber = -1
      },
    })
  }

  /** undefined if it was never written. */
  page(number: number): T | undefined {
    return this.#page(number)?.view
  }

  pageForWriting(number: number): T {
    let page = this.#page(number)
    if (page === undefined) {
      page = this.#newPage(new Uint8Array(this.#pageBytes))
      this.#pages.set(number, page)
      this.#lastPage = page
    }
    page.isChanged = true
    return page.view
  }

  /** The least number of a page from `number` on; infinity if there is none. */
  next(number: number): number {
    let next = this.#file.next(number) ?? Number.POSITIVE_INFINITY
    for (const kept of this.#pages.keys()) if (kept >= number) next = Math.min(next, kept)
    return next
  }

  /** Forgets the pages in memory, changed or not. */
  forget(): void {
    this.#pages.clear()
    this.#lastNumber = -1
    this.#lastPage = undefined
  }

  /** Writes changed pages to the file. */
  flush(): void {
    for (const [number, page] of this.#pages.entries()) this.#store(number, page)
  }

  close(): void {
    this.#file.close()
  }

  #page(number: number): Page<T> | undefined {
    if (number === this.#lastNumber) return this.#lastPage
    let page = this.#pages.get(number)
    if (page === undefined) {
      const bytes = this.#file.read(number)
      if (bytes !== undefined) {
        page = this.#newPage(bytes)
        this.#pages.set(number, page)
      }
    }
    this.#lastNumber = number
    this.#lastPage = page
    return page
  }

  #newPage(bytes: Uint8Array): Page<T> {
    return { bytes, view: this.#viewOf(bytes), isChanged: false }
  }

  #store(number: number, page: Page<T>): void {
    if (page.isChanged) this.#file.write(number, page.bytes)
    page.isChanged = false
  }
}

/** A collection in pages. @typeParam T how a page's bytes are seen. */
export abstract class Paged<T> {
  protected readonly pages: PagedMemory<T>

  /** @param file has the pages that are not in memory. @param viewOf as {@link PagedMemory}'s. */
  constructor(file: PageFile, viewOf: (bytes: Uint8Array) => T) {
    this.pages = new PagedMemory(file, PAGE_BYTES, viewOf)
  }

  /** Forgets the pages in memory: the file was changed. */
  forgetPages(): void {
    this.pages.forget()
  }

  /** Writes changed pages to the file. */
  flush(): void {
    this.pages.flush()
  }

  close(): void {
    this.pages.close()
  }
}
