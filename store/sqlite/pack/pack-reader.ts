/** What a pack reads of a database beside its revisions. */
import type Database from 'better-sqlite3'
import type { Space, StoredRevision } from '../../capabilities.ts'
import type { BulkRange, PackedTransaction, PackEnd, PackSource } from '../../indexed/pack/pack-source.ts'
import { SEGMENT_BYTES } from '../../segment-files/log-layout.ts'
import { logBytesOnDisk } from '../log.ts'
import { SqliteRevisionReader } from '../revision-reader.ts'

const BATCH_TRANSACTIONS = 1024

export class PackReader extends SqliteRevisionReader implements PackSource {
  readonly #since: Database.Statement<[bigint], [pos: number, len: number]>
  readonly #transactions: Database.Statement<[bigint, bigint, number], [tid: bigint, objects: bigint]>

  constructor(path: string) {
    super(path)
    this.#since = this.db
      .prepare<[bigint], [number, number]>(
        'SELECT pos, len FROM revision INDEXED BY revision_by_tid WHERE tid > ? AND pos IS NOT NULL',
      )
      .raw(true)
    this.#transactions = this.db
      .prepare<[bigint, bigint, number], [bigint, bigint]>(
        'SELECT tid, objects FROM txn WHERE tid > ? AND tid < ? ORDER BY tid LIMIT ?',
      )
      .safeIntegers()
      .raw(true)
  }

  end(): PackEnd {
    const [lastTid, logEnd] = this.db
      .prepare<[], [bigint, bigint]>('SELECT tid, log_end FROM txn ORDER BY tid DESC LIMIT 1')
      .safeIntegers()
      .raw(true)
      .get() ?? [0n, 0n]
    return { lastTid, bulkEnd: Number(logEnd) }
  }

  space(): Space {
    return spaceOf(this.db, this.path)
  }

  /** In batches of about a thousand: none lasts long enough to keep the WAL from being emptied. */
  async *entries(): AsyncGenerator<readonly StoredRevision[]> {
    yield* this.batches()
  }

  usedSince(tid: bigint): readonly BulkRange[] {
    return this.#since.all(tid).map(([pos, len]) => [pos, pos + len])
  }

  transactions(after: bigint, before: bigint): readonly PackedTransaction[] {
    return this.#transactions
      .all(after, before, BATCH_TRANSACTIONS)
      .map(([tid, objects]) => ({ tid, isUsed: objects > 0n }))
  }

  segments(): readonly BulkRange[] {
    return this.files.indexes().map(index => [index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES])
  }

  takesRoom([lo, hi]: BulkRange): boolean {
    return this.files.takesRoom(lo, hi)
  }
}

/** What a database takes on the disk, the log included (which may have holes), and its free pages. */
export function spaceOf(db: Database.Database, path: string): Space {
  const pragma = (name: string): number => Number(db.pragma(name, { simple: true }))
  const pageBytes = pragma('page_size')
  return {
    totalBytes: pragma('page_count') * pageBytes + logBytesOnDisk(path),
    freeBytes: pragma('freelist_count') * pageBytes,
  }
}
