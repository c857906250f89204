/** RelStorage databases as Python's RelStorage lays them out, made by hand. */
import Database from 'better-sqlite3'
import type { History } from '../history.ts'
import { bytesOf } from '../../../store/os-text.ts'

// As RelStorage 3 creates them (the tables that matter; `rowid: false` is a shape of its own, for the reader's sake).
const preservingSchema = (rowid: boolean) => `
  CREATE TABLE "transaction" (
    tid INTEGER NOT NULL PRIMARY KEY, packed BOOLEAN NOT NULL DEFAULT FALSE, is_empty BOOLEAN NOT NULL DEFAULT FALSE,
    username BLOB NOT NULL, description BLOB NOT NULL, extension BLOB
  );
  INSERT INTO "transaction" (tid, username, description) VALUES (0, 'system', 'special transaction for object creation');
  CREATE TABLE object_state (
    zoid INTEGER NOT NULL, tid INTEGER NOT NULL REFERENCES "transaction", prev_tid INTEGER NOT NULL REFERENCES "transaction",
    md5 BLOB, state_size INTEGER NOT NULL, state BLOB,
    CONSTRAINT object_state_pk PRIMARY KEY (zoid, tid), CHECK (tid > 0), CHECK (state_size >= 0)
  ) ${rowid ? '' : 'WITHOUT ROWID'};
  CREATE INDEX object_state_tid ON object_state (tid);
  CREATE INDEX object_state_prev_tid ON object_state (prev_tid);
  CREATE TABLE current_object (zoid INTEGER NOT NULL PRIMARY KEY, tid INTEGER NOT NULL);
`
const freeSchema = `
  CREATE TABLE object_state (
    zoid INTEGER NOT NULL, tid INTEGER NOT NULL, state_size INTEGER NOT NULL, state BLOB,
    CONSTRAINT object_state_pk PRIMARY KEY (zoid), CHECK (tid > 0), CHECK (state_size >= 0)
  );
  CREATE INDEX object_state_tid ON object_state (tid);
`

/** A history-preserving database under way; `add` commits transactions. */
export class PreservingDatabase {
  readonly db: Database.Database

  constructor(path: string, { rowid = true }: { readonly rowid?: boolean } = {}) {
    this.db = new Database(path)
    this.db.pragma('journal_mode = WAL')
    this.db.exec(preservingSchema(rowid))
  }

  add(history: History): this {
    const transaction = this.db.prepare('INSERT INTO "transaction" VALUES (?, FALSE, FALSE, ?, ?, ?)')
    const last = this.db.prepare('SELECT tid FROM current_object WHERE zoid = ?').pluck().safeIntegers()
    const state = this.db.prepare('INSERT INTO object_state VALUES (?, ?, ?, NULL, ?, ?)')
    const current = this.db.prepare('INSERT OR REPLACE INTO current_object VALUES (?, ?)')
    for (const { tid, user, description, extension, records } of history)
      this.db.transaction(() => {
        const texts = [bytesOf(user), bytesOf(description), extension.length > 0 ? extension : null]
        transaction.run(tid, ...texts)
        for (const [oid, record] of records) {
          state.run(oid, tid, last.get(oid) ?? 0, record?.length ?? 0, record)
          current.run(oid, tid)
        }
      })()
    return this
  }
}

/** A history-free database with a history's last states. */
export function historyFree(path: string, history: History): Database.Database {
  const db = new Database(path)
  db.pragma('journal_mode = WAL')
  db.exec(freeSchema)
  const state = db.prepare('INSERT OR REPLACE INTO object_state VALUES (?, ?, ?, ?)')
  for (const { tid, records } of history)
    for (const [oid, record] of records) state.run(oid, tid, record?.length ?? 0, record)
  return db
}
