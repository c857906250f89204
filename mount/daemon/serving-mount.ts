/** The mount that serves a database for writing. */
import { stat } from '../../store/os-files-async.ts'
import { processOwner } from '../../core/process-owner.ts'
import type { MountedDirectory } from '../mount-points/mount-table.ts'
import { controlPaths } from './control-path.ts'
import { listMounts, ownerOf } from './mounts.ts'

/** Each mount is queried, including stopped ones. */
const TIMEOUT_MS = 2000

/**
 * The mount that serves `database` for writing, if there is one. A daemon is trusted if it belongs to this user, to root, or to
 * the owner of the database's file: any other could claim to serve the database and receive its data.
 */
export async function servingMount(database: string): Promise<MountedDirectory | undefined> {
  const wanted = await stat(database).catch(() => undefined)
  const believed = new Set([processOwner().uid, 0, wanted?.uid])
  for (const mount of listMounts()) {
    if (!believed.has(ownerOf(mount))) continue
    try {
      const { callDaemon } = await import('./control-protocol.ts')
      const paths = await controlPaths(mount.device, ownerOf(mount))
      const status = await callDaemon(paths, 'status', {}, TIMEOUT_MS)
      if (status.readOnly) continue
      const served = await stat(status.database).catch(() => undefined)
      const isSame = served?.dev === wanted?.dev && served?.ino === wanted?.ino && wanted !== undefined
      if (isSame || status.database === database) return mount
    } catch {
      // Dead, stopped, or another user's: the database's lock decides whether this process may write it.
    }
  }
  return undefined
}
