/** The set of objects changed by the transactions of a range, in bounded memory. */
import { type Oid, type Tid, knownOid } from '../../store/ids.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import type { Store } from '../../store/store.ts'

/** Bytes near the beginning of every mapping's record. */
const MAPPING = 'persistent.mapping\nPersistentMapping'
/** Enough bytes to recognise a mapping; fewer than the head of a data record. */
const HEAD_BYTES = 40

export class ChangedObjects {
  readonly #oids = new PagedBitmap()
  #end = 0

  /** The objects that `(after, upTo]` changed. The caller closes the set. */
  static async between(store: Store, after: Tid, upTo: Tid): Promise<ChangedObjects> {
    const changed = new ChangedObjects()
    try {
      for await (const { oids } of store.changes(after, upTo)) for (const oid of oids) changed.#add(oid)
      return changed
    } catch (error) {
      changed.close()
      throw error
    }
  }

  has(oid: Oid): boolean {
    return this.#oids.has(oid)
  }

  /** The oids, ascending. */
  *oids(): Generator<Oid> {
    for (let oid = this.#find(0); oid < this.#end; oid = this.#find(oid + 1)) yield knownOid(oid)
  }

  close(): void {
    this.#oids.close()
  }

  #add(oid: Oid): void {
    this.#oids.add(oid)
    this.#end = Math.max(this.#end, oid + 1)
  }

  #find(from: number): number {
    return this.#oids.find(true, from, this.#end)
  }
}

/** The objects of `oids` that are mappings at a moment, as inodes are; reads only the first bytes of each record. */
export async function* mappingsAmong(store: Store, oids: Iterable<Oid>, at: Tid): AsyncGenerator<Oid> {
  for (const oid of oids) {
    const part = await store.loadPart(oid, at, 0, HEAD_BYTES)
    if (part !== undefined && Buffer.from(part.bytes).includes(MAPPING)) yield oid
  }
}
