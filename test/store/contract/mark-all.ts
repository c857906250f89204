/** A `MarkModule` for objects without references: all objects are reached. */
import type { Mark } from '../../../store/stored-revisions.ts'
import { PagedBitmap } from '../../../store/paged-bitmap.ts'

export const mark: Mark = async (reader, _kept, _upTo, _pause, sets) => {
  const reached = sets?.reached ?? new PagedBitmap()
  for await (const oids of reader.oids()) for (const oid of oids) reached.add(oid)
  return reached
}
