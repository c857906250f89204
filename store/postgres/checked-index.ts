/** The index for a check (index-scan.ts): rows are verified, and returned even if they are damaged. */
import type { RowSeal } from '../encryption/row-seal.ts'
import { StoreError } from '../errors.ts'
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
  readonly #seal: RowSeal | undefined
  readonly #index: PostgresIndex

  /** @param seal undefined for a database that is not encrypted. */
  constructor(queries: Queries, seal?: RowSeal) {
    super(queries, seal)
    this.#queries = queries
    this.#seal = seal
    this.#index = new PostgresIndex(queries, seal)
  }

  find(keys: readonly RevisionKey[]): Promise<readonly (RevisionRow | undefined)[]> {
    return this.#index.find(keys)
  }

  async checkedRevisions(after: EntryKey, upTo: bigint, limit: number): Promise<readonly CheckedRevision[]> {
    const values = [after.tid, after.oid, upTo, limit]
    return (await this.#queries.query(REVISIONS, values, 'checked_revisions')).map(cells =>
      checkedRevision(cells, this.#seal),
    )
  }

  async checkedTransactions(
    after: bigint,
    upTo: bigint,
    limit: number,
  ): Promise<readonly CheckedTransaction[]> {
    const rows = await this.#queries.query(TRANSACTIONS, [after, upTo, limit], 'checked_transactions')
    return rows.map(cells => {
      const { row, isIntact } = transactionRow(cells)
      return {
        tid: row.tid,
        isIntact: isIntact && isOpen(() => this.#seal?.openTexts(row)),
        objects: row.objects,
        bytes: row.bytes,
      }
    })
  }
}

/** The bytes that encryption adds count as its tail's: lost bytes are reported by their offset in the record. */
function checkedRevision(cells: Cells, seal: RowSeal | undefined): CheckedRevision {
  const { row, isIntact } = foundRevision(cells)
  const { oid, tid, head, pos, len, tail } = row
  const extra = head === null ? 0 : (seal?.extraBytes ?? 0)
  return {
    oid,
    tid,
    isIntact: isIntact && isOpen(() => seal?.open(row)),
    headBytes: (head?.length ?? 0) - extra,
    pos,
    len,
    tailBytes: (tail?.length ?? 0) + extra,
  }
}

/** Whether a row can be opened; without the key that is not known. */
function isOpen(open: () => unknown): boolean {
  try {
    open()
    return true
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    return error.code === 'key-needed'
  }
}
