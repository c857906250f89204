/**
 * Checks every reachable object in every state that a kept moment sees: that its record decodes, that it has the class by
 * which others refer to it, and that each of its references leads to an object that exists at that time.
 *
 * Objects are visited breadth first from the root; the queue and the marks are in a scratch database. Of data records
 * only the beginning is read. Unreachable objects are garbage until a pack frees them.
 *
 * A pack may drop revisions meanwhile, but not those that its kept moments see, and it records these moments first.
 * So the kept moments are read again before each batch, and before damage is reported: if they have changed, the object
 * is read again.
 */
import type { Progress } from '../../store/capabilities.ts'
import type { RecordStart, RevisionReader } from '../../store/stored-revisions.ts'
import { CorruptRecordError } from '../../store/errors.ts'
import {
  formatOid,
  oid as toOid,
  ROOT_OID,
  TID_MAX,
  tid as toTid,
  type Oid,
  type Tid,
} from '../../store/ids.ts'
import { ALL_MOMENTS, isSameMoments, KeptRevisions, type KeptMoments } from '../../store/kept-moments.ts'
import { openScratch } from '../../store/scratch.ts'
import type { Ref } from '../objects/pickle/value.ts'
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
  readonly reader: RevisionReader
  readonly findings: Findings
  /** Later states are ignored. */
  readonly upTo: Tid
  readonly progress: Progress
}

const DATA_CLASSES: readonly string[] = [ZDATA, ZBLK0]
/** Objects visited together, in the order of oids: neighbours are stored together. */
const BATCH_OBJECTS = 1024
/** Maximum number of records in memory. */
const BATCH_RECORDS = 64

/** A state that a kept moment sees. */
interface State {
  readonly oid: Oid
  readonly tid: Tid
  /** The last moment at which it is the object's state. */
  readonly until: Tid
}

/** Damage to a state, unless it was packed away meanwhile. */
interface Suspicion {
  readonly state: State
  readonly reason: string
  /** The missing object that a reference leads to; absent if the state itself is damaged. */
  readonly missing?: Oid
}

