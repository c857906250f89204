import type { Database } from 'better-sqlite3'
import { COMPRESSION, compressionName, parseCompression, type CompressionName } from '../../compression.ts'
import type { MasterKey } from '../../encryption/keys.ts'
import { sealsOf, type Seals } from '../../encryption/seals.ts'
import type { BulkWriter } from '../../indexed/bulk.ts'
import { Committer } from '../../indexed/committer.ts'
import { FrameEncoder } from '../../indexed/frame-codec.ts'
import { PackWriter } from '../../indexed/pack/pack-writer.ts'
import { FramedLogWriter } from '../../segment-files/framed-log-writer.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { LogReader } from '../../segment-files/log-reader.ts'
import { LogWriter } from '../../segment-files/log-writer.ts'
import { SqliteIndexPacker } from '../pack/sqlite-index-packer.ts'
import { epochsOf } from '../epoch-rows.ts'
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
 * @param key undefined for a database that is not encrypted.
 * @throws StoreError if the last transaction is damaged.
 */
export async function openWriters(
  db: Database,
  files: LogFiles,
  checkpoints: Checkpoints,
  beforeChange: () => void,
  compression: CompressionName | undefined,
  key: MasterKey | undefined,
): Promise<Writers> {
  const seals = key === undefined ? undefined : sealsOf(key, epochsOf(db))
  const index = new SqliteIndexWriter(db, seals)
  const packer = new SqliteIndexPacker(db, checkpoints)
  const found = compressionName(new SqliteIndexScan(db).note(COMPRESSION))
  if (compression !== undefined && compression !== found) {
    beforeChange()
    packer.setNote(COMPRESSION, compression)
  }
  const bulk = openBulk(files, compression ?? found, seals)
  const committer = await Committer.open({ index, bulk, reader: new LogReader(files, seals?.frames) })
  return { committer, packWriter: new PackWriter(packer, bulk) }
}

function openBulk(files: LogFiles, name: CompressionName, seals: Seals | undefined): BulkWriter {
  const compression = parseCompression(name)
  if (compression.method === 'off' && seals === undefined) return new LogWriter(files)
  return new FramedLogWriter(files, new FrameEncoder(compression, seals?.frames))
}
