/**
 * One writer per database among all processes. The lock has two parts, both held for the life of the open store and
 * released by the kernel however the process ends:
 *
 * 1. flock(2) on `DATABASE-lock`. It exists before the database does, so that only one process creates that. Its content
 *    describes the holder to people, and nothing depends on it.
 * 2. The lock of the database's inode (inode-lock.ts). It excludes a writer that uses another name of the database: a hard
 *    link, a bind mount, the name after a rename.
 */
import { closeSync, constants, fstatSync, ftruncateSync, readSync, writeSync, type Stats } from 'node:fs'
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from '../../os-files.ts'
import { CannotOpenError, LockedError, systemCode } from '../../errors.ts'
import { bytesOf, textOf } from '../../os-text.ts'
import { isTrusted, openSideFile, shown } from '../../side-files.ts'
import { DatabasePlace } from './database-place.ts'
import { tryLock } from '../../flock.ts'
import { userName } from './user-name.ts'
import { thisUser } from '../../segment-files/log-directory.ts'

const HOLDER_MAX_BYTES = 4096

export class WriterLock {
  readonly place: DatabasePlace
  readonly #fd: number

  private constructor(place: DatabasePlace, fd: number) {
    this.place = place
    this.#fd = fd
  }

  /**
   * Takes the lock of the database at `path`, which has no symbolic links; if there is no file yet, only its first part.
   * @throws LockedError that describes the holder; CannotOpenError if the lock file cannot be trusted.
   */
  static take(path: string, purpose: string): WriterLock {
    const place = new DatabasePlace(path)
    try {
      const fd = lockFile(place)
      try {
        const lock = new WriterLock(place, fd)
        lock.lockInode()
        lock.describe(purpose)
        return lock
      } catch (error) {
        rmSync(lockPath(place), { force: true })
        closeSync(fd)
        throw error
      }
    } catch (error) {
      place.close()
      throw error
    }
  }

  /** Takes the second part of the lock, once there is a file. @throws LockedError */
  lockInode(): void {
    if (!this.place.openFile('write')) return
    if (!this.place.tryLock()) throw new LockedError(this.place.path, inodeHolder(this.place.stat()))
  }

  /** Records what this process does with the database, for processes that cannot open it. */
  describe(purpose: string): void {
    ftruncateSync(this.#fd)
    writeSync(this.#fd, bytesOf(`process ${process.pid} (${purpose})`), 0, undefined, 0)
  }

  /** No connection of this process to the database may be open. */
  release(): void {
    // After the database was renamed, the name may be that of another one's lock.
    const found = statSync(lockPath(this.place), { throwIfNoEntry: false })
    if (found?.ino === fstatSync(this.#fd).ino) rmSync(lockPath(this.place), { force: true })
    closeSync(this.#fd)
    this.place.close()
  }
}

const lockPath = (place: DatabasePlace): string => `${place.held}-lock`

/** Opens and locks the lock file. */
function lockFile(place: DatabasePlace): number {
  const path = lockPath(place)
  for (;;) {
    const fd = openLockFile(place, path)
    let isOurs = false
    try {
      if (!tryLock(fd)) throw new LockedError(place.path, holderOf(fd) ?? 'another process')
      assertOwnLockFile(place, fd)
      // The previous holder may have removed the file between our opening it and our locking it.
      isOurs = statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino
      if (isOurs) return fd
    } finally {
      if (!isOurs) closeSync(fd)
    }
  }
}

function openLockFile(place: DatabasePlace, path: string): number {
  try {
    return openSideFile(path, constants.O_RDWR | constants.O_CREAT)
  } catch (error) {
    const found = lstatSync(path, { throwIfNoEntry: false })
    const isForeign = found !== undefined && found.uid !== process.geteuid?.()
    if (isForeign && ['EACCES', 'EPERM'].includes(systemCode(error) ?? ''))
      throw new LockedError(place.path, `${userName(found.uid)}, the owner of ${shown(path)}`)
    throw error
  }
}

/** Prevents writes to an unrelated file that was linked in place of the lock file. */
function assertOwnLockFile(place: DatabasePlace, fd: number): void {
  const { uid, nlink } = fstatSync(fd)
  const owner = statSync(place.held, { throwIfNoEntry: false })?.uid ?? thisUser().uid
  const path = shown(lockPath(place))
  if (!isTrusted(uid, owner))
    throw new CannotOpenError(
      `${place.path} cannot be opened: ${path} belongs to ${userName(uid)}, who does not own the database; remove it`,
    )
  if (nlink > 1)
    throw new CannotOpenError(`${place.path} cannot be opened: ${path} has another hard link; remove it`)
}

/** The holder's own description, and its user if that is not this one; undefined if the file is empty. */
function holderOf(fd: number): string | undefined {
  const bytes = Buffer.alloc(HOLDER_MAX_BYTES)
  const length = readSync(fd, bytes, 0, bytes.length, 0)
  if (length === 0) return undefined
  // Another user may have written it.
  const holder = textOf(bytes.subarray(0, length)).replaceAll(/\p{Cc}/gu, '?')
  const { uid } = fstatSync(fd)
  return uid === process.geteuid?.() ? holder : `${holder} of ${userName(uid)}`
}

/**
 * Describes the process that holds the lock of an inode, if this user may see it. The kernel lists a
 * descriptor's locks in its fdinfo, which touches no file: stat(2) of a file in a dead mount would hang.
 */
export function inodeHolder({ ino }: Stats): string {
  for (const pid of namesIn('/proc').filter(name => /^\d+$/.test(name))) {
    for (const fd of namesIn(`/proc/${pid}/fdinfo`)) {
      const info = contentOf(`/proc/${pid}/fdinfo/${fd}`)
      const isHolder = info.split('\n').some(line => line.includes('OFDLCK') && line.includes(`:${ino} `))
      if (!isHolder) continue
      const path = readlinkSync(`/proc/${pid}/fd/${fd}`)
      return describedBy(path) ?? `process ${pid}, as ${path}`
    }
  }
  return 'another process, under another name'
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** The content of the lock file next to the holder's name for the database. */
function describedBy(path: string): string | undefined {
  let fd: number
  try {
    fd = openSideFile(`${path}-lock`, constants.O_RDONLY)
  } catch {
    return undefined
  }
  try {
    const holder = holderOf(fd)
    return holder === undefined ? undefined : `${holder}, as ${path}`
  } finally {
    closeSync(fd)
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
