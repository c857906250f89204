import type { Database } from 'better-sqlite3'
import { Committer } from '../../indexed/committer.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { LogReader } from '../../segment-files/log-reader.ts'
import { LogWriter } from '../../segment-files/log-writer.ts'
import { SqliteIndexWriter } from './sqlite-index-writer.ts'

/** A committer over a SQLite index and segment files. @throws StoreError where the last transaction is damaged. */
export const openCommitter = (db: Database, files: LogFiles): Promise<Committer> =>
  Committer.open({
    index: new SqliteIndexWriter(db),
    bulk: new LogWriter(files),
    reader: new LogReader(files),
  })
