/**
 * Opens the store at a path, whatever kind of database it is. Layers above import this file and none of the
 * folders below it. The modules of a kind are loaded when a database of that kind is opened: a process that opens a file
 * does without those for servers, which take longer to load than the file takes to open.
 */
import { existsSync, realpathSync } from './os-files.ts'
import { rm } from './os-files-async.ts'
import { branchPlace } from './branches.ts'
import { importMapPath, isDatabaseUrl } from './database-name.ts'
import { CannotOpenError, LockedError } from './errors.ts'
import type { RawHeader, RawPart, RawReceiving } from './raw-stream.ts'
import { recognise } from './recognise.ts'
import type { Rescued } from './sqlite/rescue.ts'
import type { BulkCacheOptions } from './s3/remote-bulk.ts'
import { logDirectory } from './sqlite/log.ts'
import { isEmptyDatabase, withoutWriter } from './sqlite/open/locked-removal.ts'
import { openSqliteStore, type OpenOptions } from './sqlite/open/open-sqlite-store.ts'
import type { ReadOnlyStore, Store, TransactionWriter, WritableStore } from './store.ts'

const filestorage = () => import('./filestorage/file-storage.ts')
const filestorageWriter = () => import('./filestorage/writer.ts')
const branch = () => import('./branch/open-branch.ts')
const postgres = () => import('./postgres/open-postgres-store.ts')
const rawTarget = () => import('./sqlite/raw/raw-target.ts')
const relstorage = () => import('./relstorage/rel-storage.ts')

/** Options for an external database (a FileStorage or a RelStorage database). */
export interface OpenForeignOptions {
  /** The directory of a FileStorage's index; by default in the user's cache directory. */
  readonly cacheDirectory?: string
  /** Receives a warning for the user: a torn tail, or a cache that cannot be written. */
  readonly warn?: (message: string) => void
  /** Receives the progress of the first scan of a FileStorage, in bytes. */
  readonly progress?: (done: number, total: number) => void
}

/** Options for a zblkfs database. */
export interface OpenDatabaseOptions extends OpenOptions {
  /** Opens a database with an unfinished import, in order to continue the import. */
  readonly resumeImport?: boolean
  /** Opens a database on a server for writing beside others, in turns. Of other databases there is one writer. */
  readonly isShared?: boolean
  /** Receives a warning for the user: the database's server does not answer, for example. */
  readonly warn?: (message: string) => void
  /** The S3 URL of the place for the bulk bytes of a new database on a server. Another place than that of an existing one is refused. */
  readonly bulk?: string
  /** The cache of these bytes on the local disk. */
  readonly bulkCache?: BulkCacheOptions
}

/**
 * Opens the database at `path`: a zblkfs database, or an external one ({@link Store.isForeign}), which is opened
 * read-only whatever `options` says.
 * @throws LockedError if another writer has it open; CannotOpenError, with cause and next step, for anything else.
 */
export async function openStore(
  path: string,
  options: OpenDatabaseOptions & OpenForeignOptions = {},
): Promise<Store> {
  const kind = await recognise(path)
  if (kind === 'filestorage') return await (await filestorage()).openFileStorage(path, options)
  if (kind === 'relstorage') return await (await relstorage()).openRelStorage(path)
  return options.readOnly === true
    ? await openDatabase(path, { ...options, readOnly: true })
    : await openDatabase(path, { ...options, readOnly: false })
}

/** Opens a zblkfs database. @throws as {@link openStore}; CannotOpenError if it is an external one. */
export function openDatabase(
  path: string,
  options: OpenDatabaseOptions & { readonly readOnly: true },
): Promise<ReadOnlyStore>
export function openDatabase(
  path: string,
  options?: OpenDatabaseOptions & { readonly readOnly?: false },
): Promise<WritableStore>
export async function openDatabase(path: string, options: OpenDatabaseOptions = {}): Promise<Store> {
  if (options.resumeImport !== true && existsSync(importMapPath(path)))
    throw new CannotOpenError(
      `${path} has only a part of an import, whose state is in ${importMapPath(path)}`,
      { code: 'unfinished-import' },
    )
  if (isDatabaseUrl(path)) return await (await postgres()).openPostgresStore(path, options)
  if (options.bulk !== undefined)
    throw new CannotOpenError(
      `${path} is a file, with its bulk bytes beside it: bulk= is for a database on a server`,
    )
  const place = branchPlace(path)
  if (place !== undefined) return await (await branch()).openBranch(path, place, options)
  return options.readOnly === true
    ? await openSqliteStore(path, { ...options, readOnly: true })
    : await openSqliteStore(path, { ...options, readOnly: false })
}

