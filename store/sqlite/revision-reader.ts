/**
 * Opens a reader for full scans, over a separate connection. Each of its calls is one statement or a few: no read lasts long enough
 * to prevent a checkpoint of the WAL.
 */
import type Database from 'better-sqlite3'
import { type Access, openerOf } from '../encryption/seals.ts'
import { IndexedRevisionReader } from '../indexed/revision-reader.ts'
import type { LogFiles } from '../segment-files/log-files.ts'
import { LogReader } from '../segment-files/log-reader.ts'
import { epochsOf } from './epoch-rows.ts'
import { logFilesOf } from './log.ts'
import { connectReadOnly } from './open/immutable.ts'
import { storeError } from './sqlite-errors.ts'
import { SqliteIndex } from './sqlite-index.ts'
import { SqliteIndexScan } from './sqlite-index-scan.ts'

const CACHE_BYTES = 4 << 20
const BUSY_TIMEOUT_MS = 5000

/**
 * @param key undefined for a database that is not encrypted.
 * @param openFiles opens the log's files; the reader closes them.
 * @param cacheSizeBytes SQLite's page cache.
 */
export function openRevisionReader(
  path: string,
  key: Access,
  openFiles: (db: Database.Database) => LogFiles = db => logFilesOf(db, 'read'),
  cacheSizeBytes: number = CACHE_BYTES,
): IndexedRevisionReader {
  const db = connectReadOnly(path, BUSY_TIMEOUT_MS)
  try {
    db.pragma(`cache_size = -${cacheSizeBytes >> 10}`)
    const opener = openerOf(key, path, () => epochsOf(db))
    const [index, scan] = [new SqliteIndex(db, opener?.rows), new SqliteIndexScan(db, opener?.rows)]
    const files = openFiles(db)
    return new IndexedRevisionReader({
      index,
      scan,
      bulk: new LogReader(files, opener?.frames),
      explain: error => storeError(error, path),
      close: () => {
        files.close()
        db.close()
      },
    })
  } catch (error) {
    db.close()
    throw error
  }
}
