/**
 * Opens a reader for work that goes through a whole database, over a connection of its own. Each of its calls is one statement or
 * few: no read lasts long enough to keep the WAL from being emptied.
 */
import type Database from 'better-sqlite3'
import { IndexedRevisionReader } from '../indexed/revision-reader.ts'
import type { LogFiles } from '../segment-files/log-files.ts'
import { LogReader } from '../segment-files/log-reader.ts'
import { logFilesOf } from './log.ts'
import { connectReadOnly } from './open/immutable.ts'
import { storeError } from './sqlite-errors.ts'
import { SqliteIndex } from './sqlite-index.ts'
import { SqliteIndexScan } from './sqlite-index-scan.ts'

const CACHE_BYTES = 4 << 20
const BUSY_TIMEOUT_MS = 5000

/**
 * @param openFiles opens the log's files; the reader closes them.
 * @param cacheSizeBytes SQLite's page cache.
 */
export function openRevisionReader(
  path: string,
  openFiles: (db: Database.Database) => LogFiles = db => logFilesOf(db, 'read'),
  cacheSizeBytes: number = CACHE_BYTES,
): IndexedRevisionReader {
  const db = connectReadOnly(path, BUSY_TIMEOUT_MS)
  db.pragma(`cache_size = -${cacheSizeBytes >> 10}`)
  const files = openFiles(db)
  return new IndexedRevisionReader({
    index: new SqliteIndex(db),
    scan: new SqliteIndexScan(db),
    bulk: new LogReader(files),
    explain: error => storeError(error, path),
    close: () => {
      files.close()
      db.close()
    },
  })
}
