/**
 * Unmounts with the system's own programs, which know who may: umount for root, fusermount for others.
 *
 * umount calls no helper (-i): the helper of our own type calls `zblkfs umount`, which ends here.
 */
import { isRoot } from '../../core/process-owner.ts'
import { systemCode } from '../../store/errors.ts'
import { execFile } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { promisify } from 'node:util'
import { MountError } from '../drivers/driver.ts'

const run = promisify(execFile)
const USERS_SHOWN = 5

/**
 * Unmounts a directory without touching what is mounted there.
 * @param lazy - take it out of the tree at once, in use or not.
 * @throws MountError where it is in use (by whom), or may not be unmounted.
 */
export async function unmount(mountPoint: string, lazy: boolean): Promise<void> {
  const commands = isRoot()
    ? [['umount', '-i', ...(lazy ? ['-l'] : []), mountPoint]]
    : ['fusermount3', 'fusermount'].map(name => [name, lazy ? '-uz' : '-u', mountPoint])
  let failure: unknown
  for (const [command = '', ...parameters] of commands) {
    try {
      await run(command, parameters)
      return
    } catch (error) {
      failure = error
      if (!isMissingProgram(error)) break
    }
  }
  throw await explain(mountPoint, failure)
}

const isMissingProgram = (error: unknown): boolean => systemCode(error) === 'ENOENT'

async function explain(mountPoint: string, failure: unknown): Promise<MountError> {
  if (isMissingProgram(failure))
    return new MountError(`${mountPoint} cannot be unmounted: install fuse3 (apt-get install fuse3)`)
  const text =
    failure instanceof Error && 'stderr' in failure ? String(failure.stderr).trim() : String(failure)
  if (!/busy/i.test(text)) return new MountError(`${mountPoint} cannot be unmounted: ${text}`)
  const users = await usersOf(mountPoint)
  const who = users.length > 0 ? ` by ${users.slice(0, USERS_SHOWN).join(', ')}` : ''
  const more = users.length > USERS_SHOWN ? ` and ${users.length - USERS_SHOWN} more` : ''
  return new MountError(`${mountPoint} is in use${who}${more}`, { code: 'mount-in-use', path: mountPoint })
}

/** The processes with open files or a working directory below a directory, as far as we may see them. */
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
