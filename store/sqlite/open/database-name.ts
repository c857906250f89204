/**
 * The name of an open database, and what happens if another process changes it. The files next to the database (WAL, log,
 * lock, pins of readers) have names that begin with its own. If the database is renamed or moved to another directory, they may
 * stay behind: the writer then gives them its new name before the next change, so that the database can be opened by
 * it, also after a crash.
 *
 * | `mv x.db y.db` of | the writer                                                                  |
 * |-------------------|-----------------------------------------------------------------------------|
 * | the file alone    | renames `x.db-lock`, `x.db-shm`, `x.db-wal`, `x.db-log` and the pins as well |
 * | some or all files | renames what is left                                                        |
 * | also a new `x.db` | leaves the files of that alone: it recognises its own by their inodes       |
 *
 * If a name is taken by another file, nothing is renamed and nothing is stored until that is corrected.
 */
import { closeSync, constants, fstatSync } from 'node:fs'
import { lstatSync, openSync, readdirSync, readlinkSync, renameSync, statSync } from '../../os-files.ts'
import { basename, dirname } from 'node:path'
import { koffi } from '../../koffi.ts'
import { DatabaseGoneError, StoreError } from '../../errors.ts'
import { O_PATH } from '../../o-path.ts'
import { heldPath, shown, syncNames } from '../../side-files.ts'

const dup2 = koffi.load(null).func('int dup2(int from, int to)') as (from: number, to: number) => number

export class DatabaseName {
  #directory: number
  #name: string

  /** @param directory a descriptor of the directory. */
  constructor(directory: number, name: string) {
    this.#directory = directory
    this.#name = name
  }

  get directory(): number {
    return this.#directory
  }

  get name(): string {
    return this.#name
  }

  /** The path for system calls of this process, and a prefix of the paths of the files next to the database. */
  get held(): string {
    return heldPath(this.#directory, this.#name)
  }

  /** Whether it leads to the open file `fd`. */
  leadsTo(fd: number): boolean {
    return isAt(fd, this.held)
  }

  /** Takes another name. */
  become({ directory, name }: Pick<DatabaseName, 'directory' | 'name'>): void {
    this.#directory = directory
    this.#name = name
  }
}

/** Whether a path leads to the open file `fd`. */
function isAt(fd: number, path: string): boolean {
  const { ino, dev } = fstatSync(fd)
  const found = statSync(path, { throwIfNoEntry: false })
  return found !== undefined && found.ino === ino && found.dev === dev
}

/**
 * The name that the open database `fd` has now, with a new descriptor of its directory.
 * @param before the name it had. @throws DatabaseGoneError if it has none; StoreError if it cannot be found.
 */
export function currentName(before: DatabaseName, fd: number): DatabaseName {
  if (fstatSync(fd).nlink === 0) throw new DatabaseGoneError(shown(before.held))
  const path = readlinkSync(`/proc/self/fd/${fd}`)
  let directory: number | undefined
  try {
    directory = openSync(dirname(path), O_PATH | constants.O_DIRECTORY)
    const now = new DatabaseName(directory, basename(path))
    if (now.leadsTo(fd)) return now
  } catch {
    // It has another name that this process cannot see: a hard link, or one outside its root.
  }
  if (directory !== undefined) closeSync(directory)
  throw notFollowed(before, path, 'its new name cannot be found')
}

/** The files of a writer, by which it recognises its own. */
export interface OwnFiles {
  readonly wal: number
  /** The directory of the log; undefined if there is none. */
  readonly log: number | undefined
}

/**
 * Gives the files next to a database the name that this has now.
 * @throws DatabaseGoneError if one is missing; StoreError if they cannot be renamed.
 */
export function renameSideFiles(before: DatabaseName, now: DatabaseName, { wal, log }: OwnFiles): void {
  const owned = [
    ['-wal', wal],
    ['-log', log],
  ] as const
  const left = owned.filter(([suffix, fd]) => fd !== undefined && isLeft(before, now, suffix, fd))
  // While the WAL had the old name, no other database could be opened by it: the other files are this one's too.
  const others = left.some(([suffix]) => suffix === '-wal')
    ? ['-lock', '-shm', '-branches', '.import', ...pinsOf(before)]
    : []
  try {
    for (const suffix of others)
      if (lstatSync(before.held + suffix, { throwIfNoEntry: false }) !== undefined)
        renameSync(before.held + suffix, now.held + suffix)
    for (const [suffix] of left) renameSync(before.held + suffix, now.held + suffix)
    if (left.length > 0) syncNames([dirname(now.held)])
  } catch (error) {
    throw notFollowed(before, shown(now.held), error instanceof Error ? shown(error.message) : String(error))
  }
}

/** Whether an own file still has the old name. @throws if it has neither, or the new one is taken. */
function isLeft(before: DatabaseName, now: DatabaseName, suffix: string, fd: number): boolean {
  if (isAt(fd, now.held + suffix)) return false
  if (!isAt(fd, before.held + suffix)) throw new DatabaseGoneError(shown(before.held + suffix))
  if (lstatSync(now.held + suffix, { throwIfNoEntry: false }) === undefined) return true
  throw notFollowed(before, shown(now.held), `${shown(now.held + suffix)} is another file`)
}

const PIN = '-reader-'

/** The suffixes of the pins of readers (reader-pin.ts). */
const pinsOf = ({ held, name }: DatabaseName): readonly string[] =>
  readdirSync(dirname(held))
    .filter(each => each.startsWith(name + PIN))
    .map(each => each.slice(name.length))

const notFollowed = (before: DatabaseName, now: string, reason: string): StoreError =>
  new StoreError(
    `${shown(before.held)} was renamed to ${now}, and the files beside it cannot follow (${reason}): ` +
      `rename it back to ${shown(before.held)}`,
    { code: 'database-renamed', path: shown(before.held) },
  )

/**
 * Makes a descriptor of a directory lead to one in which nothing can be removed. SQLite removes its files by the
 * path of the connection, when the last is closed: by then they may be another database's.
 */
export function retire(directory: number): void {
  const proc = openSync('/proc/self', O_PATH | constants.O_DIRECTORY)
  dup2(proc, directory)
  closeSync(proc)
}
