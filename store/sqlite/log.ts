/** The log of a SQLite database: the directory of segment files next to the database file. */
import { statSync } from '../os-files.ts'
import { join } from 'node:path'
import type { Database } from 'better-sqlite3'
import { TID_NONE, type Tid, knownTid } from '../ids.ts'
import { LogFiles } from '../segment-files/log-files.ts'
import { bytesOnDisk, findProblem } from '../segment-files/segments.ts'
import { pathOf } from './open/immutable.ts'
import { readDatabaseId } from './open/database-id.ts'

export const logDirectory = (database: string): string => `${database}-log`

/** The name of the intent log (intents/intent-log.ts) in the directory of the log. */
export const INTENTS_NAME = 'intents'

/** The path of the intent log. */
export const intentsPath = (database: string): string => join(logDirectory(database), INTENTS_NAME)

/**
 * @param id the database's id; undefined if that is damaged.
 * @param path returns the database's path, which may change while the log is open.
 */
export const logFilesOf = (
  db: Database,
  use: 'read' | 'write',
  id: string | undefined = readDatabaseId(db),
  path: () => string = () => pathOf(db),
): LogFiles =>
  new LogFiles(() => logDirectory(path()), id, use, use === 'write' ? statSync(pathOf(db)) : undefined)

/** The bytes that a database's log takes on disk, excluding holes. */
export const logBytesOnDisk = (database: string): number => bytesOnDisk(logDirectory(database))

/** The log's end as of the last transaction. */
export const lastLogEnd = (db: Database): number =>
  db.prepare<[], number>('SELECT log_end FROM txn ORDER BY tid DESC LIMIT 1').pluck().get() ?? 0

/** The last transaction in the table of transactions. */
export const lastTidOf = (db: Database): Tid =>
  knownTid(db.prepare<[], bigint>('SELECT max(tid) FROM txn').pluck().safeIntegers().get() ?? TID_NONE)

/**
 * Checks that the log that a database needs is next to it.
 * @returns the problem and the next step; undefined if there is none.
 */
export const findLogProblem = (db: Database): string | undefined =>
  findProblem(logDirectory(pathOf(db)), readDatabaseId(db), lastLogEnd(db))
