/**
 * Detects which SQLite schema of Python's RelStorage a database has.
 *
 * | schema             | tables                                                                                          |
 * |--------------------|-------------------------------------------------------------------------------------------------|
 * | history-preserving | `"transaction"(tid, packed, is_empty, username, description, extension)`, a row with tid 0 in it; |
 * |                    | `object_state(zoid, tid, prev_tid, md5, state_size, state)`, its key (zoid, tid); a NULL state:   |
 * |                    | the object does not exist from there on                                                         |
 * | history-free       | `object_state(zoid, tid, state_size, state)`, its key zoid                                      |
 *
 * Source: RelStorage's `adapters/schema.py` and `adapters/sqlite/schema.py`.
 */
import type Database from 'better-sqlite3'

export type RelStorageSchema = 'history-preserving' | 'history-free'

const OBJECT_STATE = ['zoid', 'tid', 'state_size', 'state']
const TRANSACTION = ['tid', 'username', 'description', 'extension']

/** The database's RelStorage schema; undefined if it has none. */
export function relStorageSchema(db: Database.Database): RelStorageSchema | undefined {
  const state = columns(db, 'object_state')
  if (!OBJECT_STATE.every(column => state.has(column))) return undefined
  const key = [...state].filter(([, inKey]) => inKey).map(([name]) => name)
  if (key.length === 1 && key[0] === 'zoid') return 'history-free'
  const transaction = columns(db, 'transaction')
  const preserving = key.join() === 'zoid,tid' && TRANSACTION.every(column => transaction.has(column))
  return preserving ? 'history-preserving' : undefined
}

/** A table's columns, and whether each is in its primary key; empty if there is no such table. */
function columns(db: Database.Database, table: string): Map<string, boolean> {
  const rows = db
    .prepare<[string], { name: string; pk: number }>('SELECT name, pk FROM pragma_table_info(?)')
    .all(table)
  return new Map(rows.map(({ name, pk }) => [name, pk > 0]))
}
