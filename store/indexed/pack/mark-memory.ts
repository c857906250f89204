/**
 * What packs remember between them, so that the next one costs in proportion to what has changed: how many references lead to
 * each object, and how many revisions point to each unit of bulk bytes. It counts the revisions up to a transaction that are left
 * after the pack of certain kept moments ({@link MarkState}). Commits do not touch it; a pack first counts what was
 * committed since (changed-mark.ts).
 *
 * | part        | one for each  | meaning                                                                          |
 * |-------------|---------------|----------------------------------------------------------------------------------|
 * | `strong`    | oid           | references to it, of every revision of every object                              |
 * | `weak`      | oid           | references back to it, which alone do not keep it (`Edge.isWeak`)                |
 * | `data`      | oid           | whether it is a block or chunk of data, without references                       |
 * | `units`     | unit of bulk  | revisions that point to it                                                       |
 * | `dead`      | unit of bulk  | whether the running pack frees it                                                |
 * | `reached`, `waiting`, `late` | oid | the state of a full mark (full-mark.ts)                                     |
 * | drops       | revision      | what the running pack drops                                                      |
 * | `forgotten` | transaction   | those of dropped revisions, to be forgotten once they have no other              |
 *
 * It is a SQLite database of its own, whose pages are compressed: a file, in memory, or, for a database on a server, which
 * several machines may pack, a note of the index. All changes up to {@link MarkMemory.commit} are one
 * transaction: after a kill the last committed state is there. The file or note may be removed at any time; the next pack then marks every
 * object. A state counts only if the note {@link MARK} of the index has its id (or that of the state before it): the file of
 * another database, or of an older copy, is ignored, and so is any file or note after a repair.
 */
import { randomUUID } from 'node:crypto'
import { rmSync, truncateSync } from '../../os-files.ts'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import Database from 'better-sqlite3'
import { sqliteName } from '../../sqlite-name.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import { PagedCounters } from '../../paged-counters.ts'
import type { PageFile } from '../../paged-memory.ts'

/** The note of the index with the id of the state that holds. */
export const MARK = 'mark'
/** The note of an index on a server with the memory itself: base64 of the compressed SQLite database. */
export const MARK_MEMORY = 'mark memory'
/** A larger database is not stored in a note: then the next pack marks every object. */
const NOTE_BYTES_MAX = 16 << 20

/**
 * `marking`, `sweeping`: a full mark is under way. `planned`: the drops are to be carried out. `done`: a pack has completed.
 */
export type MarkPhase = 'marking' | 'sweeping' | 'planned' | 'done'

export interface MarkState {
  readonly id: string
  /** The id of the state before it, which the note has until the plan is begun. */
  readonly before?: string
  readonly phase: MarkPhase
  /** The kept moments, as in the note of kept moments. */
  readonly kept: string
  /** The last transaction that is counted. 16 hex digits. */
  readonly upTo: string
  /** The end of the bulk bytes after it. */
  readonly bulkEnd: number
  /** While sweeping: the objects before this one are done. */
  readonly sweptTo?: number
  /** While planned: transactions from this one on may be forgotten. */
  readonly forgetFrom?: string
}

/** A revision to drop. */
export interface PlannedDrop {
  readonly oid: number
  readonly tid: bigint
}

/** Stores the note {@link MARK_MEMORY}. */
export type StoreNote = (note: string) => Promise<void>

interface MemoryOptions {
  readonly isShared?: boolean
  readonly store?: StoreNote
}

const VERSION = 1
const CACHE_KIB = 4096

const SCHEMA = `
  CREATE TABLE page (part TEXT, number INTEGER, bytes BLOB NOT NULL, PRIMARY KEY (part, number)) WITHOUT ROWID;
  CREATE TABLE planned (oid INTEGER, tid INTEGER, is_object INTEGER NOT NULL, PRIMARY KEY (oid, tid)) WITHOUT ROWID;
  CREATE TABLE forgotten (tid INTEGER PRIMARY KEY);
  CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL);
  PRAGMA user_version = ${VERSION};
`

const TABLES = {
  page: ['part', 'number', 'bytes'],
  planned: ['oid', 'tid', 'is_object'],
  forgotten: ['tid'],
  state: ['id', 'value'],
} as const

/** A page of the file is damaged. */
class MarkMemoryError extends Error {}

/** Whether the file cannot be used: it is damaged, or there is no room for it. Errors of a store's own tables are others. */
export const isMemoryError = (error: unknown): boolean =>
  error instanceof MarkMemoryError || error instanceof Database.SqliteError

