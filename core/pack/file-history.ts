/**
 * What of a database's history belongs to which file: the bytes that only the past needs of it, so that packing to the
 * present gives them back.
 *
 * Every object that any kept state leads to is visited, from the root on. Those that an inode's ZBigFile leads to belong to
 * that inode. States that are not of the present are history; of what they have in the log, only what no present state
 * shares, and once per file. What is remembered is in a temporary database: a bounded part of it is in memory.
 */
import Database from 'better-sqlite3'
import { formatOid, ROOT_OID, type Oid, type Tid } from '../../store/ids.ts'
import { keptMoments } from '../../store/kept-moments.ts'
import type { PackReader, RevisionEntry } from '../../store/sqlite/pack/pack-reader.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { UNIT_BYTES } from '../../store/indexed/frame.ts'
import { ByteString, entry, Ref } from '../objects/pickle/value.ts'
import { decodeRecord, references, ZBLK0, ZDATA } from '../objects/record.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import { mark } from './mark.ts'

/** A file that the present does not have any more. */
export interface GoneFile {
  /** Where it was last, as far as that is known; one character per byte. */
  readonly path: string
  readonly historyBytes: number
}

const NOBODY = 0
const DEPTH_MAX = 100
const PROGRESS_OBJECTS = 1000

interface ObjectRow {
  readonly oid: number
  readonly owner: number
  readonly isData: number
}

export class FileHistory {
  readonly #reader: PackReader
  readonly #present: PagedBitmap
  readonly #upTo: Tid
  /** Which units of the log the present needs. */
  readonly #live = new PagedBitmap()
  readonly #db = new Database('')
  readonly #reach
  readonly #next
  readonly #addPiece
  readonly #addInline
  readonly #inlineOf
  readonly #piecesOf

