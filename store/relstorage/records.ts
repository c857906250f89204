/**
 * Reads the records of a RelStorage database.
 *
 * - Neighbouring oids (such as a block's chunks) are looked up by one query, unless they have a long history.
 * - SQLite always reads a whole value, so recently read records are cached (whole-records.ts).
 * - Compressed records are inflated outside the transaction that reads them.
 */
import { CorruptRecordError, TooLargeError } from '../errors.ts'
import { type Oid, type Tid, knownOid, knownTid } from '../ids.ts'
import { inflateRecord, isCompressed } from '../compressed-record.ts'
import type { Revision, RevisionPart } from '../store.ts'
import { KEPT_BYTES, WholeRecords, type Part } from '../whole-records.ts'
import type { Queries, StateRow } from './queries.ts'

/** Oids at most this far apart are neighbours; between these numbers of them are found by one query... */
const MAX_OID_GAP = 2
const MIN_RUN = 4
const MAX_RUN = 512
/** ...unless they have more revisions than this on average. */
const ROWS_PER_OID = 4

/** Maximum bytes loaded in one call, unless a single record has more. */
const MAX_LOAD_BYTES = 384 << 20

/** Runs reads on one snapshot of the database. */
export interface InOneState {
  <T>(read: () => T): T
}

export class Records {
  readonly #queries: Queries
  readonly #inOneState: InOneState
  readonly #whole = new WholeRecords()

  constructor(queries: Queries, inOneState: InOneState) {
    this.#queries = queries
    this.#inOneState = inOneState
  }

  /** As {@link Store.load}. */
  async load(oids: readonly Oid[], at: Tid): Promise<(Revision | undefined)[]> {
    const revisions = this.#inOneState(() => this.#load(oids, at))
    let room = MAX_LOAD_BYTES
    for (const [i, revision] of revisions.entries()) {
      const oid = oids[i]
      if (revision === undefined || oid === undefined || !isCompressed(revision.record)) continue
      const record = await inflateRecord(revision.record, oid, revision.tid)
      room -= record.length
      if (room < 0 && oids.length > 1) throw new TooLargeError(MAX_LOAD_BYTES)
      revisions[i] = { tid: revision.tid, record }
    }
    return revisions
  }

  /** As {@link Store.loadPart}. */
  async loadPart(oid: Oid, at: Tid, part: Part): Promise<RevisionPart | undefined> {
    const found = this.#inOneState(() => this.#find(oid, at, part))
    if (found === undefined || 'bytes' in found) return found
    const { tid, stored } = found
    return await this.#whole.part({ oid, tid }, part, () => inflateRecord(stored, oid, tid))
  }

  #load(oids: readonly Oid[], at: Tid): (Revision | undefined)[] {
    const revisions: (Revision | undefined)[] = []
    let room = MAX_LOAD_BYTES
    const take = (revision: Revision | undefined): void => {
      room -= revision?.record.length ?? 0
      if (room < 0 && oids.length > 1) throw new TooLargeError(MAX_LOAD_BYTES)
      revisions.push(revision)
    }
    while (revisions.length < oids.length) {
      const run = runOf(oids, revisions.length)
      const found = this.#between(run, at)
      for (const oid of run) take(found === undefined ? this.#one(oid, at) : found.get(oid))
    }
    return revisions
  }

  /** A part of a long uncompressed record, or a whole record as stored. */
  #find(oid: Oid, at: Tid, { off, len, into }: Part): RevisionPart | Stored | undefined {
    const row = this.#queries.about.get(oid, at)
    if (row === undefined || row.stored === null) return undefined
    const tid = knownTid(row.tid)
    const size = checkedSize(oid, row, row.stored)
    const known = this.#whole.get(oid, tid)
    if (known !== undefined) return { tid, stored: known }
    if (size > KEPT_BYTES) {
      const { start, bytes } = this.#queries.part.get(off + 1, len, oid, tid) ?? {}
      if (!(bytes instanceof Uint8Array) || !(start instanceof Uint8Array))
        throw new CorruptRecordError(oid, tid, 'its state is not a blob')
      if (!isCompressed(start)) {
        if (into === undefined) return { tid, size, bytes }
        into.set(bytes)
        return { tid, size, bytes: into.subarray(0, bytes.length) }
      }
    }
    const revision = this.#one(oid, tid)
    if (revision === undefined) throw new CorruptRecordError(oid, tid, 'its state is gone')
    return { tid, stored: revision.record }
  }

  #one(oid: Oid, at: Tid): Revision | undefined {
    const row = this.#queries.state.get(oid, at)
    return row && revisionOf(oid, row)
  }

  /** The revisions of neighbours; undefined if they should be looked up one by one. */
  #between(run: readonly Oid[], at: Tid): Map<number, Revision | undefined> | undefined {
    const [first, last] = [run[0], run.at(-1)]
    if (run.length < MIN_RUN || first === undefined || last === undefined) return undefined
    const limit = run.length * ROWS_PER_OID
    if (this.#queries.countBetween.get(first, last, at, limit) === limit) return undefined
    const asked = new Set<number>(run)
    const found = new Map<number, Revision | undefined>()
    for (const row of this.#queries.statesBetween.iterate(first, last, at)) {
      const oid = Number(row.zoid)
      if (asked.has(oid)) found.set(oid, revisionOf(knownOid(oid), row))
    }
    return found
  }
}

/** A record as stored, possibly compressed. */
interface Stored {
  readonly tid: Tid
  readonly stored: Uint8Array
}

/** From `first` on, the oids that are neighbours and ascend. */
function runOf(oids: readonly Oid[], first: number): readonly Oid[] {
  let end = first + 1
  for (; end < oids.length && end - first < MAX_RUN; end++) {
    const gap = (oids[end] ?? 0) - (oids[end - 1] ?? 0)
    if (gap <= 0 || gap > MAX_OID_GAP) break
  }
  return oids.slice(first, end)
}

function revisionOf(oid: Oid, row: StateRow): Revision | undefined {
  const { state, tid } = row
  if (state === null) return undefined
  if (!(state instanceof Uint8Array))
    throw new CorruptRecordError(oid, knownTid(tid), 'its state is not a blob')
  checkedSize(oid, row, BigInt(state.length))
  return { tid: knownTid(tid), record: state }
}

/** The record's length, compared with `stored`, its actual number of bytes. */
function checkedSize(oid: Oid, { tid, size }: Pick<StateRow, 'tid' | 'size'>, stored: bigint): number {
  if (stored === size) return Number(stored)
  throw new CorruptRecordError(oid, knownTid(tid), `it has ${stored} bytes, but its recorded size is ${size}`)
}
