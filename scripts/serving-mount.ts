/** The mount that serves a database, whichever of the two a person names. */
import { realpath, stat } from 'node:fs/promises'
import { controlPaths } from '../mount/daemon/control-path.ts'
import { callDaemon } from '../mount/daemon/control-protocol.ts'
import { findMountOf, listMounts, ownerOf } from '../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { callMount } from './find-mount.ts'
import { UsageError } from './failure.ts'

const STATUS_TIMEOUT_MS = 5000

export interface Target {
  readonly database: string
  /** Where it is mounted for writing, if it is. */
  readonly mount?: MountedDirectory
}

/** @throws UsageError for a directory where nothing is mounted; CommandError where a mount does not answer. */
export async function findTarget(path: string): Promise<Target> {
  const mount = await findMountOf(path)
  if (mount !== undefined) {
    const { database, readOnly } = await callMount(mount, 'status', {}, STATUS_TIMEOUT_MS)
    return readOnly ? await findTarget(database) : { database, mount }
  }
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() === true)
    throw new UsageError(`${path} is a directory where nothing is mounted: name the database file`)
  const database = found === undefined ? path : await realpath(path)
  for (const candidate of listMounts()) {
    const status = await controlPaths(candidate.device, ownerOf(candidate))
      .then(paths => callDaemon(paths, 'status', {}, STATUS_TIMEOUT_MS))
      .catch(() => undefined)
    if (status?.readOnly === false && (await realpath(status.database).catch(() => '')) === database)
      return { database, mount: candidate }
  }
  return { database }
}