export class ObjectCheck {
  readonly #reader: RevisionReader
  readonly #findings: Findings
  readonly #progress: Progress
  #upTo: Tid
  #kept: KeptMoments = ALL_MOMENTS
  readonly #db = openScratch(`
    CREATE TABLE mark (oid INTEGER PRIMARY KEY, class TEXT NOT NULL);
    CREATE TABLE queue (id INTEGER PRIMARY KEY, oid INTEGER NOT NULL);
  `)
  readonly #mark = this.#db.prepare<[number, string]>('INSERT OR IGNORE INTO mark (oid, class) VALUES (?, ?)')
  readonly #classOf = this.#db.prepare<[number], string>('SELECT class FROM mark WHERE oid = ?').pluck()
  readonly #push = this.#db.prepare<[number]>('INSERT INTO queue (oid) VALUES (?)')
  readonly #next = this.#db
    .prepare<[number], number>(`SELECT oid FROM queue WHERE id >= ? ORDER BY id LIMIT ${BATCH_OBJECTS}`)
    .pluck()

  constructor({ reader, findings, upTo, progress }: ObjectCheckParts) {
    this.#reader = reader
    this.#findings = findings
    this.#progress = progress
    this.#upTo = upTo
  }

  close(): void {
    this.#db.close()
  }

  /** Visits all reachable objects. */
  async *run(): AsyncGenerator<Damage> {
    const { nextOid } = await this.#reader.totals()
    this.#reach(ROOT_OID, '')
    for (let id = 1; ;) {
      const batch = this.#next.all(id)
      if (batch.length === 0) return
      await this.#refresh()
      yield* this.#visit(batch.sort((a, b) => a - b))
      id += batch.length
      this.#progress('objects', id, Math.max(id, nextOid))
    }
  }

  /** Counts the unreachable objects. */
  async unreachable(): Promise<number> {
    let count = 0
    for await (const oids of this.#reader.oids())
      for (const oid of oids) if (this.#classOf.get(oid) === undefined) count++
    return count
  }

  /** Reads the kept moments again; resolves to whether they have changed. */
  async #refresh(): Promise<boolean> {
    const kept = await this.#reader.kept()
    if (isSameMoments(kept, this.#kept)) return false
    this.#kept = kept
    // The state being checked may have been forgotten: continue with the oldest one that is kept.
    if (kept.from > this.#upTo) this.#upTo = kept.from
    return true
  }

  async *#visit(oids: readonly number[]): AsyncGenerator<Damage> {
    const suspicions = await this.#read(oids)
    for (const oid of new Set(suspicions.map(({ state }) => state.oid))) {
      let found: readonly Suspicion[] = suspicions.filter(({ state }) => state.oid === oid)
      while (found.length > 0 && (await this.#refresh())) found = await this.#read([oid])
      for (const suspicion of found) yield* this.#confirm(suspicion)
    }
  }

  *#confirm({ state: { oid, tid, until }, reason, missing }: Suspicion): Generator<Damage> {
    const isCurrent = until === TID_MAX
    if (missing === undefined) {
      if (!this.#findings.isKnown(oid, tid)) this.#findings.addLost({ oid, tid, reason }, isCurrent)
    } else if (isCurrent) this.#findings.addLost({ oid: missing, tid, reason: 'it does not exist' }, true)
    else yield { kind: 'reference', oid, tid, reason, past: true }
  }

  async #read(oids: readonly number[]): Promise<readonly Suspicion[]> {
    const seen = new KeptRevisions(this.#kept)
    const suspicions: Suspicion[] = []
    let last = -1
    let until: bigint = TID_MAX
    for await (const revisions of this.#reader.revisions(oids, this.#upTo)) {
      const states: State[] = []
      for (const { oid, tid, isTombstone } of revisions) {
        if (oid !== last) until = TID_MAX
        last = oid
        // The store's own check reports rows with invalid keys.
        if (typeof tid !== 'bigint' || tid <= 0n) continue
        if (seen.sees(oid, tid) && !isTombstone)
          states.push({ oid: toOid(oid), tid: toTid(tid), until: toTid(until) })
        until = tid - 1n
      }
      suspicions.push(...(await this.#check(states)))
    }
    return suspicions
  }

  async #check(states: readonly State[]): Promise<readonly Suspicion[]> {
    const isData = ({ oid }: State): boolean => DATA_CLASSES.includes(this.#classOf.get(oid) ?? '')
    const suspicions: Suspicion[] = []
    const data = states.filter(isData)
    const heads = await this.#reader.records(data, USUAL_HEAD_BYTES)
    for (const [index, state] of data.entries())
      suspicions.push(...(await this.#checkState(state, await this.#wholeHead(state, heads[index]))))
    const others = states.filter(state => !isData(state))
    for (let first = 0; first < others.length; first += BATCH_RECORDS) {
      const batch = others.slice(first, first + BATCH_RECORDS)
      const records = await this.#reader.records(batch)
      for (const [index, state] of batch.entries())
        suspicions.push(...(await this.#checkState(state, records[index])))
    }
    return suspicions
  }

  /** Enough of a data record to locate its data. */
  async #wholeHead(state: State, record: Found): Promise<Found> {
    if (record === undefined || record instanceof CorruptRecordError || hasUsualHead(record.bytes))
      return record
    return (await this.#reader.records([state], DATA_HEAD_MAX))[0]
  }

  async #checkState(state: State, record: Found): Promise<readonly Suspicion[]> {
    if (record === undefined) return []
    let targets: readonly Ref[]
    try {
      if (record instanceof CorruptRecordError) throw record
      targets = this.#targets(state, record)
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      return [{ state, reason: error.reason }]
    }
    if (targets.length === 0) return []
    for (const { oid, className } of targets) this.#reach(oid, className)
    const at = state.until < this.#upTo ? state.until : this.#upTo
    const exist = await this.#reader.exist(
      targets.map(({ oid }) => oid),
      at,
    )
    return targets.flatMap(({ oid }, index) =>
      exist[index] === true
        ? []
        : [
            {
              state,
              reason: `it refers to object ${formatOid(oid)}, which does not exist`,
              missing: oid,
            },
          ],
    )
  }

  /** The references of a state. @throws CorruptRecordError */
  #targets({ oid, tid }: State, { bytes, size }: RecordStart): readonly Ref[] {
    const expected = this.#classOf.get(oid) ?? ''
    const isData = DATA_CLASSES.includes(expected)
    const { className } = isData ? dataPosition(bytes, size, oid, tid) : decodeWritableRecord(bytes, oid, tid)
    if (expected !== '' && className !== expected)
      throw new CorruptRecordError(oid, tid, `it is a ${className}, but is referred to as a ${expected}`)
    return isData ? [] : references(bytes, oid, tid)
  }

  #reach(oid: Oid, className: string): void {
    if (this.#mark.run(oid, className).changes > 0) this.#push.run(oid)
  }
}

type Found = RecordStart | CorruptRecordError | undefined
