/**
 * Looks at every object that can be reached, in every state of it that a kept moment sees: does its record decode, is
 * it of the class that others refer to it as, and does each reference lead to an object that is there at that time?
 *
 * Objects are visited breadth first from the root; the queue and the marks are in a temporary database. Of data only
 * the beginning of the record is read. What is not reached is garbage until a pack frees it.
 *
 * A state of the database that is read for long keeps its `-wal` file growing beside a writer. So every
 * {@link TURN_OBJECTS} objects a new one is begun. Between two a pack may have dropped states, but none that the moments see
 * which it keeps: from then on only these are looked at.
 */
import type { Database } from 'better-sqlite3'
import { CorruptRecordError } from '../../store/errors.ts'
import { formatOid, ROOT_OID, TID_MAX, type Oid, type Tid } from '../../store/ids.ts'
import { KeptRevisions, type KeptMoments } from '../../store/kept-moments.ts'
import { recordSize, type Reader } from '../../store/sqlite/reader.ts'
import type { Progress } from '../../store/sqlite/check/store-check.ts'
import {
  DATA_HEAD_MAX,
  dataPosition,
  decodeWritableRecord,
  hasUsualHead,
  references,
  USUAL_HEAD_BYTES,
  ZBLK0,
  ZDATA,
} from '../objects/record.ts'
import type { Damage } from './damage.ts'
import type { Findings } from './findings.ts'

export interface ObjectCheckParts {
  readonly db: Database
  readonly reader: Reader
  readonly findings: Findings
  /** Begins a new state of the database to read; returns which moments are kept in it. */
  readonly turn: () => KeptMoments
  /** Whether a revision is there now, whatever there was when the state that is read began. */
  readonly isThere: (oid: Oid, tid: Tid) => boolean
  /** Later states are left out. */
  readonly upTo: Tid
  readonly progress: Progress
}

const DATA_CLASSES: readonly string[] = [ZDATA, ZBLK0]
const PROGRESS_OBJECTS = 2000
/** About a tenth of a second's. */
const TURN_OBJECTS = 1000

export class ObjectCheck {
  readonly #parts: ObjectCheckParts
  #seen: KeptRevisions
  #upTo: Tid
  readonly #mark
  readonly #classOf
  readonly #push
  readonly #next
  readonly #tids
  readonly #state

  constructor(parts: ObjectCheckParts) {
    this.#parts = parts
    this.#seen = new KeptRevisions(parts.turn())
    this.#upTo = parts.upTo
    const marks = parts.findings.db
    marks.exec(`
      CREATE TABLE mark (oid INTEGER PRIMARY KEY, class TEXT NOT NULL);
      CREATE TABLE queue (id INTEGER PRIMARY KEY, oid INTEGER NOT NULL);
    `)
    this.#mark = marks.prepare<[number, string]>('INSERT OR IGNORE INTO mark (oid, class) VALUES (?, ?)')
    this.#classOf = marks.prepare<[number], string>('SELECT class FROM mark WHERE oid = ?').pluck()
    this.#push = marks.prepare<[number]>('INSERT INTO queue (oid) VALUES (?)')
    this.#next = marks.prepare<[number], number>('SELECT oid FROM queue WHERE id = ?').pluck()
    this.#tids = parts.db
      .prepare<[number, bigint], bigint>(
        `SELECT tid FROM revision INDEXED BY revision_by_oid
         WHERE oid = ? AND tid <= ? ORDER BY tid DESC`,
      )
      .pluck()
      .safeIntegers()
    this.#state = parts.db
      .prepare<[number, bigint], number>(
        `SELECT head IS NOT NULL FROM revision INDEXED BY revision_by_oid
         WHERE oid = ? AND tid <= ? LIMIT 1`,
      )
      .pluck()
  }