  private constructor(reader: PackReader, present: PagedBitmap, upTo: Tid) {
    this.#reader = reader
    this.#present = present
    this.#upTo = upTo
    this.#db.pragma('journal_mode = OFF')
    this.#db.exec(`
      BEGIN;
      CREATE TABLE object (id INTEGER PRIMARY KEY, oid INTEGER UNIQUE, owner INTEGER, isData INTEGER);
      CREATE TABLE file (owner INTEGER PRIMARY KEY, inline INTEGER NOT NULL);
      CREATE TABLE piece (owner INTEGER, lo INTEGER, hi INTEGER);
      CREATE INDEX piece_by_owner ON piece (owner, lo);
    `)
    this.#reach = this.#db.prepare<[number, number, number]>(
      'INSERT OR IGNORE INTO object (oid, owner, isData) VALUES (?, ?, ?)',
    )
    this.#next = this.#db.prepare<[number], ObjectRow>('SELECT oid, owner, isData FROM object WHERE id = ?')
    this.#addPiece = this.#db.prepare<[number, number, number]>('INSERT INTO piece VALUES (?, ?, ?)')
    this.#addInline = this.#db.prepare<[number, number]>(
      'INSERT INTO file VALUES (?, ?) ON CONFLICT DO UPDATE SET inline = inline + excluded.inline',
    )
    this.#inlineOf = this.#db.prepare<[number], number>('SELECT inline FROM file WHERE owner = ?').pluck()
    this.#piecesOf = this.#db
      .prepare<[number], [lo: number, hi: number]>('SELECT lo, hi FROM piece WHERE owner = ? ORDER BY lo')
      .raw()
  }

  /** Looks at every kept state. @throws CorruptRecordError for a record that cannot be read. */
  static async measure(
    reader: PackReader,
    progress: (done: number, total: number) => void,
  ): Promise<FileHistory> {
    const { lastTid, nextOid } = reader.totals()
    const present = await mark(reader, keptMoments(lastTid, []), lastTid)
    const history = new FileHistory(reader, present, lastTid)
    try {
      history.#reach.run(ROOT_OID, NOBODY, 0)
      for (
        let id = 1, object = history.#next.get(id);
        object !== undefined;
        object = history.#next.get(++id)
      ) {
        history.#visit(object)
        if (id % PROGRESS_OBJECTS === 0) progress(id, nextOid)
      }
      return history
    } catch (error) {
      history.close()
      throw error
    }
  }

  /** What only the past needs of a file, by its inode's oid, in bytes. */
  bytesOf(inode: Oid): number {
    const inline = this.#inlineOf.get(inode)
    if (inline === undefined) return 0
    let units = 0
    let end = 0
    for (const [lo, hi] of this.#piecesOf.iterate(inode)) {
      const from = Math.max(lo, end)
      if (from >= hi) continue
      units += hi - from - this.#live.count(from, hi)
      end = hi
    }
    return inline + units * UNIT_BYTES
  }

  /** The files that only the past has. */
  *gone(): Generator<GoneFile> {
    const owners = this.#db.prepare<[], number>('SELECT owner FROM file ORDER BY owner').pluck()
    for (const owner of owners.all())
      if (!this.#present.has(owner))
        yield { path: this.#pathOf(owner as Oid), historyBytes: this.bytesOf(owner as Oid) }
  }

  close(): void {
    this.#db.close()
    this.#live.close()
    this.#present.close()
  }

  #visit({ oid, owner, isData }: ObjectRow): void {
    const past: RevisionEntry[] = []
    let isFile = false
    let isNewest = true
    for (const revision of this.#reader.entriesOf(oid, this.#upTo)) {
      if (!isNewest || !this.#present.has(oid)) past.push(revision)
      else if (revision.pos !== undefined) this.#live.addRange(...unitsOf(revision.pos, revision.len))
      isNewest = false
      if (isData === 0) isFile = this.#reachFrom(oid as Oid, revision, owner) || isFile
    }
    const belongsTo = isFile ? oid : owner
    if (belongsTo === NOBODY) return
    for (const { inlineBytes, pos, len } of past) {
      this.#addInline.run(belongsTo, inlineBytes)
      if (pos !== undefined) this.#addPiece.run(belongsTo, ...unitsOf(pos, len))
    }
  }

  /** Whether the object is the inode of a file that has data. */
  #reachFrom(oid: Oid, { tid, isMissing }: RevisionEntry, owner: number): boolean {
    const record = isMissing ? undefined : this.#reader.record(oid, tid)
    if (record === undefined) return false
    let isFile = false
    for (const { oid: target, className } of references(record, oid, tid as Tid)) {
      const isBegin = owner === NOBODY && className === ZBigFile.CLASS_NAME
      this.#reach.run(target, isBegin ? oid : owner, className === ZDATA || className === ZBLK0 ? 1 : 0)
      isFile ||= isBegin
    }
    return isFile
  }

  #pathOf(inode: Oid): string {
    const names: string[] = []
    for (let at = inode; names.length < DEPTH_MAX;) {
      const place = this.#placeOf(at)
      if (place === undefined) return `/${[`object ${formatOid(at)}`, ...names].join('/')}`
      if (place.parent === at) break
      names.unshift(place.name)
      at = place.parent
    }
    return `/${names.join('/')}`
  }

  /** Where an inode was last: it forgets its name when that is removed. The root is in itself. */
  #placeOf(inode: Oid): { readonly parent: Oid; readonly name: string } | undefined {
    for (const { tid, isMissing } of this.#reader.entriesOf(inode, this.#upTo)) {
      const record = isMissing ? undefined : this.#reader.record(inode, tid)
      if (record === undefined) continue
      const { state } = decodeRecord(record, inode, tid as Tid)
      const fields = state instanceof Map ? entry(state, 'data') : undefined
      if (!(fields instanceof Map)) return undefined
      const parent = entry(fields, 'parent')
      const name = entry(fields, 'name')
      if (!(parent instanceof Ref)) continue
      if (parent.oid === inode) return { parent: inode, name: '' }
      if (name instanceof ByteString) return { parent: parent.oid, name: name.latin1 }
    }
    return undefined
  }
}

const unitsOf = (pos: number, len: number): [lo: number, hi: number] => [
  Math.floor(pos / UNIT_BYTES),
  Math.ceil((pos + len) / UNIT_BYTES),
]
