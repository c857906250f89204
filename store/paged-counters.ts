/** Counters by integers from 0 in bounded memory: 32 bits each, in pages (paged-memory.ts). Access in ascending order is cheapest. */
import { PAGE_BYTES, Paged, ScratchPages, type PageFile } from './paged-memory.ts'

const PAGE_COUNTERS = PAGE_BYTES / Uint32Array.BYTES_PER_ELEMENT
const MAX = 0xffff_ffff

export class PagedCounters extends Paged<Uint32Array> {
  /** @param file has the pages that are not in memory. */
  constructor(file: PageFile = new ScratchPages()) {
    super(file, ({ buffer, byteOffset }) => new Uint32Array(buffer, byteOffset, PAGE_COUNTERS))
  }

  get(index: number): number {
    return this.pages.page(Math.floor(index / PAGE_COUNTERS))?.[index % PAGE_COUNTERS] ?? 0
  }

  /** Returns the new value. @throws RangeError if that does not fit in 32 bits, or is negative. */
  add(index: number, difference: number): number {
    const page = this.pages.pageForWriting(Math.floor(index / PAGE_COUNTERS))
    const value = (page[index % PAGE_COUNTERS] ?? 0) + difference
    if (value < 0 || value > MAX) throw new RangeError(`counter ${index} would be ${value}`)
    page[index % PAGE_COUNTERS] = value
    return value
  }

  /** The least integer in `[from, end)` whose counter is not 0 (`isCounted`) or is 0; `end` if there is none. */
  find(isCounted: boolean, from: number, end: number): number {
    for (let index = from; index < end;) {
      const number = Math.floor(index / PAGE_COUNTERS)
      const page = this.pages.page(number)
      const pageEnd = Math.min(end, (number + 1) * PAGE_COUNTERS)
      if (page === undefined) {
        if (!isCounted) return index
        index = this.pages.next(number + 1) * PAGE_COUNTERS
        continue
      }
      for (; index < pageEnd; index++) if ((page[index % PAGE_COUNTERS] !== 0) === isCounted) return index
    }
    return end
  }
}