  /** Visits what can be reached. */
  *run(): Generator<Damage> {
    const { db, progress } = this.#parts
    const total = Number(db.prepare('SELECT coalesce(max(next_oid), 0) FROM txn').pluck().get())
    this.#reach(ROOT_OID, '')
    for (let id = 1; ; id++) {
      const oid = this.#next.get(id)
      if (oid === undefined) return
      yield* this.#visit(oid as Oid)
      if (id % PROGRESS_OBJECTS === 0) progress('objects', id, Math.max(id, total))
      if (id % TURN_OBJECTS === 0) this.#turn()
    }
  }

  #turn(): void {
    const kept = this.#parts.turn()
    this.#seen = new KeptRevisions(kept)
    // What was the present may be forgotten: the oldest state that is known as a whole takes its place.
    if (kept.from > this.#upTo) this.#upTo = kept.from
  }

  /** How many objects there are that nothing reaches. */
  unreachable(): number {
    let count = 0
    let last = -1
    const oids = this.#parts.db
      .prepare<[], number>('SELECT oid FROM revision INDEXED BY revision_by_oid ORDER BY oid')
      .pluck()
    for (const oid of oids.iterate()) {
      if (oid !== last && this.#classOf.get(oid) === undefined) count++
      last = oid
    }
    return count
  }

  *#visit(oid: Oid): Generator<Damage> {
    let until: bigint = TID_MAX
    for (const tid of this.#tids.all(oid, this.#upTo)) {
      if (typeof tid !== 'bigint') continue
      if (this.#seen.sees(oid, tid)) yield* this.#visitState(oid, tid as Tid, until as Tid)
      until = tid - 1n
    }
  }

  /** @param until the last moment at which it is the object's state. */
  *#visitState(oid: Oid, tid: Tid, until: Tid): Generator<Damage> {
    const { findings } = this.#parts
    const isPast = until !== TID_MAX
    try {
      for (const target of this.#read(oid, tid)) {
        const state = this.#state.get(target.oid, until < this.#upTo ? until : this.#upTo)
        this.#reach(target.oid, target.className)
        if (state === 1) continue
        const reason = `it refers to object ${formatOid(target.oid)}, which does not exist`
        if (!isPast) findings.addLost({ oid: target.oid, tid, reason: 'it does not exist' }, true)
        else yield { kind: 'reference', oid, tid, reason, past: true }
      }
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      // The log has no states: what a pack has given back since this one began is no damage.
      if (!this.#parts.isThere(oid, tid)) return
      if (!findings.isKnown(oid, tid)) findings.addLost({ oid, tid, reason: error.reason }, !isPast)
    }
  }

  /** What a state refers to. @throws CorruptRecordError */
  #read(oid: Oid, tid: Tid): readonly { readonly oid: Oid; readonly className: string }[] {
    const { reader } = this.#parts
    const record = reader.find(oid, tid)
    if (record === undefined || record.head === null) return []
    const expected = this.#classOf.get(oid) ?? ''
    const size = recordSize(record)
    if (DATA_CLASSES.includes(expected)) {
      const start = reader.readPart(record, 0, USUAL_HEAD_BYTES)
      const head = hasUsualHead(start) ? start : reader.readPart(record, 0, DATA_HEAD_MAX)
      const { className } = dataPosition(head, size, oid, tid)
      this.#expect(oid, tid, className, expected)
      return []
    }
    const bytes = reader.readPart(record, 0, size)
    const { className } = decodeWritableRecord(bytes, oid, tid)
    this.#expect(oid, tid, className, expected)
    return references(bytes, oid, tid)
  }

  #expect(oid: Oid, tid: Tid, className: string, expected: string): void {
    if (expected !== '' && className !== expected)
      throw new CorruptRecordError(oid, tid, `it is a ${className}, but is referred to as a ${expected}`)
  }

  #reach(oid: Oid, className: string): void {
    if (this.#mark.run(oid, className).changes > 0) this.#push.run(oid)
  }
}
