/** The index for a check (index-scan.ts): rows are verified, and returned even if they are damaged. */
import type { CheckedIndex, CheckedRevision, CheckedTransaction, EntryKey } from '../indexed/index-scan.ts'
import type { RevisionKey, RevisionRow } from '../indexed/record-index.ts'
import { PostgresIndex, type Queries } from './postgres-index.ts'
import { PostgresIndexScan } from './postgres-index-scan.ts'
import { foundRevision, revisionColumns, TRANSACTION_COLUMNS, transactionRow } from './rows.ts'
import type { Cells } from './session.ts'

const REVISIONS = `
  SELECT ${revisionColumns('r')} FROM zblkfs.revision AS r
  WHERE (tid, oid) > ($1, $2) AND tid <= $3 ORDER BY tid, oid LIMIT $4`
const TRANSACTIONS = `
  SELECT ${TRANSACTION_COLUMNS} FROM zblkfs.txn WHERE tid > $1 AND tid <= $2 ORDER BY tid LIMIT $3`

export class PostgresCheckedIndex extends PostgresIndexScan implements CheckedIndex {
  readonly #queries: Queries
  readonly #index: PostgresIndex

  constructor(queries: Queries) {
    super(queries)
    this.#queries = queries
    this.#index = new PostgresIndex(queries)
  }

  find(keys: readonly RevisionKey[]): Promise<readonly (RevisionRow | undefined)[]> {
    return this.#index.find(keys)
  }

  async checkedRevisions(after: EntryKey, upTo: bigint, limit: number): Promise<readonly CheckedRevision[]> {
    const values = [after.tid, after.oid, upTo, limit]
    return (await this.#queries.query(REVISIONS, values, 'checked_revisions')).map(checkedRevision)
  }

  async checkedTransactions(
    after: bigint,
    upTo: bigint,
    limit: number,
  ): Promise<readonly CheckedTransaction[]> {
    const rows = await this.#queries.query(TRANSACTIONS, [after, upTo, limit], 'checked_transactions')
    return rows.map(cells => {
      const { row, isIntact } = transactionRow(cells)
      return { tid: row.tid, isIntact, objects: row.objects, bytes: row.bytes }
    })
  }
}

function checkedRevision(cells: Cells): CheckedRevision {
  const { row, isIntact } = foundRevision(cells)
  const { oid, tid, head, pos, len, tail } = row
  return { oid, tid, isIntact, headBytes: head?.length ?? 0, pos, len, tailBytes: tail?.length ?? 0 }
}
