/** Finds a database and the mount that serves it, given either. */
import { stat } from '../store/os-files-async.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { locate, type Location } from '../mount/mount-points/locate.ts'
import { isDatabaseUrl } from '../store/database-name.ts'
import { UsageError } from './failure.ts'
import { servingMount } from '../mount/daemon/serving-mount.ts'
import { findPlace } from './history-source.ts'
import { type Access, assertLinks } from './own-links.ts'

export interface Target {
  readonly database: string
  /** Its writable mount, if there is one. */
  readonly mount?: MountedDirectory
}

/**
 * The database that a path names, by its own file or by a mount of it. A database file in a mount means that
 * database, not the mounted one.
 * @throws UsageError for a directory if nothing is mounted; CommandError if a mount does not answer, and as {@link assertLinks} for a change.
 */
export async function findTarget(path: string, access: Access = 'read'): Promise<Target> {
  const located = isDatabaseUrl(path) ? undefined : locate(path)
  const isPlain = located !== undefined && located.mount === undefined
  const database = isPlain ? await outside(path, located, access) : (await findPlace(path, access)).database
  const mount = await servingMount(database)
  return { database, ...(mount !== undefined && { mount }) }
}

async function outside(path: string, located: Location, access: Access): Promise<string> {
  if (access === 'change') assertLinks(path, located)
  const found = await stat(located.path).catch(() => undefined)
  if (found?.isDirectory() === true)
    throw new UsageError(`${path} is a directory without a mount: name the database file`)
  return found === undefined ? path : located.path
}
