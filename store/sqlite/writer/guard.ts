/**
 * Checks before each change, in the writer's thread: that the files to be changed still have a name, and that the
 * database is marked as being written to (writing-mark.ts).
 *
 * A file without a name accepts writes and syncs like any other, but disappears with its last descriptor: a commit would
 * report bytes as stored that no later process can find.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync, statSync } from 'node:fs'
import type { Database } from 'better-sqlite3'
import { DatabaseGoneError, StoreError } from '../../errors.ts'
import { O_PATH } from '../../o-path.ts'
import { shown } from '../../segment-files/held-path.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { upgradeFormat } from '../schema.ts'
import { removeMark, setMark } from '../open/writing-mark.ts'
import type { Checkpoints } from './checkpoints.ts'

export class Guard {
  readonly #path: string
  readonly #fd: number
  /** The WAL that SQLite has open. */
  readonly #wal: number
  readonly #db: Database
  readonly #files: LogFiles
  readonly #checkpoints: Checkpoints
  #isMarked = false
  #storesUnnamed = false

  /** @param path the database's path. @param fd its file. @param db a connection that has used its WAL. */
  constructor(path: string, fd: number, db: Database, files: LogFiles, checkpoints: Checkpoints) {
    this.#path = path
    this.#fd = fd
    this.#db = db
    this.#files = files
    this.#checkpoints = checkpoints
    this.#wal = openSync(walOf(path), O_PATH | constants.O_NOFOLLOW)
  }

  /** @throws DatabaseGoneError */
  beforeChange(): void {
    this.#assertThere()
    if (this.#isMarked) return
    this.#db.transaction(() => {
      setMark(this.#db, fstatSync(this.#fd).ino)
      upgradeFormat(this.#db)
    })()
    // Copies the mark from the WAL into the file; if a reader prevents that, the next checkpoint does it.
    this.#checkpoints.settle()
    this.#isMarked = true
  }

  /** Call before the database is closed. Empties the WAL. */
  close(): void {
    try {
      this.#assertThere()
      // Remove the mark only once the WAL's content is in the file.
      this.#checkpoints.truncate()
      removeMark(this.#db)
    } catch {
      // Stays marked: what could not be copied (a full disk) is in the WAL.
    }
    closeSync(this.#wal)
  }

  /** Whether files without a name are written to: see `Presence.storeUnnamed` in capabilities.ts. */
  storeUnnamed(isAllowed: boolean): void {
    this.#storesUnnamed = isAllowed
    this.#files.storesUnnamed = isAllowed
  }

  #assertThere(): void {
    if (this.#storesUnnamed) return
    assertNamed(this.#path, this.#fd)
    if (fstatSync(this.#wal).nlink === 0) throw new DatabaseGoneError(shown(walOf(this.#path)))
    this.#files.assertThere()
  }
}

/**
 * Checks that an open database still has the name that the names of the files beside it begin with.
 * @throws DatabaseGoneError; StoreError if it was renamed: later processes would not find its WAL and its log.
 */
export function assertNamed(path: string, fd: number): void {
  const { nlink, ino, dev } = fstatSync(fd)
  if (nlink === 0) throw new DatabaseGoneError(shown(path))
  const named = statSync(path, { throwIfNoEntry: false })
  if (named !== undefined && named.ino === ino && named.dev === dev) return
  const [before, now] = [shown(path), readlinkSync(`/proc/self/fd/${fd}`)]
  throw new StoreError(
    `${before} was renamed to ${now} without the files beside it: rename it back to ${before}`,
    {
      code: 'database-renamed',
      path: before,
    },
  )
}

const walOf = (path: string): string => `${path}-wal`
