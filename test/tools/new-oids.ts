import { oid, type Oid } from '../../store/ids.ts'
import type { WritableStore } from '../../store/store.ts'

/** Allocates oids that follow one another. */
export async function newOids(store: Pick<WritableStore, 'allocateOids'>, count: number): Promise<Oid[]> {
  const { first } = await store.allocateOids(count)
  return Array.from({ length: count }, (_, index) => oid(first + index))
}
