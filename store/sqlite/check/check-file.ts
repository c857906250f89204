/**
 * `DB-log/check`: how far `fsck --data` has got, as JSON. Bulk bytes never change in place, so what was read stays checked. The file is
 * removed by a check that ends, and ignored if it is old, or belongs to another database or to the original of this copy. Where it cannot be written, a check that is
 * interrupted starts again.
 */
import type { CheckMemory } from '../../check-memory.ts'
import { closeSync, constants, ftruncateSync, writeSync } from 'node:fs'
import { readFileSync, rmSync, statSync } from '../../os-files.ts'
import { join } from 'node:path'
import { giveTo, openSideFile } from '../../side-files.ts'
import { logDirectory } from '../log.ts'
import { readDatabaseId } from '../open/database-id.ts'
import { connectReadOnly } from '../open/immutable.ts'

const CHECK_NAME = 'check'
/** Bytes that were read longer ago are read again. */
const AGE_MAX_MS = 7 * 24 * 60 * 60 * 1000
const BYTES_MAX = 1000

interface Noted {
  readonly id: string
  /** The database's inode number: a copy, which has the same id, has another one. */
  readonly inode: number
  readonly startedMs: number
  readonly position: number
}

export class CheckFile implements CheckMemory {
  readonly #database: string
  readonly #path: string
  #startedMs = Date.now()

  constructor(database: string) {
    this.#database = database
    this.#path = join(logDirectory(database), CHECK_NAME)
  }

  begun(): { readonly position: number; readonly startedMs: number } | undefined {
    const noted = this.#read()
    const age = Date.now() - (noted?.startedMs ?? Number.NEGATIVE_INFINITY)
    if (
      noted === undefined ||
      noted.id !== this.#id() ||
      noted.inode !== this.#inode() ||
      age < 0 ||
      age > AGE_MAX_MS
    )
      return undefined
    this.#startedMs = noted.startedMs
    return { position: noted.position, startedMs: noted.startedMs }
  }

  note(position: number): void {
    const id = this.#id()
    if (id === undefined) return
    try {
      const noted: Noted = { id, inode: this.#inode(), startedMs: this.#startedMs, position }
      const fd = openSideFile(this.#path, constants.O_WRONLY | constants.O_CREAT)
      try {
        giveTo(fd, statSync(this.#database))
        ftruncateSync(fd)
        writeSync(fd, JSON.stringify(noted))
      } finally {
        closeSync(fd)
      }
    } catch {
      // The directory is read-only or full, or the database was renamed.
    }
  }

  clear(): void {
    this.#startedMs = Date.now()
    try {
      rmSync(this.#path, { force: true })
    } catch {
      // The directory is read-only.
    }
  }

  #read(): Noted | undefined {
    try {
      const fd = openSideFile(this.#path, constants.O_RDONLY)
      try {
        const text = readFileSync(fd, 'latin1')
        const { id, inode, startedMs, position } = JSON.parse(text.slice(0, BYTES_MAX)) as Partial<Noted>
        if (typeof id !== 'string' || typeof inode !== 'number') return undefined
        if (typeof startedMs !== 'number' || typeof position !== 'number') return undefined
        return { id, inode, startedMs, position }
      } finally {
        closeSync(fd)
      }
    } catch {
      return undefined
    }
  }

  #inode(): number {
    return statSync(this.#database).ino
  }

  #id(): string | undefined {
    const db = connectReadOnly(this.#database)
    try {
      return readDatabaseId(db)
    } catch {
      return undefined
    } finally {
      db.close()
    }
  }
}