/** Makes a branch, as `createBranch` of branch/open-branch.ts. */
export async function createBranch(...made: Parameters<Branches['createBranch']>): Promise<void> {
  await (await branch()).createBranch(...made)
}

/** Removes a branch, as `removeBranch` of branch/open-branch.ts. */
export async function removeBranch(...removed: Parameters<Branches['removeBranch']>): Promise<void> {
  await (await branch()).removeBranch(...removed)
}

type Branches = Awaited<ReturnType<typeof branch>>

/**
 * Opens a copy of an encrypted database, without its key, for raw streams that begin like this one. The copy is made if it does not exist.
 * @param begin the first part of a stream.
 * @throws LockedError if another process writes it; CannotOpenError, StoreError if it is no copy, or the stream is not sound.
 */
export async function openRawTarget(
  path: string,
  begin: RawPart,
): Promise<{ readonly header: RawHeader; readonly target: RawReceiving }> {
  if (isDatabaseUrl(path) || branchPlace(path) !== undefined)
    throw new CannotOpenError(`${path} cannot receive a raw stream: only a database in a file can`, {
      code: 'usage',
    })
  const { headerOf, RawTarget } = await rawTarget()
  const header = headerOf(begin)
  return { header, target: await RawTarget.open(path, header) }
}

/**
 * Removes a zblkfs database that has no transaction, unless another process has begun to write it.
 * @throws StoreError if it cannot be removed.
 */
export async function removeEmptyDatabase(path: string): Promise<void> {
  if (isDatabaseUrl(path)) return await (await postgres()).removePostgresDatabase(path)
  const file = realpathSync(path)
  try {
    await withoutWriter(file, async () => {
      if (isEmptyDatabase(file)) await removeDatabase(file)
    })
  } catch (error) {
    if (!(error instanceof LockedError)) throw error
  }
}

/** Removes a zblkfs database and the files that belong to it. It must not be open anywhere. */
export async function removeDatabase(path: string): Promise<void> {
  if (isDatabaseUrl(path)) return await (await postgres()).removePostgresDatabase(path)
  for (const suffix of ['', '-wal', '-shm', '-lock']) await rm(path + suffix, { force: true })
  await rm(logDirectory(path), { recursive: true, force: true })
}

/**
 * Creates a FileStorage.
 * @param mode its permissions, less the process's umask.
 * @throws CannotOpenError if the path exists already.
 */
export async function createFileStorage(path: string, mode: number): Promise<TransactionWriter> {
  return await (await filestorageWriter()).FileStorageWriter.create(path, mode)
}

/** Opens a FileStorage to append to it. @throws CannotOpenError, also if another process writes it. */
export async function appendToFileStorage(path: string): Promise<TransactionWriter> {
  return await (await filestorageWriter()).FileStorageWriter.reopen(path)
}

/** Opens an external database. @throws CannotOpenError if it is missing, damaged, or a zblkfs database. */
export async function openForeignDatabase(
  path: string,
  options: OpenForeignOptions = {},
): Promise<ReadOnlyStore> {
  const kind = await recognise(path)
  if (kind === 'filestorage') return await (await filestorage()).openFileStorage(path, options)
  if (kind === 'relstorage') return await (await relstorage()).openRelStorage(path)
  throw new CannotOpenError(
    kind === 'none'
      ? `${path} does not exist or is empty: name a ZODB database (Data.fs, or RelStorage's main.sqlite3)`
      : `${path} is a zblkfs database, not a ZODB one: mount it, or copy its file`,
  )
}

/** Makes a database of the files that a process has open, as `rescueDatabase` of sqlite/rescue.ts. */
export async function rescueDatabase(pid: number, target: string): Promise<Rescued> {
  return await (await import('./sqlite/rescue.ts')).rescueDatabase(pid, target)
}
