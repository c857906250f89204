/** Determines from its content which kind of database a file is. */
import { constants } from 'node:fs'
import { open, stat } from './os-files-async.ts'
import Database from 'better-sqlite3'
import { sqliteName } from './sqlite-name.ts'
import { CannotOpenError, systemCode, messageOf } from './errors.ts'
import { MAGIC, MAGIC_LENGTH, MAGIC_PYTHON_2 } from './filestorage/format.ts'
import { isPostgresUrl } from './postgres/address.ts'
import { relStorageSchema } from './relstorage/schema.ts'
import { assertNameFits, notADatabase } from './sqlite/open/not-a-database.ts'
import { APPLICATION_ID } from './sqlite/schema.ts'

/** 'none': the file is missing or empty, so a database can be created there. */
export type DatabaseKind = 'sqlite' | 'postgres' | 'filestorage' | 'relstorage' | 'none'

/** Whether a kind of database is zblkfs's own. */
export const isOwn = (kind: DatabaseKind): kind is 'sqlite' | 'postgres' =>
  kind === 'sqlite' || kind === 'postgres'

/** Whether a name is that of a database on a server, which need not exist. */
export const isOnServer = (database: string): boolean => isPostgresUrl(database)

/** The first bytes of a SQLite database; its application id follows later. */
const SQLITE_MAGIC = 'SQLite format 3\0'
const APPLICATION_ID_OFFSET = 68
const SQLITE_HEADER_LENGTH = 100

/**
 * The kind of `path`: zblkfs's own SQLite database, a ZODB FileStorage, or a RelStorage SQLite database. Opening it
 * checks its version, and whether it is complete.
 * @throws CannotOpenError if it is something else, or cannot be read.
 */
export async function recognise(path: string): Promise<DatabaseKind> {
  if (isPostgresUrl(path)) {
    const { examine } = await import('./postgres/open-postgres-store.ts')
    return (await examine(path)) === 'ours' ? 'postgres' : 'none'
  }
  assertNameFits(path)
  const start = await readStart(path)
  if (start === undefined || start.length === 0) return 'none'
  const magic = start.toString('latin1', 0, MAGIC_LENGTH)
  if (magic === MAGIC || magic === MAGIC_PYTHON_2) return 'filestorage'
  if (start.toString('latin1', 0, SQLITE_MAGIC.length) === SQLITE_MAGIC) {
    // Our own databases are recognised without opening them: they may be locked, or in a directory that cannot be written.
    const ours =
      start.length === SQLITE_HEADER_LENGTH && start.readUInt32BE(APPLICATION_ID_OFFSET) === APPLICATION_ID
    return ours ? 'sqlite' : recogniseSqlite(path)
  }
  throw notADatabase(path, "its first bytes are neither SQLite's nor those of a ZODB FileStorage")
}

/** The file's first bytes; undefined if there is no file. */
async function readStart(path: string): Promise<Buffer | undefined> {
  try {
    const stats = await stat(path)
    if (stats.isDirectory()) throw notADatabase(path, 'it is a directory; name the database file in it')
    if (!stats.isFile()) throw notADatabase(path, 'it is not a regular file')
    // A FIFO may have replaced the file, and opening it would wait for a writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const bytes = Buffer.alloc(SQLITE_HEADER_LENGTH)
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
      return bytes.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw cannotRead(path, error)
  }
}

function recogniseSqlite(path: string): DatabaseKind {
  let db: Database.Database | undefined
  try {
    db = new Database(sqliteName(path), { readonly: true, fileMustExist: true })
    if (db.pragma('application_id', { simple: true }) === APPLICATION_ID) return 'sqlite'
    if (relStorageSchema(db) !== undefined) return 'relstorage'
  } catch (error) {
    throw cannotRead(path, error)
  } finally {
    db?.close()
  }
  throw notADatabase(path, 'it is a SQLite database of another program')
}

function cannotRead(path: string, error: unknown): CannotOpenError {
  if (error instanceof CannotOpenError) return error
  const message = messageOf(error)
  const isDamage = error instanceof Database.SqliteError && error.code.startsWith('SQLITE_CORRUPT')
  const advice = isDamage ? ": restore it from a copy, or see what sqlite3's .recover can save" : ''
  return new CannotOpenError(`${path} cannot be read: ${message}${advice}`, { cause: error })
}
