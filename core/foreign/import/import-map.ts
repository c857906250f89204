/**
 * The state of an import, in a SQLite file next to the database, removed when the import is complete: the mapping from the
 * source's objects to ours, those still to be copied, and the files with their names.
 *
 * Its changes between two commits of the database, a **step**, are atomic with the commit: `prepareStep` writes the step
 * to disk with the tid that the commit will have, and triggers record how to undo it. The next process that opens the map
 * looks up in the database whether that commit took place.
 */
import Database from 'better-sqlite3'
import { pathOf, textOf } from '../../../store/os-text.ts'
import { sqliteName } from '../../../store/sqlite-name.ts'
import { oid as oidOf, tid as tidOf, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'

/** An object that is part of a big file. */
export interface MappedObject {
  readonly oid: Oid
  readonly ours: Oid
  /** The ZBigFile from which it was first reached. */
  readonly file: Oid
  /** Our transaction with its last copied state; TID_NONE if it was never copied. */
  readonly written: Tid
}

export interface MappedFile {
  readonly file: Oid
  /** The oid of its inode in our database; undefined while it has no name. */
  readonly inode: Oid | undefined
  /** Approximate number of bytes stored for it. */
  readonly stored: number
  /** Whether part of it was copied since the last {@link ImportMap.settleFile}. */
  readonly isTouched: boolean
}

const TABLES = {
  object: { key: 'oid', columns: ['oid', 'ours', 'file', 'copied', 'written', 'dirty'] },
  file: { key: 'oid', columns: ['oid', 'inode', 'stored', 'touched'] },
  path: { key: 'name', columns: ['name', 'file', 'seen'] },
  state: { key: 'key', columns: ['key', 'value'] },
} as const

const SCHEMA = `
  CREATE TABLE object (
    oid INTEGER PRIMARY KEY, ours INTEGER NOT NULL, file INTEGER NOT NULL,
    copied INTEGER NOT NULL, written INTEGER NOT NULL, dirty INTEGER NOT NULL
  );
  CREATE INDEX object_dirty ON object (oid) WHERE dirty = 1;
  CREATE TABLE file (oid INTEGER PRIMARY KEY, inode INTEGER, stored INTEGER NOT NULL, touched INTEGER NOT NULL);
  CREATE TABLE path (name TEXT PRIMARY KEY, file INTEGER NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX path_file ON path (file);
  CREATE TABLE state (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
`

/**
 * For each table, the rows before the step, recorded by triggers. OR IGNORE would not work in these: the statement that
 * fires a trigger determines conflict handling, and an upsert overrides it.
 */
const undoSchema = (): string =>
  Object.entries(TABLES)
    .map(([table, { key, columns }]) => {
      const old = columns.map(column => `OLD.${column}`).join(', ')
      const isNew = (row: string): string =>
        `NOT EXISTS (SELECT 1 FROM undo_${table} WHERE ${key} = ${row}.${key})`
      return `
        CREATE TABLE undo_${table} (was INTEGER, ${columns.join(', ')}, PRIMARY KEY (${key})) WITHOUT ROWID;
        CREATE TRIGGER ${table}_insert AFTER INSERT ON ${table} BEGIN
          INSERT INTO undo_${table} (was, ${key}) SELECT 0, NEW.${key} WHERE ${isNew('NEW')}; END;
        CREATE TRIGGER ${table}_update AFTER UPDATE ON ${table} BEGIN
          INSERT INTO undo_${table} SELECT 1, ${old} WHERE ${isNew('OLD')}; END;
        CREATE TRIGGER ${table}_delete AFTER DELETE ON ${table} BEGIN
          INSERT INTO undo_${table} SELECT 1, ${old} WHERE ${isNew('OLD')}; END;`
    })
    .join('')

interface ObjectRow {
  readonly oid: bigint
  readonly ours: bigint
  readonly file: bigint
  readonly written: bigint
}

interface FileRow {
  readonly oid: bigint
  readonly inode: bigint | null
  readonly stored: bigint
  readonly touched: bigint
}

interface PathRow {
  readonly name: string
  readonly file: bigint
}

export class ImportMap {
  readonly #db: Database.Database
  readonly #sql: ReturnType<typeof prepare>
  #isBegun = false

  private constructor(db: Database.Database) {
    this.#db = db
    this.#sql = prepare(db)
  }

  /**
   * Opens the map at `path`, or creates one.
   * @param wasCommitted whether the database has a transaction, that is, whether the last step took effect.
   */
  static async open(path: string, wasCommitted: (tid: Tid) => Promise<boolean>): Promise<ImportMap> {
    const db = new Database(sqliteName(path))
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    if (db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'state'").get() === undefined)
      db.transaction(() => db.exec(SCHEMA + undoSchema()))()
    const map = new ImportMap(db)
    try {
      const step = map.#sql.state.get('step')
      map.#isBegun = step !== undefined
      map.#settle(typeof step !== 'string' || (await wasCommitted(tidOf(BigInt(step)))))
    } catch (error) {
      db.close()
      throw error
    }
    db.exec('BEGIN')
    return map
  }

  /** Whether part of the import was, or may have been, committed, so that the map is needed to resume. */
  get isBegun(): boolean {
    return this.#isBegun
  }

  /** The parameters of the import; undefined in a new map. */
  get purpose(): string | undefined {
    const value = this.#sql.state.get('purpose')
    return Buffer.isBuffer(value) ? textOf(value) : typeof value === 'string' ? value : undefined
  }
  set purpose(value: string) {
    this.#sql.setState.run('purpose', pathOf(value))
  }

  /** The last transaction of the source that is copied; TID_NONE before the first. */
  get done(): Tid {
    const value = this.#sql.state.get('done')
    return typeof value === 'string' ? tidOf(BigInt(value)) : TID_NONE
  }
  set done(value: Tid) {
    this.#sql.setState.run('done', String(value))
  }

  /** The last transaction of the source to be copied; later ones are ignored. */
  get upTo(): Tid {
    const value = this.#sql.state.get('upTo')
    return typeof value === 'string' ? tidOf(BigInt(value)) : TID_NONE
  }
  set upTo(value: Tid) {
    this.#sql.setState.run('upTo', String(value))
  }

  /** Puts the step on disk: it takes effect if the database's next commit, `tid`, does. */
  prepareStep(tid: Tid): void {
    this.#sql.setState.run('step', String(tid))
    this.#db.exec('COMMIT')
    this.#isBegun = true
  }

  /** Call after the commit: begins the next step. */
  endStep(): void {
    this.#db.exec('BEGIN')
    this.#dropUndo()
  }

  // ---- objects

  get(oid: Oid): MappedObject | undefined {
    const row = this.#sql.get.get(oid)
    return row === undefined ? undefined : mappedObject(row)
  }

  /** Adds a newly found object, to be copied. */
  add(oid: Oid, ours: Oid, file: Oid): void {
    this.#sql.add.run(oid, ours, file)
    if (oid === file) this.#sql.addFile.run(oid)
  }

  /** Marks an object changed by a transaction of the source; false if it is not part of a file. */
  markChanged(oid: Oid, tid: Tid): boolean {
    return this.#sql.mark.run(tid, oid).changes > 0
  }

  /** Up to `limit` objects to be copied. */
  nextToCopy(limit: number): MappedObject[] {
    return this.#sql.dirty.all(limit).map(mappedObject)
  }

  /** Records that an object's state as of a transaction of the source is being copied. */
  setCopied(oid: Oid, copied: Tid): void {
    this.#sql.copied.run(copied, oid)
  }

  /** Sets our transaction that contains it. */
  setWritten(oid: Oid, written: Tid): void {
    this.#sql.written.run(written, oid)
  }

  // ---- files

  /** Records that `bytes` of a file's data were copied. */
  addCopied(file: Oid, bytes: number): void {
    this.#sql.addCopied.run(bytes, file)
  }

  /** Files of which part was copied since the last {@link ImportMap.settleFile}; all files if `all`. */
  *files(all: boolean): Generator<MappedFile> {
    for (let after = -1n; ;) {
      const row = this.#sql.files.get(after, all ? 1 : 0)
      if (row === undefined) return
      yield mappedFile(row)
      after = row.oid
    }
  }

  file(file: Oid): MappedFile | undefined {
    const row = this.#sql.file.get(file)
    return row && mappedFile(row)
  }

  setInode(file: Oid, inode: Oid | undefined): void {
    this.#sql.setInode.run(inode ?? null, file)
  }

  settleFile(file: Oid, stored: number): void {
    this.#sql.settleFile.run(stored, file)
  }

  // ---- names, one character per byte

  /** Records that a name leads to a file at transaction `tid`; returns the file that it led to before. */
  seePath(name: string, file: Oid, tid: Tid): Oid | undefined {
    const before = this.#sql.pathFile.get(name)
    this.#sql.setPath.run(name, file, tid)
    return before === undefined ? undefined : oidOf(before)
  }

  /**
   * Removes and returns a name that was not seen at `tid` and that cannot exist beside `name`: it is that of a directory above, or is
   * below.
   */
  takeConflicting(name: string, tid: Tid): { readonly name: string; readonly file: Oid } | undefined {
    for (let end = name.indexOf('/'); end !== -1; end = name.indexOf('/', end + 1)) {
      const above = name.slice(0, end)
      const row = this.#sql.unseenAt.get(above, tid)
      if (row !== undefined) return this.#take(row)
    }
    // '0' follows '/'.
    const below = this.#sql.unseenBetween.get(`${name}/`, `${name}0`, tid)
    return below && this.#take(below)
  }

  /** A file without a name at `tid`. */
  nextUnnamed(tid: Tid): Oid | undefined {
    const row = this.#sql.unnamed.get(tid)
    return row === undefined ? undefined : oidOf(row)
  }

  /** Removes and returns a name that was not seen at `tid`. */
  takeVanished(tid: Tid): { readonly name: string; readonly file: Oid } | undefined {
    const row = this.#sql.vanished.get(tid)
    return row && this.#take(row)
  }

  #take({ name, file }: PathRow): { readonly name: string; readonly file: Oid } {
    this.#sql.dropPath.run(name)
    return { name, file: oidOf(file) }
  }

  /** All names, in order. */
  *paths(): Generator<{ readonly name: string; readonly file: Oid }> {
    for (let after = ''; ;) {
      const row = this.#sql.nextPath.get(after)
      if (row === undefined) return
      yield { name: row.name, file: oidOf(row.file) }
      after = row.name
    }
  }

  close(): void {
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK')
    this.#db.close()
  }

  #settle(tookPlace: boolean): void {
    this.#db.transaction(() => {
      if (!tookPlace)
        for (const [table, { key, columns }] of Object.entries(TABLES)) {
          this.#db.exec(`DELETE FROM ${table} WHERE ${key} IN (SELECT ${key} FROM undo_${table})`)
          const list = columns.join(', ')
          this.#db.exec(`INSERT INTO ${table} SELECT ${list} FROM undo_${table} WHERE was = 1`)
        }
      this.#dropUndo()
    })()
  }

  #dropUndo(): void {
    for (const table of Object.keys(TABLES)) this.#db.exec(`DELETE FROM undo_${table}`)
  }
}

