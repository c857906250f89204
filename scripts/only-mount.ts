/** The mount that a command without a directory means. */
import { listMounts } from '../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { mountAt } from './find-mount.ts'
import { CommandError, UsageError } from './failure.ts'

/** The mount of a path, or the only one of this machine. @throws CommandError, UsageError if there is none, or more than one. */
export function mountOf(path: string | undefined): MountedDirectory {
  if (path !== undefined) return mountAt(path)
  const mounts = listMounts()
  const [first] = mounts
  if (first === undefined) throw new CommandError('nothing is mounted', { code: 'not-mounted' })
  if (mounts.length > 1)
    throw new UsageError(`name one of the mounts: ${mounts.map(({ mountPoint }) => mountPoint).join(', ')}`)
  return first
}