export class MarkMemory {
  readonly strong: PagedCounters
  readonly weak: PagedCounters
  readonly data: PagedBitmap
  readonly units: PagedCounters
  readonly dead: PagedBitmap
  readonly reached: PagedBitmap
  readonly waiting: PagedBitmap
  /** Objects that were not reached, but are kept, as they changed after marking began. */
  readonly late: PagedBitmap
  readonly #db: Database.Database
  readonly #isShared: boolean
  readonly #store: StoreNote | undefined
  readonly #parts = new Map<string, PagedBitmap | PagedCounters>()
  readonly #plan: Database.Statement<[number, bigint, number]>
  readonly #isPlanned: Database.Statement<[number, bigint], number>
  readonly #objectDrops: Database.Statement<[number], bigint>
  readonly #unplan: Database.Statement<[number]>
  readonly #drops: Database.Statement<[number, number, bigint, number], [number, bigint]>
  readonly #forget: Database.Statement<[bigint]>
  readonly #forgotten: Database.Statement<[bigint, number], bigint>

  private constructor(db: Database.Database, { isShared = false, store }: MemoryOptions = {}) {
    this.#db = db
    this.#isShared = isShared
    this.#store = store
    this.strong = this.#part('strong', new PagedCounters(this.#pages('strong')))
    this.weak = this.#part('weak', new PagedCounters(this.#pages('weak')))
    this.data = this.#part('data', new PagedBitmap(this.#pages('data')))
    this.units = this.#part('units', new PagedCounters(this.#pages('units')))
    this.dead = this.#part('dead', new PagedBitmap(this.#pages('dead')))
    this.reached = this.#part('reached', new PagedBitmap(this.#pages('reached')))
    this.waiting = this.#part('waiting', new PagedBitmap(this.#pages('waiting')))
    this.late = this.#part('late', new PagedBitmap(this.#pages('late')))
    this.#plan = db.prepare('INSERT OR IGNORE INTO planned VALUES (?, ?, ?)')
    this.#isPlanned = db
      .prepare<[number, bigint], number>('SELECT 1 FROM planned WHERE oid = ? AND tid = ?')
      .pluck()
    this.#objectDrops = db
      .prepare<[number], bigint>('SELECT tid FROM planned WHERE oid = ? AND is_object = 1')
      .pluck()
      .safeIntegers()
    this.#unplan = db.prepare('DELETE FROM planned WHERE oid = ? AND is_object = 1')
    this.#drops = db
      .prepare<[number, number, bigint, number], [number, bigint]>(
        `SELECT CAST(oid AS REAL), tid FROM planned WHERE oid > ? OR (oid = ? AND tid > ?) ORDER BY oid, tid LIMIT ?`,
      )
      .raw(true)
      .safeIntegers()
    this.#forget = db.prepare('INSERT OR IGNORE INTO forgotten VALUES (?)')
    this.#forgotten = db
      .prepare<[bigint, number], bigint>('SELECT tid FROM forgotten WHERE tid > ? ORDER BY tid LIMIT ?')
      .pluck()
      .safeIntegers()
    db.exec('BEGIN')
  }

  /** In memory and a temporary file. It cannot be rolled back. */
  static temporary(): MarkMemory {
    return new MarkMemory(openDatabase('', 'OFF'))
  }

  /** In memory, for many packs: closing it rolls it back. */
  static shared(): MarkMemory {
    return new MarkMemory(openDatabase(':memory:', 'MEMORY'), { isShared: true })
  }

  /**
   * In memory and a temporary file, with what is in a note; empty if that is of no use.
   * @param note undefined if there is none. @param store stores it at each commit.
   */
  static inNote(note: string | undefined, store: StoreNote): MarkMemory {
    const db = openDatabase('', 'MEMORY')
    try {
      if (note !== undefined) copyNote(note, db)
    } catch {
      // A damaged note, or one of another version.
    }
    return new MarkMemory(db, { store })
  }

  /** Opens a file, which exists; one that is of no use is emptied. @throws SqliteError */
  static inFile(path: string): MarkMemory {
    try {
      return new MarkMemory(openDatabase(path, 'DELETE'))
    } catch {
      truncateSync(path)
      rmSync(`${path}-journal`, { force: true })
      return new MarkMemory(openDatabase(path, 'DELETE'))
    }
  }

  state(): MarkState | undefined {
    const text = this.#db.prepare<[], string>('SELECT value FROM state').pluck().get()
    if (text === undefined) return undefined
    try {
      return JSON.parse(text) as MarkState
    } catch {
      return undefined
    }
  }

