/** The retention (store/retention.ts) as a row of `meta`. */
import type { Database } from 'better-sqlite3'
import { storedRetention, type Retention } from '../retention.ts'

/** The name of the row. */
export const RETENTION = 'history'

/** What the owner has set; undefined where nothing. */
export function readRetention(db: Database): Retention | undefined {
  const text = db.prepare<[string], string>('SELECT value FROM meta WHERE name = ?').pluck().get(RETENTION)
  return text === undefined ? undefined : storedRetention(text)
}
