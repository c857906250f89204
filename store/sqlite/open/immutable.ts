/**
 * Reading a database in a directory that cannot be written: on read-only media, or another user's. A connection in WAL
 * mode needs files beside the database even to read. Where it was closed cleanly there is nothing in a WAL, and SQLite can
 * read the file alone (`immutable=1`, https://sqlite.org/uri.html): it takes no locks and makes no files, and the file must
 * not change meanwhile. {@link DatabasePlace.keepWriterOut} sees to that.
 *
 * better-sqlite3 reads names as URIs only where the environment asks for it when its library is loaded, which is when
 * the first connection of the process is made.
 */
import { accessSync, constants, lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'

process.env['SQLITE_USE_URI'] ??= '1'

const SCHEME = 'file:'
const PARAMETERS = '?immutable=1'

/** The name to open the file at `path` by, which does not change. @param path absolute. */
export const immutableUri = (path: string): string =>
  SCHEME + path.split('/').map(encodeURIComponent).join('/') + PARAMETERS

/** The path of a connection's database, whichever way it was opened. */
export const pathOf = ({ name }: Database.Database): string =>
  name.startsWith(SCHEME) ? decodeURIComponent(name.slice(SCHEME.length, -PARAMETERS.length)) : name

/** Whether the database at `path` can be read only as a file that does not change: no WAL has anything, and none can be made. */
export function isReadAlone(path: string): boolean {
  const wal = lstatSync(`${path}-wal`, { throwIfNoEntry: false })
  if (wal !== undefined && wal.size > 0) return false
  try {
    accessSync(dirname(path), constants.W_OK)
    return false
  } catch {
    return true
  }
}

/** Connects for reading, also where nothing can be written. @param path absolute. */
export const connectReadOnly = (path: string, timeout?: number): Database.Database =>
  new Database(isReadAlone(path) ? immutableUri(path) : path, {
    readonly: true,
    fileMustExist: true,
    ...(timeout !== undefined && { timeout }),
  })