  /** Stores all changes since the last commit, durably, as this state. A promise only where that is a note. */
  commit(state: MarkState): Promise<void> | undefined {
    for (const part of this.#parts.values()) part.flush()
    this.#db.prepare<[string]>('INSERT OR REPLACE INTO state VALUES (1, ?)').run(JSON.stringify(state))
    this.#db.exec('COMMIT')
    const stored = this.#store && this.#storeNote(this.#store)
    this.#db.exec('BEGIN')
    return stored
  }

  #storeNote(store: StoreNote): Promise<void> | undefined {
    const pages = Number(this.#db.pragma('page_count', { simple: true }))
    const pageBytes = Number(this.#db.pragma('page_size', { simple: true }))
    if (pages * pageBytes > NOTE_BYTES_MAX) return undefined
    return store(zstdCompressSync(this.#db.serialize()).toString('base64'))
  }

  /** Adds a revision to the plan, unless it is in it. @param isObject whether its whole object is dropped. */
  plan(oid: number, tid: bigint, isObject: boolean): void {
    this.#plan.run(oid, tid, isObject ? 1 : 0)
  }

  isPlanned(oid: number, tid: bigint): boolean {
    return this.#isPlanned.get(oid, tid) !== undefined
  }

  /** Takes the revisions that go with a whole object out of the plan, and returns them. */
  unplanObject(oid: number): readonly bigint[] {
    const tids = this.#objectDrops.all(oid)
    this.#unplan.run(oid)
    return tids
  }

  /** The number of planned drops. */
  countDrops(): number {
    return this.#db.prepare<[], number>('SELECT count(*) FROM planned').pluck().get() ?? 0
  }

  /** At most `limit` planned drops after `after`. */
  drops(after: PlannedDrop | undefined, limit: number): readonly PlannedDrop[] {
    const { oid, tid } = after ?? { oid: -1, tid: 0n }
    return this.#drops.all(oid, oid, tid, limit).map(([oid, tid]) => ({ oid, tid }))
  }

  /** Remembers a transaction of which a revision is dropped. */
  forget(tid: bigint): void {
    this.#forget.run(tid)
  }

  /** At most `limit` of these after `after`. */
  forgotten(after: bigint, limit: number): readonly bigint[] {
    return this.#forgotten.all(after, limit)
  }

  /** Empties what belongs to one pack. */
  endPack(): void {
    this.#db.exec(`DELETE FROM planned; DELETE FROM forgotten;
      DELETE FROM page WHERE part IN ('dead', 'reached', 'waiting', 'late')`)
    for (const part of ['dead', 'reached', 'waiting', 'late']) this.#parts.get(part)?.forgetPages()
  }

  /** Empties everything. */
  clear(): void {
    this.#db.exec('DELETE FROM planned; DELETE FROM forgotten; DELETE FROM page; DELETE FROM state')
    for (const part of this.#parts.values()) part.forgetPages()
  }

  /** Forgets all changes since the last commit. */
  rollBack(): void {
    for (const part of this.#parts.values()) part.forgetPages()
    this.#db.exec('ROLLBACK; BEGIN')
  }

  close(): void {
    if (this.#isShared) this.rollBack()
    else this.#db.close()
  }

  #part<T extends PagedBitmap | PagedCounters>(name: string, part: T): T {
    this.#parts.set(name, part)
    return part
  }

  #pages(part: string): PageFile {
    const db = this.#db
    const read = db
      .prepare<[string, number], Buffer>('SELECT bytes FROM page WHERE part = ? AND number = ?')
      .pluck()
    const write = db.prepare<[string, number, Uint8Array]>('INSERT OR REPLACE INTO page VALUES (?, ?, ?)')
    const next = db
      .prepare<[string, number], number | null>('SELECT min(number) FROM page WHERE part = ? AND number >= ?')
      .pluck()
    return {
      read: number => {
        const bytes = read.get(part, number)
        try {
          return bytes === undefined ? undefined : Uint8Array.from(zstdDecompressSync(bytes))
        } catch (error) {
          throw new MarkMemoryError(`page ${number} of ${part} is damaged`, { cause: error })
        }
      },
      write: (number, bytes) => void write.run(part, number, zstdCompressSync(bytes)),
      next: number => next.get(part, number) ?? undefined,
      close: () => {},
    }
  }
}

/** Copies the tables of a note, all or none of them. @throws Error if they cannot be read. */
function copyNote(note: string, to: Database.Database): void {
  const bytes = zstdDecompressSync(Buffer.from(note, 'base64'), { maxOutputLength: NOTE_BYTES_MAX })
  const from = new Database(bytes)
  try {
    if (Number(from.pragma('user_version', { simple: true })) !== VERSION) return
    to.transaction(() => {
      for (const [table, columns] of Object.entries(TABLES)) {
        const insert = to.prepare(`INSERT INTO ${table} VALUES (${columns.map(() => '?').join(', ')})`)
        const rows = from.prepare<[], unknown[]>(`SELECT ${columns.join(', ')} FROM ${table}`)
        for (const row of rows.raw().safeIntegers().iterate()) insert.run(row)
      }
    })()
  } finally {
    from.close()
  }
}

function openDatabase(path: string, journal: 'OFF' | 'MEMORY' | 'DELETE'): Database.Database {
  const db = new Database(sqliteName(path))
  try {
    // Otherwise the note would contain the free pages.
    if (journal === 'MEMORY') db.pragma('auto_vacuum = FULL')
    db.pragma('locking_mode = EXCLUSIVE')
    db.pragma(`journal_mode = ${journal}`)
    db.pragma('synchronous = FULL')
    db.pragma(`cache_size = -${CACHE_KIB}`)
    const version = Number(db.pragma('user_version', { simple: true }))
    if (version === 0) db.exec(`BEGIN; ${SCHEMA} COMMIT`)
    else if (version !== VERSION) throw new MarkMemoryError(`version ${version} is not known`)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

export const newMarkId = (): string => randomUUID()
