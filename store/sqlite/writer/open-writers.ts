import type { Database } from 'better-sqlite3'
import { Committer } from '../../indexed/committer.ts'
import { PackWriter } from '../../indexed/pack/pack-writer.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { LogReader } from '../../segment-files/log-reader.ts'
import { LogWriter } from '../../segment-files/log-writer.ts'
import { SqliteIndexPacker } from '../pack/sqlite-index-packer.ts'
import type { Checkpoints } from './checkpoints.ts'
import { SqliteIndexWriter } from './sqlite-index-writer.ts'

/** The objects that change a database. Only one of their calls may be in progress. */
export interface Writers {
  readonly committer: Committer
  readonly packWriter: PackWriter
}

/** Writers over a SQLite index and segment files. @throws StoreError if the last transaction is damaged. */
export async function openWriters(db: Database, files: LogFiles, checkpoints: Checkpoints): Promise<Writers> {
  const bulk = new LogWriter(files)
  const index = new SqliteIndexWriter(db)
  const committer = await Committer.open({ index, bulk, reader: new LogReader(files) })
  return { committer, packWriter: new PackWriter(new SqliteIndexPacker(db, checkpoints), bulk) }
}
