/**
 * Where a mount's control socket stands: `MAJOR:MINOR.sock` of the mount's device in a directory of the user who
 * mounted. Both sides find it from /proc/self/mountinfo alone, whatever their environment says.
 *
 * | user   | first choice          | where that cannot be written |
 * |--------|-----------------------|------------------------------|
 * | root   | /run/zblkfs           | /tmp/zblkfs-0                |
 * | others | /run/user/UID/zblkfs  | /tmp/zblkfs-UID              |
 *
 * The directory has mode 0700 and belongs to the user; one that does not is not used, by either side.
 */
import { lstat, mkdir } from 'node:fs/promises'
import { join } from 'node:path'

const PERMISSIONS = 0o777

const directories = (uid: number): readonly string[] => [
  uid === 0 ? '/run/zblkfs' : `/run/user/${uid}/zblkfs`,
  `/tmp/zblkfs-${uid}`,
]

const socketName = (device: string): string => `${device}.sock`

/** The paths at which a mount's socket may stand, likeliest first. */
export async function controlPaths(device: string, uid: number): Promise<readonly string[]> {
  const paths: string[] = []
  for (const directory of directories(uid))
    if (await belongsTo(directory, uid)) paths.push(join(directory, socketName(device)))
  return paths
}

/** The path for a socket of ours, its directory made. @throws Error where none can be made. */
export async function makeControlPath(device: string): Promise<string> {
  const uid = process.getuid?.() ?? 0
  for (const directory of directories(uid)) {
    await mkdir(directory, { mode: 0o700 }).catch(() => {})
    if (await belongsTo(directory, uid)) return join(directory, socketName(device))
  }
  throw new Error(
    `no directory for the control socket: make ${directories(uid).join(' or ')} with mode 0700, owned by you`,
  )
}

async function belongsTo(directory: string, uid: number): Promise<boolean> {
  const found = await lstat(directory).catch(() => undefined)
  return found?.isDirectory() === true && found.uid === uid && (found.mode & PERMISSIONS) === 0o700
}
