/**
 * Attributes a database's history to its files: the bytes needed only by past states of each file, which a pack to the
 * present would free.
 *
 * Every object reachable from any kept state is visited, breadth first from the root. Objects below an inode's ZBigFile
 * belong to that inode. Revisions that the present does not show are history; shared bytes count once per file, if no present revision has them.
 * State is in a scratch database, so memory is bounded.
 */
import type { RevisionReader, StoredRevision } from '../../store/stored-revisions.ts'
import { CorruptRecordError } from '../../store/errors.ts'
import { formatOid, oid as toOid, ROOT_OID, tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import { keptMoments } from '../../store/kept-moments.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { openScratch } from '../../store/scratch.ts'
import { ByteString, entry, Ref } from '../objects/pickle/value.ts'
import { decodeRecord, references, ZBLK0, ZDATA } from '../objects/record.ts'
import { PathResolver, type Place, ShownPath, ROOT_PATH } from '../tree/shown-path.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import { mark } from './mark.ts'

/** A file that exists only in the past. */
export interface GoneFile {
  /** Its last path, as far as it is known, shortened if it is long; one character per byte. */
  readonly path: string
  readonly historyBytes: number
}

/** The owner of objects that belong to no file. */
const NONE = 0
const PROGRESS_OBJECTS = 1000

interface ObjectRow {
  readonly oid: number
  readonly owner: number
  readonly isData: number
}

export class FileHistory {
  readonly #reader: RevisionReader
  readonly #present: PagedBitmap
  readonly #upTo: Tid
  /** The units that the present needs. */
  readonly #live = new PagedBitmap()
  readonly #db = openScratch(`
    CREATE TABLE object (id INTEGER PRIMARY KEY, oid INTEGER UNIQUE, owner INTEGER, isData INTEGER);
    CREATE TABLE file (owner INTEGER PRIMARY KEY, ownBytes INTEGER NOT NULL);
    CREATE TABLE piece (owner INTEGER, lo INTEGER, hi INTEGER);
    CREATE INDEX piece_by_owner ON piece (owner, lo);
  `)
  readonly #resolver = new PathResolver(inode => this.#placeOf(inode))
  readonly #reach
  readonly #next
  readonly #addPiece
  readonly #addOwnBytes
  readonly #ownBytesOf
  readonly #piecesOf

  private constructor(reader: RevisionReader, present: PagedBitmap, upTo: Tid) {
    this.#reader = reader
    this.#present = present
    this.#upTo = upTo
    this.#reach = this.#db.prepare<[number, number, number]>(
      'INSERT OR IGNORE INTO object (oid, owner, isData) VALUES (?, ?, ?)',
    )
    this.#next = this.#db.prepare<[number], ObjectRow>('SELECT oid, owner, isData FROM object WHERE id = ?')
    this.#addPiece = this.#db.prepare<[number, number, number]>('INSERT INTO piece VALUES (?, ?, ?)')
    this.#addOwnBytes = this.#db.prepare<[number, number]>(
      'INSERT INTO file VALUES (?, ?) ON CONFLICT DO UPDATE SET ownBytes = ownBytes + excluded.ownBytes',
    )
    this.#ownBytesOf = this.#db.prepare<[number], number>('SELECT ownBytes FROM file WHERE owner = ?').pluck()
    this.#piecesOf = this.#db
      .prepare<[number], [lo: number, hi: number]>('SELECT lo, hi FROM piece WHERE owner = ? ORDER BY lo')
      .raw()
  }

  /** Visits every kept state. @throws CorruptRecordError for a record that cannot be read. */
  static async measure(
    reader: RevisionReader,
    progress: (done: number, total: number) => void,
  ): Promise<FileHistory> {
    const { lastTid, nextOid } = await reader.totals()
    const present = await mark(reader, keptMoments(lastTid, []), lastTid)
    const history = new FileHistory(reader, present, lastTid)
    try {
      history.#reach.run(ROOT_OID, NONE, 0)
      for (
        let id = 1, object = history.#next.get(id);
        object !== undefined;
        object = history.#next.get(++id)
      ) {
        await history.#visit(object)
        if (id % PROGRESS_OBJECTS === 0) progress(id, nextOid)
      }
      return history
    } catch (error) {
      history.close()
      throw error
    }
  }

  /** The bytes of a file, by its inode's oid, that only the past needs. */
  bytesOf(inode: Oid): number {
    const ownBytes = this.#ownBytesOf.get(inode)
    if (ownBytes === undefined) return 0
    let units = 0
    let end = 0
    for (const [lo, hi] of this.#piecesOf.iterate(inode)) {
      const from = Math.max(lo, end)
      if (from >= hi) continue
      units += hi - from - this.#live.count(from, hi)
      end = hi
    }
    return ownBytes + units * this.#reader.unitBytes
  }

  /** The files that exist only in the past. */
  async *gone(): AsyncGenerator<GoneFile> {
    const owners = this.#db.prepare<[], number>('SELECT owner FROM file ORDER BY owner').pluck()
    for (const owner of owners.all().map(toOid))
      if (!this.#present.has(owner))
        yield { path: await this.#pathOf(owner), historyBytes: this.bytesOf(owner) }
  }

  close(): void {
    this.#db.close()
    this.#live.close()
    this.#present.close()
  }

  async #visit({ oid, owner, isData }: ObjectRow): Promise<void> {
    const past: StoredRevision[] = []
    let isFile = false
    let isNewest = true
    for await (const revisions of this.#reader.revisions([oid], this.#upTo))
      for (const revision of revisions) {
        if (isNewest && this.#present.has(oid)) this.#live.addRange(revision.unitLo, revision.unitHi)
        else past.push(revision)
        isNewest = false
        if (isData === 0) isFile = (await this.#reachFrom(revision, owner)) || isFile
      }
    const belongsTo = isFile ? oid : owner
    if (belongsTo === NONE) return
    for (const { ownBytes, unitLo, unitHi } of past) {
      this.#addOwnBytes.run(belongsTo, ownBytes)
      if (unitLo < unitHi) this.#addPiece.run(belongsTo, unitLo, unitHi)
    }
  }

  /** Records the references of a revision; resolves to whether it is an inode with data. */
  async #reachFrom(revision: StoredRevision, owner: number): Promise<boolean> {
    const record = await this.#record(revision)
    if (record === undefined) return false
    const oid = toOid(revision.oid)
    let isFile = false
    for (const { oid: target, className } of references(record, oid, toTid(revision.tid))) {
      const isBegin = owner === NONE && className === ZBigFile.CLASS_NAME
      this.#reach.run(target, isBegin ? oid : owner, className === ZDATA || className === ZBLK0 ? 1 : 0)
      isFile ||= isBegin
    }
    return isFile
  }

  async #record(revision: StoredRevision): Promise<Uint8Array | undefined> {
    if (revision.isTombstone) return undefined
    const [record] = await this.#reader.records([revision])
    if (record instanceof CorruptRecordError) throw record
    return record?.bytes
  }

  async #pathOf(inode: Oid): Promise<string> {
    const path = await this.#resolver.pathOf(inode)
    return `/${path === undefined ? unknown(inode).text : path.text}`
  }

  /** An inode's last place: its record loses the name when that is removed. The root is its own parent. */
  async #placeOf(inode: Oid): Promise<Place | ShownPath> {
    for await (const revisions of this.#reader.revisions([inode], this.#upTo))
      for (const revision of revisions) {
        const record = await this.#record(revision)
        if (record === undefined) continue
        const { state } = decodeRecord(record, inode, toTid(revision.tid))
        const fields = state instanceof Map ? entry(state, 'data') : undefined
        if (!(fields instanceof Map)) return unknown(inode)
        const parent = entry(fields, 'parent')
        const name = entry(fields, 'name')
        if (!(parent instanceof Ref)) continue
        if (parent.oid === inode) return ROOT_PATH
        if (name instanceof ByteString) return { parent: parent.oid, name: name.latin1 }
      }
    return unknown(inode)
  }
}

const unknown = (inode: Oid): ShownPath => ShownPath.from(`object ${formatOid(inode)}`)