const mappedObject = (row: ObjectRow): MappedObject => ({
  oid: oidOf(row.oid),
  ours: oidOf(row.ours),
  file: oidOf(row.file),
  written: tidOf(row.written),
})

const mappedFile = ({ oid, inode, stored, touched }: FileRow): MappedFile => ({
  file: oidOf(oid),
  inode: inode === null ? undefined : oidOf(inode),
  stored: Number(stored),
  isTouched: touched !== 0n,
})

function prepare(db: Database.Database) {
  const object = 'SELECT oid, ours, file, written FROM object'
  const file = 'SELECT oid, inode, stored, touched FROM file'
  return {
    state: db.prepare<[string]>('SELECT value FROM state WHERE key = ?').pluck(),
    setState: db.prepare(
      'INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    ),
    get: db.prepare<[number], ObjectRow>(`${object} WHERE oid = ?`).safeIntegers(),
    add: db.prepare('INSERT INTO object VALUES (?, ?, ?, 0, 0, 1)'),
    mark: db.prepare('UPDATE object SET dirty = dirty OR copied < ? WHERE oid = ?'),
    dirty: db.prepare<[number], ObjectRow>(`${object} WHERE dirty = 1 ORDER BY oid LIMIT ?`).safeIntegers(),
    copied: db.prepare('UPDATE object SET copied = ?, dirty = 0 WHERE oid = ?'),
    written: db.prepare('UPDATE object SET written = ? WHERE oid = ?'),
    addFile: db.prepare('INSERT INTO file VALUES (?, NULL, 0, 1)'),
    addCopied: db.prepare('UPDATE file SET touched = 1, stored = stored + ? WHERE oid = ?'),
    files: db
      .prepare<[bigint, number], FileRow>(`${file} WHERE oid > ? AND (touched = 1 OR ?) ORDER BY oid LIMIT 1`)
      .safeIntegers(),
    file: db.prepare<[number], FileRow>(`${file} WHERE oid = ?`).safeIntegers(),
    setInode: db.prepare('UPDATE file SET inode = ? WHERE oid = ?'),
    settleFile: db.prepare('UPDATE file SET stored = ?, touched = 0 WHERE oid = ?'),
    pathFile: db.prepare<[string], bigint>('SELECT file FROM path WHERE name = ?').pluck().safeIntegers(),
    setPath: db.prepare(
      'INSERT INTO path VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET file = excluded.file, seen = excluded.seen',
    ),
    unnamed: db
      .prepare<[bigint], bigint>(
        'SELECT oid FROM file WHERE NOT EXISTS (SELECT 1 FROM path WHERE path.file = file.oid AND seen = ?) LIMIT 1',
      )
      .pluck()
      .safeIntegers(),
    vanished: db
      .prepare<[bigint], PathRow>('SELECT name, file FROM path WHERE seen <> ? LIMIT 1')
      .safeIntegers(),
    unseenAt: db
      .prepare<[string, bigint], PathRow>('SELECT name, file FROM path WHERE name = ? AND seen <> ?')
      .safeIntegers(),
    unseenBetween: db
      .prepare<[string, string, bigint], PathRow>(
        'SELECT name, file FROM path WHERE name > ? AND name < ? AND seen <> ? LIMIT 1',
      )
      .safeIntegers(),
    dropPath: db.prepare('DELETE FROM path WHERE name = ?'),
    nextPath: db
      .prepare<[string], PathRow>('SELECT name, file FROM path WHERE name > ? ORDER BY name LIMIT 1')
      .safeIntegers(),
  }
}
