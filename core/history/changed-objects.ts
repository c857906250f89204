/** The objects changed by the transactions of a range: as a set in bounded memory, or looked up one by one. */
import type { Progress } from '../../store/capabilities.ts'
import { type Oid, type Tid, knownOid } from '../../store/ids.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import type { Store } from '../../store/store.ts'

/** Bytes near the beginning of every mapping's record. */
const MAPPING = 'persistent.mapping\nPersistentMapping'
/** Enough bytes to recognise a mapping; fewer than the head of a data record. */
const HEAD_BYTES = 40

/** Lookups of single objects before the whole range is scanned instead. */
const LOOKUPS_MAX = 16_384

/** Tells which objects a range of transactions changed. The caller closes it. */
export interface ObjectChanges {
  /** Those of `oids` that changed. */
  among(oids: readonly Oid[]): Promise<ReadonlySet<Oid>>
  close(): void
}

export class ChangedObjects implements ObjectChanges {
  readonly #oids = new PagedBitmap()
  #end = 0
  #size = 0

  /** The objects that `(after, upTo]` changed. The caller closes the set. */
  static async between(store: Store, after: Tid, upTo: Tid, progress?: Progress): Promise<ChangedObjects> {
    const changed = new ChangedObjects()
    try {
      for await (const { oids } of store.changes(after, upTo)) {
        for (const oid of oids) changed.add(oid)
        progress?.('changed objects found', changed.size, 0)
      }
      return changed
    } catch (error) {
      changed.close()
      throw error
    }
  }

  /** The number of objects. */
  get size(): number {
    return this.#size
  }

  add(oid: Oid): void {
    if (this.#oids.add(oid)) this.#size++
    this.#end = Math.max(this.#end, oid + 1)
  }

  has(oid: Oid): boolean {
    return this.#oids.has(oid)
  }

  among(oids: readonly Oid[]): Promise<ReadonlySet<Oid>> {
    return Promise.resolve(new Set(oids.filter(oid => this.#oids.has(oid))))
  }

  /** The oids, ascending. */
  *oids(): Generator<Oid> {
    for (let oid = this.#find(0); oid < this.#end; oid = this.#find(oid + 1)) yield knownOid(oid)
  }

  close(): void {
    this.#oids.close()
  }

  #find(from: number): number {
    return this.#oids.find(true, from, this.#end)
  }
}

/**
 * Looks each object up in the store, so that a few answers cost the same however much changed. After
 * {@link LOOKUPS_MAX} lookups it scans the range, which is cheaper for many.
 */
export class ChangeLookups implements ObjectChanges {
  readonly #store: Store
  readonly #range: { readonly after: Tid; readonly upTo: Tid }
  readonly #progress: Progress | undefined
  #left = LOOKUPS_MAX
  #scanned: ChangedObjects | undefined

  constructor(store: Store, after: Tid, upTo: Tid, progress?: Progress) {
    this.#progress = progress
    this.#store = store
    this.#range = { after, upTo }
  }

  async among(oids: readonly Oid[]): Promise<ReadonlySet<Oid>> {
    this.#left -= oids.length
    if (this.#left < 0) return await (await this.scanned()).among(oids)
    const changed = new Set<Oid>()
    for (const oid of oids) if ((await this.#store.revisions(oid, this.#range)).length > 0) changed.add(oid)
    return changed
  }

  /** The whole set; closed with this object. */
  async scanned(): Promise<ChangedObjects> {
    this.#scanned ??= await ChangedObjects.between(
      this.#store,
      this.#range.after,
      this.#range.upTo,
      this.#progress,
    )
    return this.#scanned
  }

  close(): void {
    this.#scanned?.close()
  }
}

/** The objects of `oids` that are mappings at a moment, as inodes are; reads only the first bytes of each record. */
export async function* mappingsAmong(store: Store, oids: Iterable<Oid>, at: Tid): AsyncGenerator<Oid> {
  for (const oid of oids) {
    const part = await store.loadPart(oid, at, 0, HEAD_BYTES)
    if (part !== undefined && Buffer.from(part.bytes).includes(MAPPING)) yield oid
  }
}
