/**
 * Reads a database in a directory that cannot be written: on read-only media, or another user's. A connection in WAL
 * mode needs files next to the database even to read. If the database was closed cleanly, the WAL is empty and SQLite can
 * read the file alone (`immutable=1`, https://sqlite.org/uri.html), without locks or new files, as long as the file does
 * not change. {@link DatabasePlace.keepWriterOut} ensures that.
 */
import { constants } from 'node:fs'
import { accessSync, lstatSync } from '../../os-files.ts'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { pathOfSqliteName, sqliteName } from '../../sqlite-name.ts'

/** The URI that opens the file at `path` as immutable. @param path absolute. */
export const immutableUri = (path: string): string => sqliteName(path, 'immutable=1')

/** The path of a connection's database, whether opened by path or by URI. */
export const pathOf = ({ name }: Database.Database): string => pathOfSqliteName(name)

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
export function connectReadOnly(path: string, timeout?: number): Database.Database {
  const name = isReadAlone(path) ? immutableUri(path) : sqliteName(path)
  return new Database(name, {
    readonly: true,
    fileMustExist: true,
    ...(timeout !== undefined && { timeout }),
  })
}
