/** The mount that serves a database, whichever of the two a person names. */
import { realpath, stat } from 'node:fs/promises'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { locate } from '../mount/mount-points/locate.ts'
import { isDatabaseUrl } from '../store/database-name.ts'
import { UsageError } from './failure.ts'
import { servingMount } from '../mount/daemon/serving-mount.ts'
import { findPlace } from './history-source.ts'

export interface Target {
  readonly database: string
  /** Where it is mounted for writing, if it is. */
  readonly mount?: MountedDirectory
}

/**
 * The database that a path names, by its own file or by a mount of it. A database that lies in a mount is that
 * database, not the one that is mounted.
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
    throw new UsageError(`${path} is a directory where nothing is mounted: name the database file`)
  return found === undefined ? path : await realpath(path)
}
