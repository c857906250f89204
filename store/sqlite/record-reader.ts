import type { Database } from 'better-sqlite3'
import { CorruptRecordError } from '../errors.ts'
import type { Oid, Tid } from '../ids.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import type { RevisionRow } from '../indexed/record-index.ts'
import { newBytes, partLength, planRead, type RecordRead } from '../indexed/record-parts.ts'
import type { LogFiles } from '../segment-files/log-files.ts'
import { LogReader } from '../segment-files/log-reader.ts'
import { SqliteIndex } from './sqlite-index.ts'

/** Reads one record at a time, synchronously: for a thread of its own, or for a short step between others. */
export class RecordReader {
  readonly #index: SqliteIndex
  readonly #log: LogReader

  /** @param files the log's; they stay the caller's. */
  constructor(db: Database, files: LogFiles) {
    this.#index = new SqliteIndex(db)
    this.#log = new LogReader(files)
  }

  /** The newest row of an object with `tid <= at`. @throws CorruptRecordError */
  find(oid: Oid, at: Tid): RevisionRow | undefined {
    return this.#index.newestOf(oid, at)
  }

  /** Bytes `[off, off + len)` of a record, cut at its end. @throws CorruptRecordError */
  readPart(row: RevisionRow, off: number, len: number): Uint8Array {
    const bytes = newBytes(partLength(row, off, len))
    const reads: RecordRead[] = []
    planRead(row, off, bytes, reads)
    try {
      this.#log.read(reads)
    } catch (error) {
      if (!(error instanceof BulkDamageError)) throw error
      throw new CorruptRecordError(row.oid, row.tid, error.message, { cause: error })
    }
    return bytes
  }
}
