/**
 * Unmounts with umount2(2) for root, and with fusermount3, which knows who may, for others. The mount is named by the kernel's
 * table of mounts and held while it is unmounted (held-mount.ts).
 */
import { isRoot } from '../../core/process-owner.ts'
import { systemCode } from '../../store/errors.ts'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { getSystemErrorMessage, getSystemErrorName, promisify } from 'node:util'
import { MountError } from '../drivers/driver.ts'
import { umount2, UnmountFlag } from '../drivers/kernel/system-calls.ts'
import { HeldMount } from './held-mount.ts'
import type { MountedDirectory } from './mount-table.ts'

const run = promisify(execFile)
const USERS_SHOWN = 5

/**
 * - `whole`: fails where the mount is in use;
 * - `lazy`: takes it out of the tree at once, in use or not;
 * - `force`: aborts its connection too, so that every process that waits for its server gets an error.
 */
export type Unmounting = 'whole' | 'lazy' | 'force'

/**
 * Unmounts without asking anything of what is mounted.
 * @throws MountError if it is in use (by whom), may not be unmounted, or its path leads to another mount by now.
 */
export async function unmount(mount: MountedDirectory, how: Unmounting): Promise<void> {
  const held = await HeldMount.open(mount)
  try {
    // While the mount is held, its device number is no other connection's.
    if (how === 'force') abortConnection(mount.device)
    await (isRoot() ? unmountAsRoot(held, mount, how) : unmountAsUser(held, mount, how))
  } finally {
    await held.close()
  }
}

async function unmountAsRoot(
  held: HeldMount,
  { mountPoint }: MountedDirectory,
  how: Unmounting,
): Promise<void> {
  const { rootPath } = held
  if (how === 'whole' || rootPath === undefined) await held.letRootGo()
  const { result, errno } =
    how === 'whole' || rootPath === undefined
      ? await umount2(held.path, UnmountFlag.NOFOLLOW)
      : await umount2(rootPath, UnmountFlag.DETACH | (how === 'force' ? UnmountFlag.FORCE : 0))
  if (result === 0) return
  if (getSystemErrorName(-errno) === 'EBUSY') throw await inUse(mountPoint)
  throw new MountError(`${mountPoint} cannot be unmounted: ${getSystemErrorMessage(-errno)}`)
}

async function unmountAsUser(
  held: HeldMount,
  { mountPoint }: MountedDirectory,
  how: Unmounting,
): Promise<void> {
  await held.letRootGo()
  let failure: unknown
  for (const command of ['fusermount3', 'fusermount']) {
    try {
      await run(command, [how === 'whole' ? '-u' : '-uz', `./${held.name}`], { cwd: held.parentPath })
      return
    } catch (error) {
      failure = error
      if (systemCode(error) !== 'ENOENT') break
    }
  }
  if (systemCode(failure) === 'ENOENT')
    throw new MountError(`${mountPoint} cannot be unmounted: install fuse3 (apt-get install fuse3)`)
  const text =
    failure instanceof Error && 'stderr' in failure ? String(failure.stderr).trim() : String(failure)
  if (/busy/i.test(text)) throw await inUse(mountPoint)
  throw new MountError(`${mountPoint} cannot be unmounted: ${text}`)
}

/** An ordinary user's replacement of umount2's FORCE, if fusectl is mounted. */
function abortConnection(device: string): void {
  try {
    writeFileSync(`/sys/fs/fuse/connections/${device.split(':')[1]}/abort`, '1')
  } catch {
    // fusectl is not mounted, or the connection is another user's: only a lazy unmount is possible.
  }
}

async function inUse(mountPoint: string): Promise<MountError> {
  const users = await usersOf(mountPoint)
  const by = users.length > 0 ? ` by ${users.slice(0, USERS_SHOWN).join(', ')}` : ''
  const more = users.length > USERS_SHOWN ? ` and ${users.length - USERS_SHOWN} more` : ''
  return new MountError(`${mountPoint} is in use${by}${more}`, { code: 'mount-in-use', path: mountPoint })
}

/** The processes with open files or a working directory below a directory, as far as this process may see them. */
async function usersOf(directory: string): Promise<readonly string[]> {
  const isBelow = (path: string): boolean => path === directory || path.startsWith(`${directory}/`)
  const users: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
    const links = ['cwd', 'root', ...descriptors.map(fd => `fd/${fd}`)]
    for (const link of links) {
      if (!isBelow(await readlink(`/proc/${pid}/${link}`).catch(() => ''))) continue
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
      users.push(`process ${pid} (${name.trim()})`)
      break
    }
  }
  return users
}
