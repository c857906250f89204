/** Finds a database and the mount that serves it, given either. */
import { realpath, stat } from '../store/os-files-async.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { locate } from '../mount/mount-points/locate.ts'
import { isDatabaseUrl } from '../store/database-name.ts'
import { UsageError } from './failure.ts'
import { servingMount } from '../mount/daemon/serving-mount.ts'
import { findPlace } from './history-source.ts'

export interface Target {
  readonly database: string
  /** Its writable mount, if there is one. */
  readonly mount?: MountedDirectory
}

/**
 * The database that a path names, by its own file or by a mount of it. A database file in a mount means that
 * database, not the mounted one.
 * @throws UsageError for a directory if nothing is mounted; CommandError where a mount does not answer.
 */
export async function findTarget(path: string): Promise<Target> {
  const isPlain = !isDatabaseUrl(path) && locate(path).mount === undefined
  const database = isPlain ? await outside(path) : (await findPlace(path)).database
  const mount = await servingMount(database)
  return { database, ...(mount !== undefined && { mount }) }
}

async function outside(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() === true)
    throw new UsageError(`${path} is a directory without a mount: name the database file`)
  return found === undefined ? path : await realpath(path)
}
