/**
 * How a copy of the database file alone is told from a database. While a database is written to, its newest transactions are
 * in the WAL: the file alone is an older state, and an empty filesystem at first. So the file itself carries a mark
 * from before the first change until it is closed: a row of `meta` with the inode number.
 *
 * | mark  | `DATABASE-wal`   | inode     |                                                                   |
 * |-------|------------------|-----------|-------------------------------------------------------------------|
 * | none  |                  |           | closed cleanly: the file is all there is                          |
 * | there | has transactions |           | open, or its writer died: SQLite reads the WAL                    |
 * | there | missing, empty   | the same  | open, or its writer died; all was copied from the WAL             |
 * | there | missing, empty   | different | a copy without what was in the WAL: refused. A connection that    |
 * |       |                  |           | only reads leaves an empty WAL beside such a copy                 |
 */
import { lstatSync } from 'node:fs'
import Database from 'better-sqlite3'
import { CannotOpenError } from '../../errors.ts'
import type { DatabasePlace } from './database-place.ts'
import { immutableUri } from './immutable.ts'

/** The row of `meta`. */
const MARK = 'written to as inode'

/** Writes the mark. It protects from the moment that a checkpoint has copied it from the WAL into the file. */
export function setMark(db: Database.Database, inode: number): void {
  db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(MARK, String(inode))
}

export function removeMark(db: Database.Database): void {
  db.prepare('DELETE FROM meta WHERE name = ?').run(MARK)
}

/** @throws CannotOpenError where the file is a copy without the WAL that it needs. */
export function assertWhole(place: DatabasePlace): void {
  const wal = lstatSync(`${place.held}-wal`, { throwIfNoEntry: false })
  if (wal !== undefined && wal.size > 0) return
  const inode = markOf(place)
  if (inode === undefined || inode === String(place.stat().ino)) return
  throw new CannotOpenError(
    `${place.path} is not whole: it was copied while it was in use, without its newest transactions, which are in the ` +
      "original's -wal file",
    { code: 'not-whole', path: place.path },
  )
}

/** The inode number in the mark; undefined where there is no mark, or no database of ours, which is found later. */
function markOf(place: DatabasePlace): string | undefined {
  let db: Database.Database | undefined
  try {
    // An ordinary connection would make a WAL.
    db = new Database(immutableUri(place.held), { readonly: true, fileMustExist: true })
    return db.prepare<[string], string>('SELECT value FROM meta WHERE name = ?').pluck().get(MARK)
  } catch (error) {
    if (error instanceof Database.SqliteError) return undefined
    throw error
  } finally {
    db?.close()
  }
}
