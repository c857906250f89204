/**
 * The path of a mount's control socket: `MAJOR:MINOR.PID.sock`, of the mount's device and the daemon, in a directory
 * of the mounting user. Both sides derive it from /proc/self/mountinfo alone, independent of their environment.
 *
 * The kernel may reuse a device number while the previous daemon is still ending: with the pid in the name, a daemon does
 * not remove its successor's socket. When its mount has ended, the socket is renamed to `0:0.PID.sock`.
 *
 * | user   | first choice          | if that cannot be written    |
 * |--------|-----------------------|------------------------------|
 * | root   | /run/zblkfs           | /tmp/zblkfs-0                |
 * | others | /run/user/UID/zblkfs  | /tmp/zblkfs-UID              |
 *
 * The directory must have mode 0700 and belong to the user; otherwise neither side uses it.
 */
import { CodedError } from '../../store/errors.ts'
import { processOwner } from '../../core/process-owner.ts'
import type { Stats } from 'node:fs'
import { lstat, mkdir, readdir, rm } from '../../store/os-files-async.ts'
import { basename, dirname, join } from 'node:path'
import { isRunning } from './is-running.ts'
import { NoAnswerError } from './no-answer.ts'

const PERMISSIONS = 0o777

const directories = (uid: number): readonly string[] => [
  uid === 0 ? '/run/zblkfs' : `/run/user/${uid}/zblkfs`,
  `/tmp/zblkfs-${uid}`,
]

/**
 * The sockets of a device in a directory, of every device if it is ''. If the directory may not be read, a path in it: connecting
 * to that reports that it is another user's.
 */
async function socketsIn(directory: string, device: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) =>
    error.code === 'EACCES' ? [`${device}.sock`] : [],
  )
  return names
    .filter(name => (device === '' || name.startsWith(`${device}.`)) && name.endsWith('.sock'))
    .map(name => join(directory, name))
}

/**
 * The possible paths of a mount's socket, most likely first. A name in the owner's directory may be a link to another
 * user's socket: only sockets that belong to the owner count.
 * @throws NoAnswerError 'unreachable' if there is none.
 */
export async function controlPaths(device: string, uid: number): Promise<readonly string[]> {
  const paths: string[] = []
  const refused: string[] = []
  for (const directory of directories(uid)) {
    const found = await lstat(directory).catch(() => undefined)
    if (found === undefined) continue
    if (!isOwn(found, uid)) {
      refused.push(`${directory} is not a directory of its owner alone`)
      continue
    }
    for (const path of await socketsIn(directory, device)) {
      const flaw = await flawOf(path, uid)
      if (flaw === undefined) paths.push(path)
      else refused.push(`${path} ${flaw}`)
    }
  }
  if (paths.length > 0) return paths
  const why = refused.length > 0 ? refused.join(', ') : `no socket is in ${directories(uid).join(' or ')}`
  throw new NoAnswerError('unreachable', `its daemon cannot be called: ${why}`)
}

/** A control socket, of a daemon that runs or has died. */
export interface ControlSocket {
  readonly path: string
  readonly device: string
  readonly pid: number
}

/** The sockets of this user's daemons; root's list has those of every user. */
export async function listSockets(): Promise<readonly ControlSocket[]> {
  const { uid } = processOwner()
  const sockets: ControlSocket[] = []
  for (const user of uid === 0 ? await usersWithSockets() : [uid])
    for (const directory of directories(user)) {
      if (!(await belongsTo(directory, user))) continue
      for (const path of await socketsIn(directory, '')) {
        const [, device, pid] = /^(\d+:\d+)\.(\d+)\.sock$/.exec(basename(path)) ?? []
        if (device !== undefined && (await flawOf(path, user)) === undefined)
          sockets.push({ path, device, pid: Number(pid) })
      }
    }
  return sockets
}

async function usersWithSockets(): Promise<ReadonlySet<number>> {
  const users = new Set([0])
  for (const user of await readdir('/run/user').catch(() => [])) users.add(Number(user))
  for (const name of await readdir('/tmp').catch(() => [])) {
    const uid = /^zblkfs-(\d+)$/.exec(name)?.[1]
    if (uid !== undefined) users.add(Number(uid))
  }
  return users
}

/** Why a path is not a socket of the user; undefined also if it cannot be accessed, as connecting then reports that it is another user's. */
async function flawOf(path: string, uid: number): Promise<string | undefined> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return undefined
  if (found.isSymbolicLink()) return 'is a symbolic link'
  if (!found.isSocket()) return 'is not a socket'
  return found.uid === uid ? undefined : `belongs to user ${found.uid}`
}

/** The device in a control socket's name; undefined for any other name. */
export const deviceOf = (path: string): string | undefined => /^(\d+:\d+)\./.exec(basename(path))?.[1]

/** Creates the directory for a socket, removes stale sockets of the device, and returns the path. @throws CodedError if none can be created. */
export async function makeControlPath(device: string): Promise<string> {
  const directory = await makeControlDirectory()
  for (const left of await socketsIn(directory, device))
    if (!isRunning(pidOf(left))) await rm(left, { force: true })
  return join(directory, `${device}.${process.pid}.sock`)
}

const pidOf = (path: string): number => Number(/\.(\d+)\.sock$/.exec(path)?.[1])

/** The path of a daemon's socket after its mount has ended: no mount has this device. */
export const detachedPath = (path: string): string => join(dirname(path), `0:0.${pidOf(path)}.sock`)

/** Creates the directory for sockets of this user. @throws CodedError if none can be created. */
export async function makeControlDirectory(): Promise<string> {
  const { uid } = processOwner()
  for (const directory of directories(uid)) {
    await mkdir(directory, { mode: 0o700 }).catch(() => {})
    if (await belongsTo(directory, uid)) return directory
  }
  throw new CodedError(
    `no directory for the control socket: create ${directories(uid).join(' or ')} with mode 0700, owned by you`,
    { code: 'cannot-mount' },
  )
}

async function belongsTo(directory: string, uid: number): Promise<boolean> {
  const found = await lstat(directory).catch(() => undefined)
  return found !== undefined && isOwn(found, uid)
}

const isOwn = (found: Stats, uid: number): boolean =>
  found.isDirectory() && found.uid === uid && (found.mode & PERMISSIONS) === 0o700
