/**
 * Detects a copy of the database file that lacks its WAL. While a database is being written to, its newest transactions
 * are in the WAL: the file alone is an older state, at first an empty filesystem. So from before the first change until
 * it is closed, the file carries a mark: a row of `meta` with the inode number.
 *
 * | mark  | `DATABASE-wal`   | inode     | meaning                                                           |
 * |-------|------------------|-----------|-------------------------------------------------------------------|
 * | none  |                  |           | closed cleanly: the file is complete                              |
 * | set   | has transactions |           | open, or its writer died: SQLite reads the WAL                    |
 * | set   | missing, empty   | the same  | open, or its writer died after a complete checkpoint              |
 * | set   | missing, empty   | different | a copy that lacks the WAL's content: rejected. (A read-only       |
 * |       |                  |           | connection leaves an empty WAL next to such a copy)               |
 */
import { lstatSync } from 'node:fs'
import Database from 'better-sqlite3'
import { CannotOpenError } from '../../errors.ts'
import type { DatabasePlace } from './database-place.ts'
import { immutableUri } from './immutable.ts'

/** The row of `meta`. */
const MARK = 'written to as inode'

/** Writes the mark. It takes effect once a checkpoint has copied it from the WAL into the file. */
export function setMark(db: Database.Database, inode: number): void {
  db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(MARK, String(inode))
}

export function removeMark(db: Database.Database): void {
  db.prepare('DELETE FROM meta WHERE name = ?').run(MARK)
}

/** @throws CannotOpenError if the file is a copy without the WAL that it needs. */
export function assertWhole(place: DatabasePlace): void {
  const wal = lstatSync(`${place.held}-wal`, { throwIfNoEntry: false })
  if (wal !== undefined && wal.size > 0) return
  const inode = markOf(place)
  if (inode === undefined || inode === String(place.stat().ino)) return
  throw new CannotOpenError(
    `${place.path} is incomplete: it was copied while in use, without its newest transactions, which are in the ` +
      "original's -wal file",
    { code: 'not-whole', path: place.path },
  )
}

/** The inode number in the mark; undefined without a mark, or if this is not our database, which is detected later. */
function markOf(place: DatabasePlace): string | undefined {
  let db: Database.Database | undefined
  try {
    // An ordinary connection would create a WAL.
    db = new Database(immutableUri(place.held), { readonly: true, fileMustExist: true })
    return db.prepare<[string], string>('SELECT value FROM meta WHERE name = ?').pluck().get(MARK)
  } catch (error) {
    if (error instanceof Database.SqliteError) return undefined
    throw error
  } finally {
    db?.close()
  }
}
