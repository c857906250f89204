/**
 * The parts of a transaction that is not complete (store/indexed/committer.ts): rows of `revision` whose tid is in this row of
 * `meta`. Readers of other moments do not see them, and the next writer removes them.
 */
import type { Database } from 'better-sqlite3'
import { TID_MAX, type Tid } from '../ids.ts'

/** The name of the row; its value is an integer. */
export const PARTS = 'unfinished transaction'

/** The tid of the rows of an unfinished transaction, as a subquery; NULL if there are none. */
export const UNFINISHED = `(SELECT value FROM meta WHERE name = '${PARTS}')`

/** The condition for a revision that is not a part of it. */
export const FINISHED = `tid < ifnull(${UNFINISHED}, ${TID_MAX})`

/** Maximum rows removed by one statement. */
const BATCH_ROWS = 10_000

export class SqliteParts {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  /** Records that rows of this transaction are parts. Call it in the SQLite transaction that adds them. */
  note(tid: Tid): void {
    this.#db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(PARTS, tid)
  }

  /** Records that there are none. Call it in the SQLite transaction that completes or removes them. */
  clear(): void {
    this.#db.prepare('DELETE FROM meta WHERE name = ?').run(PARTS)
  }

  /** Removes all rows, in batches. If the process dies meanwhile, the next one removes the rest. */
  drop(): void {
    const tid = this.#db.prepare<[], bigint>(`SELECT ${UNFINISHED}`).pluck().safeIntegers().get()
    if (typeof tid !== 'bigint') return
    const remove = this.#db.prepare(
      `DELETE FROM revision WHERE id IN
         (SELECT id FROM revision INDEXED BY revision_by_tid WHERE tid = ? LIMIT ${BATCH_ROWS})`,
    )
    while (remove.run(tid).changes > 0);
    this.clear()
  }
}
