/**
 * The format of a database: a SQLite file with these three tables, and beside it a directory of log files
 * (log-layout.ts) that hold the bulk bytes.
 *
 * | table      | a row is                                                                                           |
 * |------------|----------------------------------------------------------------------------------------------------|
 * | `txn`      | a transaction; `next_oid` and `log_end` are what they were when it was made, so that a commit      |
 * |            | touches no other place, and the last row tells where to go on. `objects` and `bytes` are true of   |
 * |            | the revisions that are kept: a revision that got lost is found out by them. `stored` is what it    |
 * |            | added, shared bytes left out. `sum` covers all but `objects` and `bytes`                           |
 * | `revision` | what an object was from `tid` on: `head + log[pos, pos + len) + tail`; `head` is NULL from where   |
 * |            | the object no longer exists; `pos` is NULL where there are no bytes in the log                     |
 * | `meta`     | by name, what a later process needs to know beside the data: the database's id, and how far a pack |
 * |            | has come                                                                                           |
 *
 * Positions in the log only grow; a position is never used again. Who points where is found by reading `revision`
 * through; a bit for each {@link UNIT_BYTES} of the log is enough to remember it.
 *
 * Rows of `revision` stand as they were made, one transaction's together. Its index by oid has the newest first, so
 * that "the newest before a moment" is the first entry found. A table with the oid as its key would spare a step, but
 * SQLite compares such keys by reading whole rows where these are long.
 */
import type { Database } from 'better-sqlite3'
import { DATABASE_ID, newDatabaseId } from './open/database-id.ts'

/** `PRAGMA application_id`: "zblk". */
export const APPLICATION_ID = 0x7a_62_6c_6b

/** `PRAGMA user_version`. 1: the first. */
export const FORMAT_VERSION = 1

/** Small, so that a commit of a few rows writes little, and a 4 KiB body takes little more; docs/notes.md has the figures. */
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

  CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY
  ) STRICT, WITHOUT ROWID;
`

/** Makes an empty file a database of ours: all of it or nothing. */
export function createSchema(db: Database): void {
  db.pragma(`page_size = ${PAGE_BYTES}`)
  db.pragma('auto_vacuum = INCREMENTAL') // so that what a pack frees can go back to the host's filesystem
  db.transaction(() => {
    db.exec(SCHEMA)
    db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)').run(DATABASE_ID, newDatabaseId())
    db.pragma(`application_id = ${APPLICATION_ID}`)
    db.pragma(`user_version = ${FORMAT_VERSION}`)
  })()
}

/** Looks for each table once. @throws SqliteError where one is missing or its place in the file is damaged. */
export function checkTables(db: Database): void {
  for (const table of ['txn', 'revision', 'meta']) db.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get()
}
