import type { Database } from 'better-sqlite3'
import { COMPRESSION, compressionName, parseCompression, type CompressionName } from '../../compression.ts'
import type { BulkWriter } from '../../indexed/bulk.ts'
import { Committer } from '../../indexed/committer.ts'
import { FrameEncoder } from '../../indexed/frame-codec.ts'
import { PackWriter } from '../../indexed/pack/pack-writer.ts'
import { FramedLogWriter } from '../../segment-files/framed-log-writer.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { LogReader } from '../../segment-files/log-reader.ts'
import { LogWriter } from '../../segment-files/log-writer.ts'
import { SqliteIndexPacker } from '../pack/sqlite-index-packer.ts'
import { SqliteIndexScan } from '../sqlite-index-scan.ts'
import type { Checkpoints } from './checkpoints.ts'
import { SqliteIndexWriter } from './sqlite-index-writer.ts'

/** The objects that change a database. Only one of their calls may be in progress. */
export interface Writers {
  readonly committer: Committer
  readonly packWriter: PackWriter
}

/**
 * Writers over a SQLite index and segment files.
 * @param beforeChange is called before a change. @param compression sets the database's; undefined for no change.
 * @throws StoreError if the last transaction is damaged.
 */
export async function openWriters(
  db: Database,
  files: LogFiles,
  checkpoints: Checkpoints,
  beforeChange: () => void,
  compression: CompressionName | undefined,
): Promise<Writers> {
  const index = new SqliteIndexWriter(db)
  const packer = new SqliteIndexPacker(db, checkpoints)
  const found = compressionName(new SqliteIndexScan(db).note(COMPRESSION))
  if (compression !== undefined && compression !== found) {
    beforeChange()
    packer.setNote(COMPRESSION, compression)
  }
  const bulk = openBulk(files, compression ?? found)
  const committer = await Committer.open({ index, bulk, reader: new LogReader(files) })
  return { committer, packWriter: new PackWriter(packer, bulk) }
}

function openBulk(files: LogFiles, name: CompressionName): BulkWriter {
  const compression = parseCompression(name)
  if (compression.method === 'off') return new LogWriter(files)
  return new FramedLogWriter(files, new FrameEncoder(compression))
}
