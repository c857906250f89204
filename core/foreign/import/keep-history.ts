import { KEEP_ALL, type Retention } from '../../../store/retention.ts'
import type { WritableStore } from '../../../store/store.ts'

/**
 * Call before importing history into a database: keeps it for ever, unless the database's owner has set a retention.
 * Otherwise a background pack would drop most of it at once, as its transactions keep their old tids.
 * @returns how long the history is kept; undefined for a store that has no retention.
 */
export async function keepImportedHistory(target: WritableStore): Promise<Retention | undefined> {
  const { retaining } = target.capabilities
  const set = await retaining?.retention()
  if (set !== undefined || retaining === undefined) return set
  await retaining.setRetention(KEEP_ALL)
  return KEEP_ALL
}
