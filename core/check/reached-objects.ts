/** The objects that a check has reached, each with the class by which it was referred to first. Memory is bounded. */
import type { Oid } from '../../store/ids.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { openScratch } from '../../store/scratch.ts'

/** Classes with a bitmap of their own: a filesystem has fewer. */
const BITMAPS_MAX = 16

export class ReachedObjects {
  readonly #reached = new PagedBitmap()
  /** Reached, and not visited yet. */
  readonly #waiting = new PagedBitmap()
  readonly #ofClass = new Map<string, PagedBitmap>()
  readonly #others = openScratch('CREATE TABLE other (oid INTEGER PRIMARY KEY, class TEXT NOT NULL)')
  readonly #addOther = this.#others.prepare<[number, string]>('INSERT INTO other (oid, class) VALUES (?, ?)')
  readonly #otherClass = this.#others
    .prepare<[number], string>('SELECT class FROM other WHERE oid = ?')
    .pluck()
  #end = 0

  close(): void {
    this.#reached.close()
    this.#waiting.close()
    for (const bitmap of this.#ofClass.values()) bitmap.close()
    this.#others.close()
  }

  has(oid: Oid): boolean {
    return this.#reached.has(oid)
  }

  /** @param className '' if it is not known. */
  add(oid: Oid, className: string): void {
    if (!this.#reached.add(oid)) return
    this.#waiting.add(oid)
    this.#end = Math.max(this.#end, oid + 1)
    let bitmap = this.#ofClass.get(className)
    if (bitmap === undefined && this.#ofClass.size < BITMAPS_MAX) {
      bitmap = new PagedBitmap()
      this.#ofClass.set(className, bitmap)
    }
    if (bitmap === undefined) this.#addOther.run(oid, className)
    else bitmap.add(oid)
  }

  /** The class of an object that was reached. */
  classOf(oid: Oid): string {
    for (const [className, bitmap] of this.#ofClass) if (bitmap.has(oid)) return className
    return this.#otherClass.get(oid) ?? ''
  }

  /** The first object from `from` on that waits; undefined if none does. */
  nextWaiting(from: number): number | undefined {
    const oid = this.#waiting.find(true, from, this.#end)
    return oid < this.#end ? oid : undefined
  }

  /** Takes the waiting objects of `[lo, hi)`, ascending. */
  take(lo: number, hi: number): readonly number[] {
    const end = Math.min(hi, this.#end)
    const taken: number[] = []
    for (
      let oid = this.#waiting.find(true, lo, end);
      oid < end;
      oid = this.#waiting.find(true, oid + 1, end)
    ) {
      this.#waiting.delete(oid)
      taken.push(oid)
    }
    return taken
  }
}
