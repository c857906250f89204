/** The database's id (store/indexed/database-id.ts) in the table `meta`. */
import type { Database } from 'better-sqlite3'
import { isDatabaseId } from '../../indexed/database-id.ts'

/** The row of `meta`. */
export const DATABASE_ID = 'database id'

/** Undefined if it is missing or damaged. */
export function readDatabaseId(db: Database): string | undefined {
  const id = db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck().get(DATABASE_ID)
  return isDatabaseId(id) ? id : undefined
}
