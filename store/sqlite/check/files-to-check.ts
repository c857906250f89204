import type Database from 'better-sqlite3'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { databaseIdOfLog } from '../../segment-files/segments.ts'
import { logDirectory, logFilesOf } from '../log.ts'
import { readDatabaseId } from '../open/database-id.ts'
import { pathOf } from '../open/immutable.ts'

/** The log's files; if the database has lost its id, those next to it. */
export const filesToCheck = (db: Database.Database): LogFiles =>
  logFilesOf(db, 'read', readDatabaseId(db) ?? databaseIdOfLog(logDirectory(pathOf(db))))
