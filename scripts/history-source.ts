/**
 * The database of a command about the past, given by its file, its mount, or a path in its mount. To read it, the command
 * opens it directly, without the daemon.
 */
import { existsSync } from '../store/os-files.ts'
import { stat } from '../store/os-files-async.ts'
import { textOf } from '../store/os-text.ts'
import { storedName, storedPath } from '../core/stored-names.ts'
import { MOMENT_PREFIX } from '../core/file-system/reserved-names.ts'
import { followInside, locate } from '../mount/mount-points/locate.ts'
import { parseMoment, resolveMoment, resolveStart, type FindTag } from '../store/moments.ts'
import { MomentView } from '../core/history/moment-view.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { CannotOpenError, systemCode } from '../store/errors.ts'
import type { Tid } from '../store/ids.ts'
import { canonicalName, isDatabaseUrl } from '../store/database-name.ts'
import { isOwn, recognise } from '../store/recognise.ts'
import { openDatabase, openForeignDatabase } from '../store/open-store.ts'
import type { Store } from '../store/store.ts'
import { CommandError } from './failure.ts'
import { type Access, assertLinks } from './own-links.ts'
import { warn } from './say.ts'

const STATUS_TIMEOUT_MS = 5000

/** A database and a place in its tree. */
export interface HistorySource {
  /** The database's file. */
  readonly database: string
  /** Its mount, if known. */
  readonly mount: MountedDirectory | undefined
  /** Relative to the root, one character per byte. */
  readonly path: string
  /** The moment that the path leads into (`/@WHEN/`), as typed. */
  readonly moment?: string
}

/**
 * Resolves a command's arguments. A database file means that database, even if it is in a mount.
 * @param place a database's file, or a path in a mount.
 * @param path a path within the tree, if the place is a database or a mount's directory.
 * @throws CommandError if the place is neither, if the daemon of a mount does not answer, and as {@link assertLinks} for a change.
 */
export async function findSource(place: string, path = '', access: Access = 'read'): Promise<HistorySource> {
  const found = await findPlace(place, access)
  const { database, mount, inner } = found
  return { database, mount, ...(await inMoment(database, storedPath(`${inner}/${path}`))) }
}

interface Place {
  readonly database: string
  readonly mount: MountedDirectory | undefined
  readonly inner: string
}

/** The database and mount of a path. @throws as {@link findSource} */
export async function findPlace(place: string, access: Access = 'read'): Promise<Place> {
  if (isDatabaseUrl(place)) return { database: canonicalName(place), mount: undefined, inner: '' }
  const outside = locate(place)
  if (access === 'change') assertLinks(place, outside)
  if (outside.mount === undefined) {
    if (await isDatabase(outside.path)) return { database: outside.path, mount: undefined, inner: '' }
    throw new CommandError(
      existsSync(outside.path)
        ? `${place} is not a zblkfs database, nor in a zblkfs mount`
        : `${place} does not exist`,
      { code: 'not-mounted' },
    )
  }
  const { callMount } = await import('./find-mount.ts')
  // The daemon answers first: only then are the mount's own files looked at.
  const status = await callMount(outside.mount, 'status', {}, STATUS_TIMEOUT_MS)
  const { path, mount, inner } = await followInside(outside)
  if (mount?.device !== outside.mount.device) return await findPlace(path, access)
  if (path !== mount.mountPoint && (await isDatabase(path)))
    return { database: path, mount: undefined, inner: '' }
  return { database: status.database, mount, inner }
}

/** A path whose first part is a moment, apart from that. Names of tags are not reserved: a file of that name comes first. */
async function inMoment(database: string, path: string): Promise<Pick<HistorySource, 'path' | 'moment'>> {
  const [first = '', ...rest] = path.split('/')
  const when = first.startsWith(MOMENT_PREFIX) ? first.slice(MOMENT_PREFIX.length) : undefined
  if (when === undefined) return { path }
  if ('tag' in parseMoment(when, Date.now()) && !(await isTag(database, when, first))) return { path }
  return { path: rest.join('/'), moment: textOf(Buffer.from(when, 'latin1')) }
}

async function isTag(database: string, tag: string, name: string): Promise<boolean> {
  return await withAnyStore(database, async store => {
    if (store.isForeign) return false
    const view = await MomentView.open(store, await store.lastTid())
    return (await view.find(name)) === undefined && (await view.superblock.tag(tag)) !== undefined
  })
}

/** @throws CommandError if two places of one command are in different databases. */
export function assertSameDatabase(
  [one, first]: readonly [string, HistorySource],
  [other, second]: readonly [string, HistorySource],
): void {
  if (first.database !== second.database)
    throw new CommandError(
      `${one} is in ${first.database}, ${other} in ${second.database}: copy between databases with cp`,
    )
}

/** @throws CommandError if a path to be created is in the past. */
export function assertPresent(path: string, { moment }: HistorySource): void {
  if (moment !== undefined) throw new CommandError(`${path} is in the past, which cannot be changed`)
}

/** Whether a store is that of an encrypted database, opened without its key. */
export const lacksKey = ({ capabilities }: Store): boolean => capabilities.encrypting?.hasKey === false

/** Runs `use` with a database opened for reading. @throws CannotOpenError, CommandError */
export async function withStore<T>(
  database: string,
  use: (store: Store) => Promise<T>,
  { mayLackKey = false }: { readonly mayLackKey?: boolean } = {},
): Promise<T> {
  const kind = await recognise(database)
  if (kind === 'none')
    throw new CommandError(`${database} does not exist or is empty`, { code: 'no-database' })
  if (!isOwn(kind))
    throw new CommandError(`${database} is not a zblkfs database: import it first ('zblkfs import')`)
  const store = await openDatabase(database, { readOnly: true, warn, mayLackKey })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** Whether a database is an external ZODB database ({@link Store.isForeign}). */
export const isForeignDatabase = async (database: string): Promise<boolean> =>
  !isOwn(await recognise(database))

/** The same where the database may be an external ZODB database ({@link Store.isForeign}). */
export async function withAnyStore<T>(database: string, use: (store: Store) => Promise<T>): Promise<T> {
  if (isOwn(await recognise(database))) return await withStore(database, use)
  const store = await openForeignDatabase(database, { warn })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** The transaction of a moment. @throws StoreError if there is none. */
export const momentOf = (store: Store, when: string): Promise<Tid> =>
  resolveMoment(store, storedName(when), tagIn(store))

/** The transaction after which a range begins, as {@link resolveStart}. */
export const startOf = (store: Store, when: string): Promise<Tid> =>
  resolveStart(store, storedName(when), tagIn(store))

const tagIn =
  (store: Store): FindTag =>
  async name =>
    store.isForeign ? undefined : (await MomentView.open(store, await store.lastTid())).superblock.tag(name)

/** Whether a file is a database of any kind. @throws CannotOpenError if the user may not read it. */
async function isDatabase(path: string): Promise<boolean> {
  try {
    const found = await stat(path).catch(() => undefined)
    return found?.isFile() === true && (await recognise(path)) !== 'none'
  } catch (error) {
    // A database that the user may not read is still a database.
    if (!(error instanceof CannotOpenError) || systemCode(error.cause) === 'EACCES') throw error
    return false
  }
}
