/**
 * The format of a database: a SQLite file with these tables, and next to it a directory of log files
 * (log-layout.ts) that hold the bulk bytes.
 *
 * | table      | a row is                                                                                           |
 * |------------|----------------------------------------------------------------------------------------------------|
 * | `txn`      | a transaction; `next_oid` and `log_end` are the state after it, so that a commit touches no other  |
 * |            | place, and the next one continues from the last row. `objects` and `bytes` count the revisions     |
 * |            | that are kept, so that a lost revision is detected. `all_*` and `past_*` are the totals of all     |
 * |            | transactions up to it (totals.ts). `sum` covers all columns but `objects` and        |
 * |            | `bytes`                                                                                            |
 * | `revision` | an object's state from `tid` on: `head + log[pos, pos + len) + tail`; `head` is NULL for a         |
 * |            | tombstone; `pos` is NULL if there are no bytes in the log                                          |
 * | `dropped`  | one row: the sums of all revisions that packs have dropped                                         |
 * | `meta`     | other state by name: the database's id, kept moments, the progress of a pack                       |
 *
 * Positions in the log only grow and are never reused. Live units are found by a scan of `revision`, with one bit for
 * each {@link UNIT_BYTES} of the log.
 *
 * Rows of `revision` are in the order of commits. Its index by oid has the newest first, so that the newest revision at a
 * moment is the first entry found. A table keyed by oid would save a step, but SQLite compares such keys by reading
 * whole rows if these are long.
 */
import type { Database } from 'better-sqlite3'
import { ENCRYPTION } from '../encryption/key-slots.ts'
import { newDatabaseId } from '../indexed/database-id.ts'
import { DATABASE_ID } from './open/database-id.ts'

/** `PRAGMA application_id`: "zblk". */
export const APPLICATION_ID = 0x7a_62_6c_6b

/**
 * `PRAGMA user_version` of a database that is not encrypted. 2: totals of transactions, what was dropped. 3: texts of transactions may be bytes that are not UTF-8;
 * the intent log is a ring. 4: held tags. The first change by this version makes it of a database of an earlier format.
 */
export const FORMAT_VERSION = 4
export const OLDEST_FORMAT = 2

/** The format of an encrypted database: its own number, so that a version that does not know encryption refuses it. */
export const ENCRYPTED_FORMAT = 5

/** Small, so that a commit of a few rows writes little, and a 4 KiB body takes little more. docs/notes.md has figures. */
export const PAGE_BYTES = 4096

const SCHEMA = `
  CREATE TABLE txn (
    tid INTEGER PRIMARY KEY,
    user TEXT NOT NULL,
    description TEXT NOT NULL,
    extension BLOB NOT NULL,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    next_oid INTEGER NOT NULL,
    log_end INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    all_stored INTEGER NOT NULL,
    all_objects INTEGER NOT NULL,
    all_revisions INTEGER NOT NULL,
    all_row_bytes INTEGER NOT NULL,
    all_bulk_bytes INTEGER NOT NULL,
    past_revisions INTEGER NOT NULL,
    past_row_bytes INTEGER NOT NULL,
    past_bulk_bytes INTEGER NOT NULL,
    sum INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE revision (
    id INTEGER PRIMARY KEY,
    oid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    head BLOB,
    pos INTEGER,
    len INTEGER NOT NULL,
    tail BLOB
  ) STRICT;

  CREATE UNIQUE INDEX revision_by_oid ON revision (oid, tid DESC);
  CREATE INDEX revision_by_tid ON revision (tid, oid);

  CREATE TABLE dropped (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    objects INTEGER NOT NULL,
    revisions INTEGER NOT NULL,
    row_bytes INTEGER NOT NULL,
    bulk_bytes INTEGER NOT NULL,
    past_revisions INTEGER NOT NULL,
    past_row_bytes INTEGER NOT NULL,
    past_bulk_bytes INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY
  ) STRICT, WITHOUT ROWID;
`

/** Turns an empty file into a database, atomically. @param keySlots the note of its keys; undefined for one that is not encrypted. */
export function createSchema(db: Database, keySlots?: string, id: string = newDatabaseId()): void {
  db.pragma(`page_size = ${PAGE_BYTES}`)
  db.pragma('auto_vacuum = INCREMENTAL') // so that a pack can return free pages to the host's filesystem
  db.transaction(() => {
    db.exec(SCHEMA)
    db.exec('INSERT INTO dropped VALUES (1, 0, 0, 0, 0, 0, 0, 0)')
    const note = db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)')
    note.run(DATABASE_ID, id)
    if (keySlots !== undefined) note.run(ENCRYPTION, keySlots)
    db.pragma(`application_id = ${APPLICATION_ID}`)
    db.pragma(`user_version = ${keySlots === undefined ? FORMAT_VERSION : ENCRYPTED_FORMAT}`)
  })()
}

/** Makes a database of {@link OLDEST_FORMAT} or later one of this format. */
export function upgradeFormat(db: Database): void {
  if (Number(db.pragma('user_version', { simple: true })) < FORMAT_VERSION)
    db.pragma(`user_version = ${FORMAT_VERSION}`)
}

/** Checks that each table exists. @throws SqliteError if one is missing or its root page is damaged. */
export function checkTables(db: Database): void {
  for (const table of ['txn', 'revision', 'dropped', 'meta'])
    db.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get()
}
