import { existsSync } from 'node:fs'
import Database from 'better-sqlite3'
import { StoreError } from '../errors.ts'
import { DATABASE_ID, newDatabaseId, readDatabaseId } from './database-id.ts'
import { databaseIdOfLog, lastLogEnd, LogDamageError, LogFiles } from './log-files.ts'
import { logDirectory, tailOf } from './log-layout.ts'

/**
 * Makes a database's id and the headers of its log files say the same again, and the last of these, which is written
 * on, where it is lost. To be called by whoever holds the writer's lock, with nothing else open.
 * @throws StoreError where there is no log at all: it may only have been left behind.
 */
export function repairLog(path: string): void {
  const db = new Database(path, { fileMustExist: true })
  try {
    if (readDatabaseId(db) === undefined)
      db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(
        DATABASE_ID,
        databaseIdOfLog(path) ?? newDatabaseId(),
      )
    const end = lastLogEnd(db)
    const directory = logDirectory(path)
    if (end > 0 && !existsSync(directory))
      throw new StoreError(
        `${directory} is missing, and nothing was repaired: put it back beside ${path}, or, where it is lost for ` +
          'good, make an empty directory of that name and repair again: what is lost becomes holes',
      )
    mendFiles(new LogFiles(db, 'write'), end)
  } finally {
    db.close()
  }
}

function mendFiles(files: LogFiles, end: number): void {
  try {
    const indexes = files.indexes()
    if (end > 0 && !indexes.includes(tailOf(end).index)) files.create(tailOf(end).index)
    for (const index of indexes) if (!files.hasHeader(index)) files.mendHeader(index)
  } catch (error) {
    if (!(error instanceof LogDamageError)) throw error
    throw new StoreError(`nothing was repaired: ${error.message}`, { cause: error })
  } finally {
    files.close()
  }
}
