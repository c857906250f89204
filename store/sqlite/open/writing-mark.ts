/**
 * Detects a database file that lacks its WAL: a copy, or one that was renamed alone. While a database is being written to, its newest
 * transactions are in the WAL: the file alone is an older state, at first an empty filesystem. So from before the first change until
 * it is closed, the file carries a mark: rows of `meta` with the inode number and the path.
 *
 * | mark  | `DATABASE-wal`   | inode     | meaning                                                           |
 * |-------|------------------|-----------|-------------------------------------------------------------------|
 * | none  |                  |           | closed cleanly: the file is complete                              |
 * | set   | has transactions |           | open, or its writer died: SQLite reads the WAL                    |
 * | set   | missing, empty   | the same  | open, or its writer died after a complete checkpoint. But if a WAL |
 * |       |                  |           | or a log is at the path in the mark, and no database: its writer   |
 * |       |                  |           | died, and it was renamed without these: rejected                  |
 * | set   | missing, empty   | different | a copy that lacks the WAL's content: rejected. (A read-only       |
 * |       |                  |           | connection leaves an empty WAL next to such a copy)               |
 */
import { existsSync, lstatSync, readdirSync } from '../../os-files.ts'
import Database from 'better-sqlite3'
import { CannotOpenError } from '../../errors.ts'
import { pathOf, textOf } from '../../os-text.ts'
import { logDirectory } from '../log.ts'
import { RESERVE } from '../reserve.ts'
import type { DatabasePlace } from './database-place.ts'
import { immutableUri } from './immutable.ts'

/** The rows of `meta`. */
export const INODE = 'written to as inode'
export const PATH = 'written to as path'

interface Mark {
  readonly inode: string
  /** Absent in databases that an earlier version wrote to. */
  readonly path: string | undefined
}

/** Writes the mark. It takes effect once a checkpoint has copied it from the WAL into the file. */
export function setMark(db: Database.Database, inode: number, path: string): void {
  const insert = db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)')
  insert.run(INODE, String(inode))
  insert.run(PATH, pathOf(path))
}

export function removeMark(db: Database.Database): void {
  db.prepare('DELETE FROM meta WHERE name IN (?, ?)').run(INODE, PATH)
}

/** Whether there is a WAL with content for a database of this path. */
const hasWal = (path: string): boolean => (lstatSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0

const hasDatabase = (path: string): boolean => (lstatSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0

/** Whether a WAL with content is left where no database is. */
export const hasOrphanWal = (path: string): boolean => hasWal(path) && !hasDatabase(path)

/** Whether there is a log: more than a reserve of space. */
const hasLog = (path: string): boolean =>
  existsSync(logDirectory(path)) && readdirSync(logDirectory(path)).some(name => name !== RESERVE)

/** As {@link hasOrphanWal}, or a log, which may have synced changes. */
const hasOrphans = (path: string): boolean => hasOrphanWal(path) || (hasLog(path) && !hasDatabase(path))

/**
 * @param isInUse whether it is open for writing: then its WAL follows it.
 * @throws CannotOpenError if the file lacks the WAL that it needs.
 */
export function assertWhole(place: DatabasePlace, isInUse: boolean): void {
  if (hasWal(place.held)) return
  const mark = markOf(place)
  if (mark === undefined) return
  const { inode, path } = mark
  if (inode === String(place.stat().ino)) {
    if (path === undefined || isInUse || !hasOrphans(path)) return
    throw new CannotOpenError(
      `${place.path} was renamed while in use, without the files next to it, which have its newest transactions: ` +
        `rename it back to ${path}`,
      { code: 'database-renamed', path: place.path },
    )
  }
  throw new CannotOpenError(
    `${place.path} is incomplete: it was copied while in use, without its newest transactions, which are in the ` +
      "original's -wal file",
    { code: 'not-whole', path: place.path },
  )
}

const textOfCell = (cell: string | Buffer | undefined): string | undefined =>
  Buffer.isBuffer(cell) ? textOf(cell) : cell

/** The mark; undefined without one, or if this is not our database, which is detected later. */
function markOf(place: DatabasePlace): Mark | undefined {
  let db: Database.Database | undefined
  try {
    // An ordinary connection would create a WAL.
    db = new Database(immutableUri(place.held), { readonly: true, fileMustExist: true })
    const value = db.prepare<[string], string | Buffer>('SELECT value FROM meta WHERE name = ?').pluck()
    const inode = value.get(INODE)
    const path = value.get(PATH)
    return inode === undefined ? undefined : { inode: String(inode), path: textOfCell(path) }
  } catch (error) {
    if (error instanceof Database.SqliteError) return undefined
    throw error
  } finally {
    db?.close()
  }
}
