/**
 * Unmounts with umount2(2) for root, and with fusermount3, which checks permissions, for others. The mount comes from the
 * kernel's table of mounts and is held while it is unmounted (held-mount.ts).
 */
import { isRoot } from '../../core/process-owner.ts'
import { systemCode } from '../../store/errors.ts'
import { execFile } from 'node:child_process'
import { writeFileSync } from '../../store/os-files.ts'
import { readdir, readFile, readlink } from '../../store/os-files-async.ts'
import { getSystemErrorMessage, getSystemErrorName, promisify } from 'node:util'
import { MountError } from '../drivers/driver.ts'
import { umount2, UnmountFlag } from '../drivers/kernel/system-calls.ts'
import { HeldMount } from './held-mount.ts'
import { startable } from '../../store/os-command.ts'
import type { MountedDirectory } from './mount-table.ts'

const run = promisify(execFile)
const USERS_SHOWN = 5

/**
 * - `whole`: fails if the mount is in use;
 * - `lazy`: detaches it at once, even if it is in use;
 * - `force`: also aborts its connection, so that every process that waits for its server gets an error.
 */
export type Unmounting = 'whole' | 'lazy' | 'force'

/**
 * Unmounts without accessing the mounted filesystem.
 * @throws MountError if it is in use (names the processes), may not be unmounted, or its path now leads to another mount.
 */
export async function unmount(mount: MountedDirectory, how: Unmounting): Promise<void> {
  const held = await HeldMount.open(mount)
  try {
    // While the mount is held, its device number cannot be reused by another connection.
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
      const words = startable([command, how === 'whole' ? '-u' : '-uz', `./${held.name}`])
      await run(words[0] ?? command, words.slice(1), { cwd: held.parentPath })
      return
    } catch (error) {
      failure = error
      if (systemCode(error) !== 'ENOENT') break
    }
  }
  if (systemCode(failure) === 'ENOENT')
    throw new MountError(`${mountPoint} cannot be unmounted: fusermount3 is not installed`, {
      code: 'fusermount-missing',
    })
  const text =
    failure instanceof Error && 'stderr' in failure ? String(failure.stderr).trim() : String(failure)
  if (/busy/i.test(text)) throw await inUse(mountPoint)
  throw new MountError(`${mountPoint} cannot be unmounted: ${text}`)
}

/** Replaces umount2's FORCE for ordinary users, if fusectl is mounted. */
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
