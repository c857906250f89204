/**
 * Checks before each change, in the writer's thread: that the files to be changed still have a name, the database's own, and that the
 * database is marked as being written to (writing-mark.ts).
 *
 * A file without a name accepts writes and syncs like any other, but disappears with its last descriptor: a commit would
 * report bytes as stored that no later process can find.
 */
import { closeSync, constants, fstatSync } from 'node:fs'
import { openSync } from '../../os-files.ts'
import type { Database } from 'better-sqlite3'
import { DatabaseGoneError } from '../../errors.ts'
import { O_PATH } from '../../o-path.ts'
import { shown } from '../../side-files.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { upgradeFormat } from '../schema.ts'
import { currentName, type DatabaseName, renameSideFiles } from '../open/database-name.ts'
import { removeMark, setMark } from '../open/writing-mark.ts'
import type { Checkpoints } from './checkpoints.ts'

export class Guard {
  readonly #name: DatabaseName
  readonly #fd: number
  /** The WAL that SQLite has open. */
  readonly #wal: number
  readonly #db: Database
  readonly #files: LogFiles
  readonly #checkpoints: Checkpoints
  #isMarked = false
  #storesUnnamed = false

  /** @param name changes when the database is renamed. @param fd the database's file. @param db a connection that has used its WAL. */
  constructor(name: DatabaseName, fd: number, db: Database, files: LogFiles, checkpoints: Checkpoints) {
    this.#name = name
    this.#fd = fd
    this.#db = db
    this.#files = files
    this.#checkpoints = checkpoints
    this.#wal = openSync(walOf(name.held), O_PATH | constants.O_NOFOLLOW)
  }

  /** @throws DatabaseGoneError */
  beforeChange(): void {
    this.#assertThere()
    if (this.#isMarked) return
    this.#db.transaction(() => {
      setMark(this.#db, fstatSync(this.#fd).ino, shown(this.#name.held))
      upgradeFormat(this.#db)
    })()
    // Copies the mark from the WAL into the file; if a reader prevents that, the next checkpoint does it.
    this.#checkpoints.flush()
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

  /**
   * If the database was renamed, gives the files next to it its new name.
   * @throws DatabaseGoneError if it was removed; StoreError if they cannot be renamed.
   */
  follow(): void {
    if (this.#name.leadsTo(this.#fd)) return
    const now = currentName(this.#name, this.#fd)
    try {
      // The WAL may be lost between two of these steps: then the file has what it had.
      this.#checkpoints.tryFlush()
      renameSideFiles(this.#name, now, { wal: this.#wal, log: this.#files.directory })
    } catch (error) {
      closeSync(now.directory)
      throw error
    }
    this.#name.become(now)
    this.#isMarked = false
  }

  #assertThere(): void {
    if (this.#storesUnnamed) return
    this.follow()
    if (fstatSync(this.#wal).nlink === 0) throw new DatabaseGoneError(shown(walOf(this.#name.held)))
    this.#files.assertThere()
  }
}

const walOf = (path: string): string => `${path}-wal`
