/** Creates the file of a database. */
import { randomBytes } from 'node:crypto'
import { closeSync } from 'node:fs'
import { openSync, renameSync, rmSync, statSync } from '../../os-files.ts'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { CannotOpenError } from '../../errors.ts'
import { syncNames } from '../../side-files.ts'
import { databaseIdOfLog } from '../../segment-files/segments.ts'
import { sqliteName } from '../../sqlite-name.ts'
import { logDirectory } from '../log.ts'
import { createSchema } from '../schema.ts'
import { assertPlainFiles } from './plain-files.ts'
import type { WriterLock } from './writer-lock.ts'
import { hasOrphanWal } from './writing-mark.ts'

/**
 * Creates a database, readable only by its owner; SQLite gives the WAL the same permissions. A new file gets its name when it is
 * complete: SQLite writes it in steps, and a process that is killed between them would leave a database that nothing can open. One that
 * exists already is left as it is.
 * @param keys returns the note of its keys; undefined if it is not to be encrypted. @param id that of the database of which it is a copy.
 */
export async function createFile(
  lock: WriterLock,
  keys: () => Promise<string | undefined>,
  id?: string,
): Promise<void> {
  const { place } = lock
  const found = statSync(place.held, { throwIfNoEntry: false })
  if (found !== undefined && found.size > 0) return
  if (databaseIdOfLog(logDirectory(place.held)) !== undefined)
    throw new CannotOpenError(
      `${place.path} cannot be created: ${logDirectory(place.path)} belongs to a database that is missing; ` +
        `put that back, or, if it is not needed, move ${logDirectory(place.path)} away`,
    )
  assertPlainFiles(place)
  // SQLite would remove it.
  if (hasOrphanWal(place.held))
    throw new CannotOpenError(
      `${place.path} cannot be created: ${place.path}-wal has transactions of a database that is missing; ` +
        `put that back, or, if it is not needed, move ${place.path}-wal away`,
    )
  const note = await keys()
  if (found === undefined) {
    // A name that no other file has, as long as that of a journal.
    const unfinished = `${place.held}-${randomBytes(3).toString('hex')}~`
    closeSync(openSync(unfinished, 'wx', 0o600))
    try {
      fill(unfinished, 'MEMORY', note, id)
      renameSync(unfinished, place.held)
    } catch (error) {
      rmSync(unfinished, { force: true })
      throw error
    }
    syncNames([dirname(place.held)])
    lock.lockInode()
  } else fill(place.held, 'DELETE', note, id)
}

/** Makes an empty file a database. The writer turns it into one with a WAL. @param journal where SQLite keeps what a rollback needs. */
function fill(
  path: string,
  journal: 'MEMORY' | 'DELETE',
  keys: string | undefined,
  id: string | undefined,
): void {
  const db = new Database(sqliteName(path), { fileMustExist: true })
  try {
    db.pragma(`journal_mode = ${journal}`)
    createSchema(db, keys, id)
  } finally {
    db.close()
  }
}
