/**
 * Checks every reachable object in every state that a kept moment sees: that its record decodes, that it has the class by
 * which others refer to it, and that each of its references leads to an object that exists at that time.
 *
 * Objects are visited in the order of oids, window by window (read-ahead.ts), round after round until none waits. Of data
 * records only the beginning is read. Unreachable objects are garbage until a pack frees them.
 *
 * A pack may drop revisions meanwhile, but not those that its kept moments see, and it records these moments first.
 * So the kept moments are read again before each batch, and before damage is reported: if they have changed, the object
 * is read again.
 */
import type { Progress } from '../../store/capabilities.ts'
import type { RecordStart, RevisionReader, StoredState } from '../../store/stored-revisions.ts'
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
import type { Ref } from '../objects/pickle/value.ts'
import {
  DATA_HEAD_MAX,
  dataPosition,
  decodeWithReferences,
  hasUsualHead,
  USUAL_HEAD_BYTES,
  ZBLK0,
  ZDATA,
} from '../objects/record.ts'
import type { Damage } from './damage.ts'
import type { Findings } from './findings.ts'
import { ReachedObjects } from './reached-objects.ts'
import { ReadAhead, WINDOW_OIDS } from './read-ahead.ts'

export interface ObjectCheckParts {
  readonly reader: RevisionReader
  readonly findings: Findings
  /** Later states are ignored. */
  readonly upTo: Tid
  readonly progress: Progress
}

const DATA_CLASSES: readonly string[] = [ZDATA, ZBLK0]
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
  readonly #reached = new ReachedObjects()
  #ahead: ReadAhead

  constructor({ reader, findings, upTo, progress }: ObjectCheckParts) {
    this.#reader = reader
    this.#findings = findings
    this.#progress = progress
    this.#upTo = upTo
    this.#ahead = new ReadAhead(reader, upTo)
  }

  close(): void {
    this.#reached.close()
  }

  /** Visits all reachable objects. */
  async *run(): AsyncGenerator<Damage> {
    const { nextOid } = await this.#reader.totals()
    this.#reached.add(ROOT_OID, '')
    let done = 0
    for (let from = 0; ;) {
      const next = this.#reached.nextWaiting(from)
      if (next === undefined) {
        if (from === 0) return
        from = 0
        continue
      }
      // What a window's objects refer to is mostly in the same window.
      const lo = next - (next % WINDOW_OIDS)
      from = lo + WINDOW_OIDS
      await this.#refresh()
      for (let batch = this.#reached.take(lo, from); batch.length > 0; batch = this.#reached.take(lo, from)) {
        yield* this.#visit(batch)
        done += batch.length
      }
      this.#progress('objects', done, Math.max(done, nextOid))
    }
  }

  /** Counts the unreachable objects. */
  async unreachable(): Promise<number> {
    let count = 0
    for await (const oids of this.#reader.oids()) for (const oid of oids) if (!this.#reached.has(oid)) count++
    return count
  }

  /** Reads the kept moments again; resolves to whether they have changed. */
  async #refresh(): Promise<boolean> {
    const kept = await this.#reader.kept()
    if (isSameMoments(kept, this.#kept)) return false
    this.#kept = kept
    // The state being checked may have been forgotten: continue with the oldest one that is kept.
    if (kept.from > this.#upTo) this.#upTo = kept.from
    this.#ahead = new ReadAhead(this.#reader, this.#upTo)
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
    const suspicions: Suspicion[] = []
    const others: number[] = []
    for (const oid of oids) {
      const looked = this.#ahead.statesOf(oid)
      const states = looked instanceof Promise ? await looked : looked
      if (states === undefined) others.push(oid)
      else for (const found of await this.#checkAhead(states)) suspicions.push(found)
    }
    if (others.length > 0) for (const found of await this.#readEach(others)) suspicions.push(found)
    return suspicions
  }

  /** Checks the states of one object that were read ahead. */
  async #checkAhead(stored: readonly StoredState[]): Promise<readonly Suspicion[]> {
    const seen = new KeptRevisions(this.#kept)
    let suspicions: readonly Suspicion[] = []
    let until: bigint = TID_MAX
    for (const { oid, tid, start } of stored) {
      // The store's own check reports rows with invalid keys.
      if (tid <= 0n) continue
      if (seen.sees(oid, tid) && start !== undefined) {
        const state = { oid, tid, until: toTid(until) }
        const found = await this.#checkState(state, await this.#enough(state, start))
        if (found.length > 0) suspicions = [...suspicions, ...found]
      }
      until = tid - 1n
    }
    return suspicions
  }

  /** As much of a record as a check of it needs. */
  async #enough(state: State, start: RecordStart | CorruptRecordError): Promise<Found> {
    if (start instanceof CorruptRecordError || start.bytes.length === start.size) return start
    if (!this.#isData(state)) return (await this.#reader.records([state]))[0]
    return await this.#wholeHead(state, start)
  }

  async #readEach(oids: readonly number[]): Promise<readonly Suspicion[]> {
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

  #isData({ oid }: State): boolean {
    return DATA_CLASSES.includes(this.#reached.classOf(oid))
  }

  async #check(states: readonly State[]): Promise<readonly Suspicion[]> {
    const suspicions: Suspicion[] = []
    const data = states.filter(state => this.#isData(state))
    const heads = await this.#reader.records(data, USUAL_HEAD_BYTES)
    for (const [index, state] of data.entries())
      suspicions.push(...(await this.#checkState(state, await this.#wholeHead(state, heads[index]))))
    const others = states.filter(state => !this.#isData(state))
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
    for (const { oid, className } of targets) this.#reached.add(oid, className)
    const exist = await this.#exist(targets, state.until < this.#upTo ? state.until : this.#upTo)
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

  async #exist(targets: readonly Ref[], at: Tid): Promise<readonly boolean[]> {
    const exist: boolean[] = []
    for (const { oid } of targets) {
      const looked = this.#ahead.stateAt(oid, at)
      const state = looked instanceof Promise ? await looked : looked
      exist.push(
        state === 'unknown' ? (await this.#reader.exist([oid], at))[0] === true : state?.start !== undefined,
      )
    }
    return exist
  }

  /** The references of a state. @throws CorruptRecordError */
  #targets({ oid, tid }: State, { bytes, size }: RecordStart): readonly Ref[] {
    const expected = this.#reached.classOf(oid)
    const isData = DATA_CLASSES.includes(expected)
    const { className, refs } = isData
      ? { className: dataPosition(bytes, size, oid, tid).className, refs: [] }
      : decodeWithReferences(bytes, oid, tid)
    if (expected !== '' && className !== expected)
      throw new CorruptRecordError(oid, tid, `it is a ${className}, but is referred to as a ${expected}`)
    return refs
  }
}

type Found = RecordStart | CorruptRecordError | undefined
