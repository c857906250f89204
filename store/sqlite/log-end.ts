import type { Database } from 'better-sqlite3'

/** The row of `meta` that tells how far a pack extended the log after the transaction that was the last then. */
export const LOG_END = 'log end'

/** The log's end as the last pack left it; 0 where none extended the log. Later transactions may have gone on. */
export const extendedLogEnd = (db: Database): number =>
  Number(db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck().get(LOG_END) ?? 0)
