/**
 * Reads a database in a directory that cannot be written: on read-only media, or another user's. A connection in WAL
 * mode needs files next to the database even to read. If the database was closed cleanly, the WAL is empty and SQLite can
 * read the file alone (`immutable=1`, https://sqlite.org/uri.html), without locks or new files, as long as the file does
 * not change. {@link DatabasePlace.keepWriterOut} ensures that.
 *
 * better-sqlite3 accepts URIs only if the environment enables them when its library is loaded, which is when the process
 * makes its first connection.
 */
import { accessSync, constants, lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'

process.env['SQLITE_USE_URI'] ??= '1'

const SCHEME = 'file:'
const PARAMETERS = '?immutable=1'

/** The URI that opens the file at `path` as immutable. @param path absolute. */
export const immutableUri = (path: string): string =>
  SCHEME + path.split('/').map(encodeURIComponent).join('/') + PARAMETERS

/** The path of a connection's database, whether opened by path or by URI. */
export const pathOf = ({ name }: Database.Database): string =>
  name.startsWith(SCHEME) ? decodeURIComponent(name.slice(SCHEME.length, -PARAMETERS.length)) : name

/** Whether the database at `path` must be opened as immutable: its WAL is empty, and none can be created. */
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

/** Connects for reading, even if the directory cannot be written. @param path absolute. */
export const connectReadOnly = (path: string, timeout?: number): Database.Database =>
  new Database(isReadAlone(path) ? immutableUri(path) : path, {
    readonly: true,
    fileMustExist: true,
    ...(timeout !== undefined && { timeout }),
  })
