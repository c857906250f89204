/**
 * Files next to a database, which other users may have put there, and paths through an open directory.
 *
 * `/proc/self/fd/N/NAME` is NAME in the directory that descriptor N refers to, even if that directory was moved or its old path is now
 * taken: openat(2) for calls that take a path. Threads share descriptors, so such a path is valid in all threads of the process, and in no
 * other process.
 */
import { closeSync, constants, fchownSync, fstatSync, fsyncSync, type Stats } from 'node:fs'
import { openSync, readlinkSync } from './os-files.ts'
import { StoreError, systemCode } from './errors.ts'

/** The path of `name` in the open directory `fd`. */
export const heldPath = (fd: number, name: string): string => `/proc/self/fd/${fd}/${name}`

/** Replaces descriptor paths in a text by the real paths of their directories, for messages. */
export const shown = (text: string): string =>
  text.replaceAll(/\/proc\/self\/fd\/(\d+)(?=\/)/g, (held, fd: string) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return held
    }
  })

/** A file next to a database is not a plain file of its owner: it is a link, a FIFO, a device, or another user's. */
export class SideFileError extends StoreError {
  override readonly name = 'SideFileError'
}

/**
 * Opens a file next to a database: only a regular file, not through a symbolic link, and never blocking on a FIFO.
 * @param flags open(2)'s access mode and creation flags.
 * @throws SideFileError if it is not a regular file; the errors of open(2), ENOENT included.
 */
export function openSideFile(path: string, flags: number, mode = 0o600): number {
  let fd: number
  try {
    fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, mode)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ELOOP') throw new SideFileError(notRegular(path, 'a symbolic link'))
    if (code === 'ENXIO' || code === 'EISDIR') throw new SideFileError(notRegular(path, 'not a regular file'))
    throw error
  }
  if (fstatSync(fd).isFile()) return fd
  closeSync(fd)
  throw new SideFileError(notRegular(path, 'not a regular file'))
}

const notRegular = (path: string, what: string): string =>
  `${shown(path)} is ${what}: zblkfs did not create it; move it away`

/**
 * Gives a file that root creates to the database's owner, as SQLite does with the WAL.
 * @throws SideFileError for a file that is another user's or has a second name: the owner could get any file by a link to it.
 */
export function giveTo(fd: number, { uid, gid }: Pick<Stats, 'uid' | 'gid'>): void {
  if (process.geteuid?.() !== 0 || uid === 0) return
  const now = fstatSync(fd)
  if (now.uid === uid) return
  if (now.uid !== 0 || (now.isFile() && now.nlink > 1))
    throw new SideFileError(
      `${shown(readlinkSync(`/proc/self/fd/${fd}`))} is not the database's: move it away`,
    )
  fchownSync(fd, uid, gid)
}

/** Whether to trust files of user `uid` next to a database of `owner`: those of the owner, root and this process's user. */
export const isTrusted = (uid: number, owner: number): boolean =>
  uid === owner || uid === 0 || uid === process.geteuid?.()

/** Whether a call failed because the file does not exist. */
export const isMissing = (error: unknown): boolean => systemCode(error) === 'ENOENT'

/** Makes the names in directories durable. */
export function syncNames(directories: readonly string[]): void {
  for (const path of directories) {
    const fd = openSync(path, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  }
}
