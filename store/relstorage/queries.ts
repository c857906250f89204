/** The SQL statements for a RelStorage database. All integers are returned as bigints. */
import type { Tid } from '../ids.ts'
import type Database from 'better-sqlite3'
import type { RelStorageSchema } from './schema.ts'

export interface StateRow {
  readonly tid: bigint
  readonly size: bigint
  /** If not a Buffer: NULL means that the object does not exist, anything else is damage. */
  readonly state: unknown
}

export interface TransactionRow {
  readonly tid: bigint
  readonly username: unknown
  readonly description: unknown
  readonly extension: unknown
  readonly objects: bigint
  readonly bytes: bigint
}

type Statement<Parameters extends unknown[], Row> = Database.Statement<Parameters, Row>

export interface Queries {
  readonly zoids: Statement<[], { lowest: bigint | null; highest: bigint | null }>
  readonly state: Statement<[number, bigint], StateRow>
  /** The number of revisions of an inclusive range of oids up to a tid, at most the limit. */
  readonly countBetween: Statement<[number, number, bigint, number], number>
  /** The newest revision of each oid of an inclusive range, in order. */
  readonly statesBetween: Statement<[number, number, bigint], StateRow & { readonly zoid: bigint }>
  /** The newest revision, without its bytes. */
  readonly about: Statement<[number, bigint], Omit<StateRow, 'state'> & { readonly stored: bigint | null }>
  /** Parameters: start (from 1), length, oid, tid. */
  readonly part: Statement<
    [number, number, number, bigint],
    { readonly start: unknown; readonly bytes: unknown }
  >
  readonly revisions: Statement<[number, bigint, bigint], Tid>
  readonly lastTid: Statement<[], bigint | null>
  /** Absent in a schema that does not record packs. */
  readonly packedUpTo: Statement<[], bigint | null> | undefined
  /** Parameters: after, upTo, limit. */
  readonly ascending: Statement<[bigint, bigint, number], TransactionRow>
  readonly descending: Statement<[bigint, bigint, number], TransactionRow>
  readonly nextChange: Statement<[bigint, bigint], bigint | null>
  /** Parameters: tid, the last row of the previous page, limit. */
  readonly changed: Statement<[bigint, bigint, number], { readonly row: bigint; readonly zoid: bigint }>
}

/** Prepares the statements; parameters are in the order of the question marks. */
export const prepareQueries = (db: Database.Database, schema: RelStorageSchema): Queries => ({
  ...stateQueries(db),
  ...transactionQueries(db, schema),
})

/** Statements about the states of objects. */
function stateQueries(db: Database.Database) {
  const newest = 'FROM object_state WHERE zoid = ? AND tid <= ? ORDER BY tid DESC LIMIT 1'
  return {
    zoids: db
      .prepare<[], { lowest: bigint | null; highest: bigint | null }>(
        'SELECT (SELECT min(zoid) FROM object_state) AS lowest, (SELECT max(zoid) FROM object_state) AS highest',
      )
      .safeIntegers(),
    state: db
      .prepare<[number, bigint], StateRow>(`SELECT tid, state_size AS size, state ${newest}`)
      .safeIntegers(),
    countBetween: db
      .prepare<[number, number, bigint, number], number>(
        'SELECT count(*) FROM (SELECT 1 FROM object_state WHERE zoid >= ? AND zoid <= ? AND tid <= ? LIMIT ?)',
      )
      .pluck(),
    statesBetween: db
      .prepare<[number, number, bigint], StateRow & { readonly zoid: bigint }>(
        `SELECT zoid, tid, state_size AS size, state FROM
           (SELECT zoid, max(tid) AS tid FROM object_state WHERE zoid >= ? AND zoid <= ? AND tid <= ? GROUP BY zoid)
           JOIN object_state USING (zoid, tid) ORDER BY zoid`,
      )
      .safeIntegers(),
    about: db
      .prepare<[number, bigint], Omit<StateRow, 'state'> & { readonly stored: bigint | null }>(
        `SELECT tid, state_size AS size, length(state) AS stored ${newest}`,
      )
      .safeIntegers(),
    part: db.prepare<[number, number, number, bigint], { readonly start: unknown; readonly bytes: unknown }>(
      'SELECT substr(state, 1, 2) AS start, substr(state, ?, ?) AS bytes FROM object_state WHERE zoid = ? AND tid = ?',
    ),
    revisions: db
      .prepare<[number, bigint, bigint], Tid>(
        'SELECT tid FROM object_state WHERE zoid = ? AND tid > ? AND tid <= ? ORDER BY tid DESC',
      )
      .pluck()
      .safeIntegers(),
  }
}

/** Statements about transactions and what they changed. */
function transactionQueries(db: Database.Database, schema: RelStorageSchema) {
  const row = isWithoutRowid(db) ? 'zoid' : 'rowid'
  const transactions = schema === 'history-free' ? HISTORY_FREE_TRANSACTIONS : TRANSACTIONS
  const tids = schema === 'history-free' ? 'object_state' : '"transaction"'
  return {
    lastTid: db.prepare<[], bigint | null>(`SELECT max(tid) FROM ${tids}`).pluck().safeIntegers(),
    packedUpTo: hasColumn(db, 'transaction', 'packed')
      ? db
          .prepare<[], bigint | null>('SELECT max(tid) FROM "transaction" WHERE packed')
          .pluck()
          .safeIntegers()
      : undefined,
    ascending: db
      .prepare<[bigint, bigint, number], TransactionRow>(`${transactions} ORDER BY tid LIMIT ?`)
      .safeIntegers(),
    descending: db
      .prepare<[bigint, bigint, number], TransactionRow>(`${transactions} ORDER BY tid DESC LIMIT ?`)
      .safeIntegers(),
    nextChange: db
      .prepare<[bigint, bigint], bigint | null>(
        'SELECT min(tid) FROM object_state WHERE tid > ? AND tid <= ?',
      )
      .pluck()
      .safeIntegers(),
    changed: db
      .prepare<[bigint, bigint, number], { readonly row: bigint; readonly zoid: bigint }>(
        `SELECT ${row} AS row, zoid FROM object_state WHERE tid = ? AND ${row} > ? ORDER BY ${row} LIMIT ?`,
      )
      .safeIntegers(),
  }
}

const TRANSACTIONS = `
  SELECT tid, username, description, extension,
    (SELECT count(*) FROM object_state WHERE object_state.tid = t.tid) AS objects,
    (SELECT coalesce(sum(state_size), 0) FROM object_state WHERE object_state.tid = t.tid) AS bytes
  FROM "transaction" AS t WHERE tid > ? AND tid <= ?`

const HISTORY_FREE_TRANSACTIONS = `
  SELECT tid, NULL AS username, NULL AS description, NULL AS extension, count(*) AS objects,
    coalesce(sum(state_size), 0) AS bytes
  FROM object_state WHERE tid > ? AND tid <= ? GROUP BY tid`

function hasColumn(db: Database.Database, table: string, column: string): boolean {
  return db.prepare('SELECT 1 FROM pragma_table_info(?) WHERE name = ?').get(table, column) !== undefined
}

function isWithoutRowid(db: Database.Database): boolean {
  return (
    db
      .prepare("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = 'object_state'")
      .pluck()
      .get() === 1
  )
}
