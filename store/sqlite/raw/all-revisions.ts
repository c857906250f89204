import type { Database } from 'better-sqlite3'
import type { TransactionCells } from '../rows.ts'

/**
 * Whether the revisions up to a transaction are as many as its totals say.
 * @param last the row of the transaction, the last one. @param dropped the row of `dropped`.
 */
export function hasAllRevisions(db: Database, last: TransactionCells, dropped: readonly number[]): boolean {
  const count = db
    .prepare<[bigint], number>('SELECT count(*) FROM revision INDEXED BY revision_by_tid WHERE tid <= ?')
    .pluck()
  return count.get(last[0]) === last[11] - (dropped[1] ?? 0)
}
