import type { Revision } from '../../store/store.ts'

/** Whether a copy has the state of an object that its source has: the same record of the same transaction, or none. */
export function isSameState(source: Revision | undefined, copy: Revision | undefined): boolean {
  if (source === undefined || copy === undefined) return source === copy
  return source.tid === copy.tid && Buffer.compare(source.record, copy.record) === 0
}
