/** Unmounting when the server is stuck or stopped. */
import { isRoot } from '../../../core/process-owner.ts'
import { writeFileSync } from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import { MountError } from '../driver.ts'
import { unmount } from '../../mount-points/unmount.ts'
import { mountedAt } from '../../mount-points/mount-table.ts'
import { umount2, UnmountFlag } from './system-calls.ts'

/**
 * Aborts the connection of a mount and detaches it: every waiting process gets an error. The server, once it runs again,
 * finds the mount gone and stores its changes.
 * @param mountPoint - its real path.
 * @throws MountError if it is not mounted, or belongs to another user.
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

/** An ordinary user's replacement of umount2's FORCE, if fusectl is mounted. */
function abortConnection(device: string): void {
  try {
    writeFileSync(`/sys/fs/fuse/connections/${device.split(':')[1]}/abort`, '1')
  } catch {
    // fusectl is not mounted, or the connection is another user's: only a lazy unmount is possible.
  }
}
