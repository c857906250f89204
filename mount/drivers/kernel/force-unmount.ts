/** The last resort for a mount whose server is stuck or stopped. */
import { isRoot } from '../../../core/process-owner.ts'
import { writeFileSync } from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import { MountError } from '../driver.ts'
import { unmount } from '../../mount-points/unmount.ts'
import { mountedAt } from '../../mount-points/mount-table.ts'
import { umount2, UnmountFlag } from './system-calls.ts'

/**
 * Ends the connection behind a mount and takes it out of the tree: every process that waits for an answer gets an
 * error, and the server, when it wakes up, is told that the mount is gone and stores what it has.
 * @param mountPoint - its real path.
 * @throws MountError where it is not mounted, or is somebody else's.
 */
export async function forceUnmount(mountPoint: string): Promise<void> {
  const mounted = mountedAt(mountPoint)
  if (!mounted)
    throw new MountError(`${mountPoint} is not mounted`, { code: 'not-mounted', path: mountPoint })
  abortConnection(mounted.device)
  if (!isRoot()) return await unmount(mountPoint, true)
  const flags = UnmountFlag.FORCE | UnmountFlag.DETACH | UnmountFlag.NOFOLLOW
  const { result, errno } = await umount2(mountPoint, flags)
  if (result < 0) throw new MountError(`${mountPoint} cannot be unmounted: ${getSystemErrorMessage(-errno)}`)
}

/** What an ordinary user has in place of umount2's FORCE, where fusectl is mounted. */
function abortConnection(device: string): void {
  try {
    writeFileSync(`/sys/fs/fuse/connections/${device.split(':')[1]}/abort`, '1')
  } catch {
    // It is not mounted, or the connection is not ours: a lazy unmount is all there is.
  }
}
