import { fsyncSync } from 'node:fs'
import { existsSync } from '../../os-files.ts'
import Database from 'better-sqlite3'
import { sqliteName } from '../../sqlite-name.ts'
import { StoreError } from '../../errors.ts'
import { newDatabaseId } from '../../indexed/database-id.ts'
import { DATABASE_ID, readDatabaseId } from '../open/database-id.ts'
import { removeMark } from '../open/writing-mark.ts'
import { readIntents, waitingIntents } from '../intents/intent-file.ts'
import { BulkDamageError } from '../../indexed/bulk.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { databaseIdOfLog } from '../../segment-files/segments.ts'
import { tailOf } from '../../segment-files/log-layout.ts'
import { lastLogEnd, lastTidOf, logDirectory, logFilesOf } from '../log.ts'
import { filesToCheck } from './files-to-check.ts'

/**
 * Makes a database's id and the headers of its log files agree again, and creates the last file, to which the log is
 * appended, if it is missing. The caller holds the writer's lock and has nothing else open.
 * @throws StoreError if the whole log is missing: it may have been left elsewhere.
 */
export function repairLog(path: string): void {
  const db = new Database(sqliteName(path), { fileMustExist: true })
  try {
    const id = readDatabaseId(db)
    const end = lastLogEnd(db)
    assertIsThere(path, end)
    if (id === undefined)
      db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(
        DATABASE_ID,
        databaseIdOfLog(logDirectory(path)) ?? newDatabaseId(),
      )
    mendFiles(logFilesOf(db, 'write'), end)
    // From now on a copy without its WAL is an independent database.
    removeMark(db)
  } finally {
    db.close()
  }
}

/**
 * @throws StoreError if a repair would find no log, or another database's, or would void entries of the intent log. Call
 *   it before any repair.
 */
export function assertRepairable(path: string): void {
  const db = new Database(sqliteName(path), { readonly: true, fileMustExist: true })
  const files = filesToCheck(db)
  try {
    assertIsThere(path, lastLogEnd(db))
    assertNothingWaits(db)
    for (const index of files.indexes()) files.segment(index)
  } catch (error) {
    if (error instanceof BulkDamageError) throw nothingRepaired(error)
    // The repair itself reports errors of SQLite.
    if (!(error instanceof Database.SqliteError)) throw error
  } finally {
    files.close()
    db.close()
  }
}

function assertIsThere(path: string, end: number): void {
  const directory = logDirectory(path)
  if (end > 0 && !existsSync(directory))
    throw new StoreError(
      `${directory} is missing, and nothing was repaired: put it back next to ${path}, or, if it is lost for ` +
        'good, create an empty directory of that name and repair again: lost data becomes holes',
    )
}

function assertNothingWaits(db: Database.Database): void {
  const id = readDatabaseId(db) ?? databaseIdOfLog(logDirectory(db.name))
  const last = lastTidOf(db)
  const waiting = id === undefined ? 0 : readIntents(db.name, id, last).entries.length
  if (waiting > 0) throw new StoreError(`nothing was repaired: ${waitingIntents(db.name, last, waiting)}`)
}

const nothingRepaired = (error: BulkDamageError): StoreError =>
  new StoreError(`nothing was repaired: ${error.message}`, { cause: error })

function mendFiles(files: LogFiles, end: number): void {
  try {
    const indexes = files.indexes()
    for (const index of indexes) if (!files.hasHeader(index)) files.mendHeader(index)
    if (end === 0 || indexes.includes(tailOf(end).index)) return
    fsyncSync(files.create(tailOf(end).index, 'groups'))
    files.syncNames()
  } catch (error) {
    if (!(error instanceof BulkDamageError)) throw error
    throw nothingRepaired(error)
  } finally {
    files.close()
  }
}
