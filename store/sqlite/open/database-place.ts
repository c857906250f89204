/**
 * A database by identity rather than by name: its directory and its file, held open.
 *
 * The files next to it (lock, WAL, log, pins) are reached through the directory's descriptor, so that a database whose
 * directory is moved is served from its new place, and nothing is created under the old path. A database that is renamed
 * itself has a new name here too (database-name.ts): for a reader at once, for a writer when it has renamed these files.
 *
 * The file's descriptor holds the writer's lock of the inode, and shows whether the file still has a name. Close it
 * after all of this process's SQLite connections to the inode: close(2) of any descriptor of a file drops the
 * process's POSIX locks on it, which are SQLite's. Therefore all places of one inode in this process share their descriptors,
 * and the last one closes them. A descriptor opened with O_PATH drops no locks.
 */
import { closeSync, constants, fstatSync, type Stats } from 'node:fs'
import { openSync, readlinkSync } from '../../os-files.ts'
import { basename, dirname } from 'node:path'
import { systemCode } from '../../errors.ts'
import { notADatabase } from './not-a-database.ts'
import { O_PATH } from '../../o-path.ts'
import { currentName, DatabaseName, retire } from './database-name.ts'
import { isInodeLocked, tryLockInode, tryShareInode, unlockInode } from './inode-lock.ts'

/** The descriptors of one inode, shared by all places in this process. */
interface SharedFile {
  readonly fds: { read?: number; write?: number }
  places: number
  /** Whether a writer of this process has the inode's lock. */
  isLocked: boolean
}

const sharedFiles = new Map<string, SharedFile>()

export class DatabasePlace {
  /** The path used to open it. */
  readonly #openedAs: string
  readonly #name: DatabaseName
  /** The directory in which SQLite's connections were opened. */
  readonly #first: number
  #file: { readonly fd: number; readonly key: string; readonly shared: SharedFile } | undefined
  #hasLock = false
  #closed = false

  /** @param path the database's path, without symbolic links. @throws the errors of open(2) for its directory. */
  constructor(path: string) {
    this.#openedAs = path
    this.#first = openSync(dirname(path), O_PATH | constants.O_DIRECTORY)
    this.#name = new DatabaseName(this.#first, basename(path))
  }

  /** The name; changed by {@link DatabasePlace.rename}. */
  get name(): DatabaseName {
    return this.#name
  }

  /** Whether the name leads to the open file. */
  get isNamed(): boolean {
    return this.#name.leadsTo(this.fd)
  }

  /** The open file has another name from now on; `directory` belongs to this object. */
  rename(now: Pick<DatabaseName, 'directory' | 'name'>): void {
    this.retire()
    if (this.#name.directory !== this.#first) closeSync(this.#name.directory)
    this.#name.become(now)
  }

  /** Call before connections are closed that were opened by a name which may be another database's now. */
  retire(): void {
    retire(this.#first)
  }

  /** A reader follows at once: the writer renames the files next to the database. */
  #follow(): void {
    if (this.#closed || this.#hasLock || this.#file === undefined || this.isNamed) return
    try {
      this.rename(currentName(this.#name, this.fd))
    } catch {
      // It was removed, or its new name cannot be seen: the old one stays for messages.
    }
  }

  /** The path for system calls of this process, and a prefix of the paths of the files next to the database. */
  get held(): string {
    this.#follow()
    return this.#name.held
  }

  /** The path as it is now, for messages and for other processes. */
  get path(): string {
    if (this.#closed) return this.#openedAs
    this.#follow()
    const { directory: fd, name } = this.#name
    const directory = readlinkSync(`/proc/self/fd/${fd}`)
    // A removed directory shows as "PATH (deleted)", and one outside a new root as "(unreachable)PATH".
    if (!directory.startsWith('/') || directory.endsWith(' (deleted)')) return this.#openedAs
    return directory === '/' ? `/${name}` : `${directory}/${name}`
  }

  /** The descriptor of the file. */
  get fd(): number {
    if (this.#file === undefined) throw new TypeError('the database file is not open')
    return this.#file.fd
  }

  /** The file's attributes. */
  stat(): Stats {
    return fstatSync(this.fd)
  }

  /**
   * Opens the file. @returns false if there is none.
   * @throws CannotOpenError if it is not a regular file; the errors of open(2).
   */
  openFile(use: 'read' | 'write'): boolean {
    let found: number
    try {
      found = openSync(this.held, O_PATH | constants.O_NOFOLLOW)
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false
      throw error
    }
    try {
      const stats = fstatSync(found, { bigint: true })
      if (!stats.isFile()) throw notADatabase(this.path, 'it is not a regular file')
      const key = `${stats.dev}:${stats.ino}`
      const shared = sharedFiles.get(key) ?? { fds: {}, places: 0, isLocked: false }
      const flags = use === 'write' ? constants.O_RDWR : constants.O_RDONLY
      const fd = (shared.fds[use] ??= openSync(`/proc/self/fd/${found}`, flags))
      shared.places++
      sharedFiles.set(key, shared)
      this.#file = { fd, key, shared }
      return true
    } finally {
      closeSync(found)
    }
  }

  /** Takes the lock of the file's inode; false if another writer has it, under any name. */
  tryLock(): boolean {
    const shared = this.#file?.shared
    if (shared === undefined || shared.isLocked || !tryLockInode(this.fd)) return false
    shared.isLocked = true
    this.#hasLock = true
    return true
  }

  /** Whether a writer of another process has the lock of the inode. */
  get isLockedElsewhere(): boolean {
    return this.#file?.shared.isLocked === false && isInodeLocked(this.fd)
  }

  /** Whether a process, which may be this one, has the database open for writing. */
  get hasWriter(): boolean {
    return this.#file?.shared.isLocked === true || isInodeLocked(this.fd)
  }

  /**
   * Locks out writers, for a reader that relies on the file not changing; false if there is a writer. Other readers may
   * do the same.
   */
  keepWriterOut(): boolean {
    return this.#file?.shared.isLocked === false && tryShareInode(this.fd)
  }

  /** No connection of this place may be open. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#first)
    if (this.#name.directory !== this.#first) closeSync(this.#name.directory)
    if (this.#file === undefined) return
    const { fd, key, shared } = this.#file
    if (this.#hasLock) {
      unlockInode(fd)
      shared.isLocked = false
    }
    shared.places--
    if (shared.places > 0) return
    sharedFiles.delete(key)
    for (const fd of Object.values(shared.fds)) closeSync(fd)
  }
}
