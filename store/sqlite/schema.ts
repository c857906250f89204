/**
 * The format of a database file: SQLite with these four tables.
 *
 * | table      | a row is                                                                                           |
 * |------------|----------------------------------------------------------------------------------------------------|
 * | `txn`      | a transaction; `next_oid` and `log_end` are what they were when it was made, so that a commit      |
 * |            | touches no other place, and the last row tells where to go on. `objects` and `bytes` are true of   |
 * |            | the revisions that are kept: a revision that got lost is found out by them. `sum` covers the rest, |
 * |            | but for `log_end`                                                                                  |
 * | `revision` | what an object was from `tid` on: `head + log[pos, pos + len) + tail`; `head` is NULL from where   |
 * |            | the object no longer exists; `pos` is NULL where there are no bytes in the log                     |
 * | `log`      | an extent: up to {@link EXTENT_BYTES} bytes of the log from `pos` on, and a checksum for each      |
 * |            | {@link UNIT_BYTES} of them, so that a part is checked without the rest                             |
 * | `meta`     | what a later process needs to know beside the data (how far a pack has come), by name              |
 *
 * Positions in the log only grow; a position is never used again. A gap between extents is room that was given back:
 * an extent may be replaced by shorter ones, or none, when no revision points to the rest. Who points where is
 * found by reading `revision` through; a bit per unit of the log is enough to remember it.
 *
 * `revision` has its newest rows first, so that "the newest before a moment" is the first row found. A row fits
 * its page: what is longer than {@link INLINE_BYTES} lies in the log.
 */
import type { Database } from 'better-sqlite3'

/** `PRAGMA application_id`: "zblk". */
export const APPLICATION_ID = 0x7a_62_6c_6b

/** `PRAGMA user_version`. 1: the first. */
export const FORMAT_VERSION = 1

/** A compromise that docs/notes.md has the figures of: long pages make bulk data fast and small changes big. */
export const PAGE_BYTES = 32_768

/** The longest extent whose row fits one page, checksums included: its parts are read without the rest. */
export const EXTENT_BYTES = 32_640

/** What one checksum of an extent covers. */
export const UNIT_BYTES = 4096

/** Records up to this long stand in their `revision` row, whatever they are made of. */
export const INLINE_BYTES = 1024

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
    sum INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE revision (
    oid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    head BLOB,
    pos INTEGER,
    len INTEGER NOT NULL,
    tail BLOB,
    PRIMARY KEY (oid, tid DESC)
  ) STRICT, WITHOUT ROWID;

  CREATE INDEX revision_by_tid ON revision (tid);

  CREATE TABLE log (
    pos INTEGER PRIMARY KEY,
    sums BLOB NOT NULL,
    bytes BLOB NOT NULL
  ) STRICT;

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
    db.pragma(`application_id = ${APPLICATION_ID}`)
    db.pragma(`user_version = ${FORMAT_VERSION}`)
  })()
}

/** Looks for each table once. @throws SqliteError where one is missing or its place in the file is damaged. */
export function checkTables(db: Database): void {
  for (const table of ['txn', 'revision', 'log', 'meta']) db.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get()
}
