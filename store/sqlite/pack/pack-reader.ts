/** What a pack reads of a database beside its revisions. */
import type Database from 'better-sqlite3'
import type { Space } from '../../capabilities.ts'
import { logBytesOnDisk } from '../log.ts'
import { SqliteRevisionReader } from '../revision-reader.ts'

const BATCH_TRANSACTIONS = 1024

export class PackReader extends SqliteRevisionReader {
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

  /** The last transaction and where the log ended with it, in bytes. */
  logEnd(): { readonly lastTid: bigint; readonly logEnd: number } {
    const [lastTid, logEnd] = this.db
      .prepare<[], [bigint, bigint]>('SELECT tid, log_end FROM txn ORDER BY tid DESC LIMIT 1')
      .safeIntegers()
      .raw(true)
      .get() ?? [0n, 0n]
    return { lastTid, logEnd: Number(logEnd) }
  }

  space(): Space {
    return spaceOf(this.db, this.path)
  }

  /** Bytes `[pos, pos + len)` of the log that the revisions after `tid` point to. */
  usedSince(tid: bigint): readonly [pos: number, len: number][] {
    return this.#since.all(tid)
  }

  /** A batch of the transactions in `(after, before)`, and whether a revision of each is left. */
  transactions(after: bigint, before: bigint): readonly { readonly tid: bigint; readonly isUsed: boolean }[] {
    return this.#transactions
      .all(after, before, BATCH_TRANSACTIONS)
      .map(([tid, objects]) => ({ tid, isUsed: objects > 0n }))
  }

  /** The indexes of the log's segments, ascending. */
  segments(): readonly number[] {
    return this.files.indexes()
  }

  /** Whether the bytes `[lo, hi)` of one segment take any room. */
  takesRoom(lo: number, hi: number): boolean {
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
