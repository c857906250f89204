/**
 * Opens a database, and explains everything that may be wrong with its path. In order:
 *
 * 1. the path without symbolic links, and the directory and the file held open (database-place.ts);
 * 2. for writing, the lock (writer-lock.ts);
 * 3. the files that SQLite will use next to it: neither links nor files of other users;
 * 4. that the database is complete (writing-mark.ts), of this format, and has its log;
 * 5. the connections.
 */
import type { Stats } from 'node:fs'
import { absolutePath, lstatSync, realpathSync, statSync } from '../../os-files.ts'
import { basename, dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { sqliteName } from '../../sqlite-name.ts'
import type { CompressionName } from '../../compression.ts'
import { accessOf, keyOf, makeKeys } from '../../database-key.ts'
import type { EncryptionOptions } from '../../encryption.ts'
import { ENCRYPTION } from '../../encryption/key-slots.ts'
import type { MasterKey } from '../../encryption/keys.ts'
import { CannotOpenError } from '../../errors.ts'
import { readIntents, waitingIntents } from '../intents/intent-file.ts'
import { findLogProblem, lastTidOf } from '../log.ts'
import { removeReserve } from '../reserve.ts'
import { APPLICATION_ID, checkTables, ENCRYPTED_FORMAT, OLDEST_FORMAT } from '../schema.ts'
import { SqliteIndexScan } from '../sqlite-index-scan.ts'
import { SqliteStore, WritableSqliteStore } from '../sqlite-store.ts'
import { WriterClient } from '../writer/writer-client.ts'
import { readDatabaseId } from './database-id.ts'
import { asCannotOpen, explain } from './cannot-open.ts'
import { createFile } from './create-file.ts'
import { DatabasePlace } from './database-place.ts'
import { otherFormat } from '../../other-format.ts'
import { assertNameFits, notADatabase } from './not-a-database.ts'
import { assertPlainFiles } from './plain-files.ts'
import { immutableUri, isReadAlone } from './immutable.ts'
import { inodeHolder, WriterLock } from './writer-lock.ts'
import { assertWhole } from './writing-mark.ts'

export interface OpenOptions extends EncryptionOptions {
  /** Opens for reading only; a writer may be active. */
  readonly readOnly?: boolean
  /** Receives a warning for the user: a reader does not see changes that no mount has replayed since a crash. */
  readonly warn?: (message: string) => void
  /** Creates the database if there is none. */
  readonly create?: boolean
  /** What this process uses the database for; shown to processes that cannot open it meanwhile. */
  readonly purpose?: string
  /** Size of SQLite's page cache for reading. */
  readonly cacheSizeBytes?: number
  /** Opens even if the index of revisions may be corrupt. Used by fsck. */
  readonly skipIndexCheck?: boolean
  /** How new bulk bytes are stored from now on; recorded in the database. By default as recorded there. */
  readonly compression?: CompressionName | undefined
  /** Keeps the database open for long, as a mount does: the reserve is held at once, on a disk with ample space too. */
  readonly keepsOpen?: boolean
}

const DEFAULT_CACHE_BYTES = 4 << 20
const BUSY_TIMEOUT_MS = 5000
/** The check at open is skipped for more revisions than this; it takes about a tenth of a second for them. */
const INDEX_CHECK_REVISIONS = 100_000

/**
 * Opens the database at `path`.
 * @throws LockedError if another writer has it; CannotOpenError, with cause and next step, for anything else.
 */
export function openSqliteStore(
  path: string,
  options: OpenOptions & { readonly readOnly: true },
): Promise<SqliteStore>
export function openSqliteStore(
  path: string,
  options?: OpenOptions & { readonly readOnly?: false },
): Promise<WritableSqliteStore>
export async function openSqliteStore(
  path: string,
  options: OpenOptions = {},
): Promise<SqliteStore | WritableSqliteStore> {
  const {
    readOnly = false,
    create = false,
    purpose = 'unknown purpose',
    cacheSizeBytes,
    skipIndexCheck = false,
    compression,
    keepsOpen = false,
  } = options
  const file = findFile(path, create && !readOnly)
  const cacheBytes = cacheSizeBytes ?? DEFAULT_CACHE_BYTES
  if (readOnly) return await openReadOnly(file, cacheBytes, options)
  const open = (): Promise<WritableSqliteStore> =>
    openForWriting(file, {
      create,
      purpose,
      cacheBytes,
      skipIndexCheck,
      compression,
      keepsOpen,
      encryption: options,
    })
  try {
    return await open()
  } catch (error) {
    // SQLite creates files next to the database before any space can be freed in it.
    if (!isFull(error) || !removeReserve(file)) throw error
    return await open()
  }
}

const isFull = (error: unknown): boolean => error instanceof CannotOpenError && error.code === 'no-space'

async function openForWriting(
  file: string,
  {
    create,
    purpose,
    cacheBytes,
    skipIndexCheck,
    compression,
    keepsOpen,
    encryption,
  }: {
    readonly create: boolean
    readonly purpose: string
    readonly cacheBytes: number
    readonly skipIndexCheck: boolean
    readonly compression: CompressionName | undefined
    readonly keepsOpen: boolean
    readonly encryption: EncryptionOptions
  },
): Promise<WritableSqliteStore> {
  const lock = explain(file, () => WriterLock.take(file, purpose))
  const { place } = lock
  try {
    let made: MasterKey | undefined
    if (create)
      await createFile(lock, async () => {
        if (encryption.encryption === undefined || encryption.encryption === 'off') return undefined
        const { master, note } = await makeKeys(place.path, encryption)
        made = master
        return note
      })
    assertPlainFiles(place)
    if (!skipIndexCheck) assertWhole(place, false)
    const keys = checkForWriting(place, skipIndexCheck)
    const key = made ?? (await keyOf(file, keys, encryption))
    const writer = await WriterClient.start(place, { compression, key, keepsOpen })
    try {
      return new WritableSqliteStore(
        place,
        connectForReading(sqliteName(place.held), place, cacheBytes, skipIndexCheck),
        writer,
        lock,
        key,
      )
    } catch (error) {
      await writer.client.close()
      throw error
    }
  } catch (error) {
    lock.release()
    throw asCannotOpen(error, file)
  }
}

async function openReadOnly(
  file: string,
  cacheBytes: number,
  { skipIndexCheck = false, warn, ...encryption }: OpenOptions,
): Promise<SqliteStore> {
  const place = explain(file, () => new DatabasePlace(file))
  let db: Database.Database | undefined
  try {
    if (!place.openFile('read')) throw new CannotOpenError(`${file} does not exist: check the name`)
    assertPlainFiles(place)
    if (!skipIndexCheck) assertWhole(place, place.hasWriter)
    db = connectForReading(nameToRead(place), place, cacheBytes, skipIndexCheck)
    if (warn !== undefined && !place.hasWriter) warnOfIntents(place, db, warn)
    return new SqliteStore(place, db, await accessOf(file, keysOf(db), encryption))
  } catch (error) {
    db?.close()
    place.close()
    throw asCannotOpen(error, file)
  }
}

/** Warns if a crash has left synced changes in the intent log, which a reader does not show. */
function warnOfIntents(place: DatabasePlace, db: Database.Database, warn: (message: string) => void): void {
  const id = readDatabaseId(db)
  if (id === undefined) return
  const last = lastTidOf(db)
  const { entries } = readIntents(place.held, id, last)
  if (entries.length > 0) warn(waitingIntents(place.path, last, entries.length))
}

/** The name that a read-only connection opens. @throws LockedError if a writer has the file under another name. */
function nameToRead(place: DatabasePlace): string {
  const hasWal = lstatSync(`${place.held}-wal`, { throwIfNoEntry: false }) !== undefined
  // The writer's WAL is next to its own name for the file: without it, an old state would be read.
  if (place.isLockedElsewhere) {
    if (hasWal) return sqliteName(place.held)
    throw new CannotOpenError(
      `${place.path} is in use by ${inodeHolder(place.stat())}: read it under that name, or unmount it there first`,
      { code: 'in-use-elsewhere', path: place.path },
    )
  }
  return isReadAlone(place.held) && place.keepWriterOut() ? immutableUri(place.held) : sqliteName(place.held)
}

/** The path without symbolic links. @throws CannotOpenError */
export function findFile(path: string, create: boolean): string {
  const wanted = absolutePath(path)
  assertNameFits(wanted)
  const found = explain(wanted, () => statSync(wanted, { throwIfNoEntry: false }))
  if (found !== undefined) return checkFile(realpathSync(wanted), found, create)
  if (!create) {
    throw new CannotOpenError(`${path} does not exist`, { code: 'no-database', path })
  }
  const parent = dirname(wanted)
  const parentFound = explain(parent, () => statSync(parent, { throwIfNoEntry: false }))
  if (parentFound?.isDirectory() !== true) {
    throw new CannotOpenError(`${path} cannot be created: ${parent} is not a directory; create it first`)
  }
  return join(realpathSync(parent), basename(wanted))
}

function checkFile(path: string, found: Stats, create: boolean): string {
  if (found.isDirectory()) {
    throw notADatabase(path, 'it is a directory; name the database file')
  }
  if (!found.isFile()) throw notADatabase(path, 'it is not a regular file')
  if (found.size === 0 && !create) {
    throw new CannotOpenError(`${path} is empty`, { code: 'empty-database', path })
  }
  return path
}

/** The note of a database's keys; undefined if it is not encrypted. @throws CannotOpenError if an encrypted one has lost it. */
function keysOf(db: Database.Database): string | undefined {
  const note = new SqliteIndexScan(db).note(ENCRYPTION)
  if (note === undefined && Number(db.pragma('user_version', { simple: true })) === ENCRYPTED_FORMAT)
    throw new CannotOpenError('the note of its keys is missing: put it back from a backup of the database', {
      code: 'damaged',
    })
  return note
}

/**
 * The writer would convert any SQLite file to a WAL database; this connection removes the files that it creates.
 * @returns the note of its keys; undefined if it is not encrypted.
 */
function checkForWriting(place: DatabasePlace, skipIndexCheck: boolean): string | undefined {
  const db = new Database(sqliteName(place.held), { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  try {
    checkFormat(db, place.path)
    if (!skipIndexCheck) checkLog(db, place.path)
    return keysOf(db)
  } finally {
    db.close()
  }
}

/** @param name the database's (store/sqlite-name.ts). */
function connectForReading(
  name: string,
  place: DatabasePlace,
  cacheSizeBytes: number,
  skipIndexCheck: boolean,
): Database.Database {
  const db = new Database(name, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  try {
    checkFormat(db, place.path)
    db.pragma(`cache_size = -${Math.ceil(cacheSizeBytes / 1024)}`)
    if (!skipIndexCheck) {
      checkIndex(db, place.path)
      checkLog(db, place.path)
    }
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Rejects databases of other programs and of other formats. */
export function checkFormat(db: Database.Database, file: string): void {
  const application = db.pragma('application_id', { simple: true })
  if (application !== APPLICATION_ID) {
    throw notADatabase(
      file,
      `it is a SQLite database of another program (application id ${String(application)})`,
    )
  }
  const version = Number(db.pragma('user_version', { simple: true }))
  if (version < OLDEST_FORMAT || version > ENCRYPTED_FORMAT)
    throw otherFormat(file, version, ENCRYPTED_FORMAT)
  checkTables(db)
}

/**
 * Checks the index of revisions, if that is quick. SQLite's pages have no checksums: a damaged key could hide an object's
 * newest state, and the previous one would be read instead.
 */
function checkIndex(db: Database.Database, file: string): void {
  if (new SqliteIndexScan(db).sums().all.revisions > INDEX_CHECK_REVISIONS) return
  const found = (db.pragma("integrity_check('revision')") as Record<string, unknown>[]).map(row =>
    String(Object.values(row)[0]),
  )
  if (found[0] === 'ok') return
  throw new CannotOpenError(`the index of ${file} is damaged (${found.slice(0, 3).join('; ')})`, {
    code: 'damaged-index',
    path: file,
  })
}

/** Checks that the database's own log is next to it. @throws CannotOpenError */
export function checkLog(db: Database.Database, file: string): void {
  const problem = findLogProblem(db)
  if (problem === undefined) return
  const code = readDatabaseId(db) === undefined ? 'damaged-id' : 'damaged-log'
  throw new CannotOpenError(`${file} cannot be opened: ${problem}`, { code, path: file })
}
