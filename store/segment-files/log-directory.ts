/**
 * The directory of a log. It belongs to the owner of the database, the only user who may write to it: another user
 * could move the segments away, or replace them with links.
 */
import { closeSync, constants, fstatSync, type Stats } from 'node:fs'
import { mkdirSync, openSync } from '../os-files.ts'
import { StoreError, systemCode } from '../errors.ts'
import { giveTo, isMissing, isTrusted, shown, SideFileError } from '../side-files.ts'

const GROUP_AND_OTHERS_WRITE = 0o022

/** The owner of a database, and of its log. */
export type Owner = Pick<Stats, 'uid' | 'gid'>

/** The user of this process. */
export const thisUser = (): Owner => ({ uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 })

/**
 * Opens the directory; undefined if there is none.
 * @param owner the database's, if files will be created in it.
 * @throws StoreError if it is not a directory, or, with `owner`, if another user may write to it.
 */
export function openLogDirectory(path: string, owner: Owner | undefined): number | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  } catch (error) {
    if (isMissing(error)) return undefined
    const code = systemCode(error)
    // With O_DIRECTORY, a symbolic link gives ENOTDIR.
    if (code === 'ELOOP' || code === 'ENOTDIR') throw notLogDirectory(path)
    throw error
  }
  try {
    if (owner !== undefined) assertSafe(fstatSync(fd), owner.uid, shown(path))
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Opens the directory, creating it if there is none. @throws as {@link openLogDirectory}. */
export function makeLogDirectory(path: string, owner: Owner): number {
  const found = openLogDirectory(path, owner)
  if (found !== undefined) return found
  mkdirSync(path, { mode: 0o700 })
  const fd = openLogDirectory(path, thisUser())
  if (fd === undefined) throw new StoreError(`${shown(path)} was removed as soon as it was created`)
  giveTo(fd, owner)
  return fd
}

export const notLogDirectory = (path: string): SideFileError =>
  new SideFileError(`${shown(path)} is not a directory: zblkfs did not create it; move it away`)

function assertSafe({ uid, mode }: Stats, owner: number, path: string): void {
  if (!isTrusted(uid, owner))
    throw new StoreError(
      `${path} belongs to user ${uid}, who does not own the database: move it away, or, if it belongs to the database, ` +
        `give it to the owner (chown -R ${owner} ${path})`,
    )
  if ((mode & GROUP_AND_OTHERS_WRITE) !== 0)
    throw new StoreError(`${path} can be written by other users: close it (chmod go-w ${path})`)
}
