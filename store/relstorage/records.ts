/**
 * Reading a RelStorage database's records.
 *
 * - Neighbouring oids are found by one query, as a block's chunks are neighbours, unless they have a long history.
 * - SQLite reads a whole value whatever part of it is asked for, so the records whose parts were read last are kept.
 */
import { LRUCache } from 'lru-cache'
import { CorruptRecordError } from '../errors.ts'
import type { Oid, Tid } from '../ids.ts'
import type { Revision, RevisionPart } from '../store.ts'
import type { Queries, StateRow } from './queries.ts'

/** Oids this far from one another are neighbours; so many of them, from the least on, are found by one query... */
const MAX_OID_GAP = 2
const MIN_RUN = 4
const MAX_RUN = 512
/** ...unless they have more revisions than this, on average. */
const ROWS_PER_OID = 4

/** Of how many bytes records are kept, of which a part was read: a few blocks as wendelin.core makes them. */
const KEPT_BYTES = 8 << 20

/** A part of a record; it may be put into `into`, of at least `len` bytes. */
export interface Part {
  readonly off: number
  readonly len: number
  readonly into: Uint8Array | undefined
}

export class Records {
  readonly #queries: Queries
  readonly #kept = new LRUCache<Oid, Revision>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ record }) => record.length + 1,
  })

  constructor(queries: Queries) {
    this.#queries = queries
  }

  /** As {@link Store.load}. */
  load(oids: readonly Oid[], at: Tid): (Revision | undefined)[] {
    const revisions: (Revision | undefined)[] = []
    while (revisions.length < oids.length) {
      const run = runOf(oids, revisions.length)
      const found = this.#between(run, at)
      for (const oid of run) revisions.push(found === undefined ? this.#one(oid, at) : found.get(oid))
    }
    return revisions
  }

  /** As {@link Store.loadPart}. */
  loadPart(oid: Oid, at: Tid, { off, len, into }: Part): RevisionPart | undefined {
    const row = this.#queries.about.get(oid, at)
    if (row === undefined || row.stored === null) return undefined
    const tid = row.tid as Tid
    const size = checkedSize(oid, row, row.stored)
    const bytes = this.#cut(oid, tid, size, off, len)
    if (into === undefined)
      return { tid, size, bytes: bytes.length * 2 < size ? Uint8Array.from(bytes) : bytes }
    into.set(bytes)
    return { tid, size, bytes: into.subarray(0, bytes.length) }
  }

  #one(oid: Oid, at: Tid): Revision | undefined {
    const row = this.#queries.state.get(oid, at)
    return row && revisionOf(oid, row)
  }

  /** The revisions of neighbours; undefined where they are to be looked up one by one. */
  #between(run: readonly Oid[], at: Tid): Map<number, Revision | undefined> | undefined {
    const [first, last] = [run[0], run.at(-1)]
    if (run.length < MIN_RUN || first === undefined || last === undefined) return undefined
    const limit = run.length * ROWS_PER_OID
    if (this.#queries.countBetween.get(first, last, at, limit) === limit) return undefined
    const asked = new Set<number>(run)
    const found = new Map<number, Revision | undefined>()
    for (const row of this.#queries.statesBetween.iterate(first, last, at)) {
      const oid = Number(row.zoid)
      if (asked.has(oid)) found.set(oid, revisionOf(oid as Oid, row))
    }
    return found
  }

  #cut(oid: Oid, tid: Tid, size: number, off: number, len: number): Uint8Array {
    if (size <= KEPT_BYTES) return this.#whole(oid, tid).subarray(off, off + len)
    const bytes = this.#queries.part.get(off + 1, len, oid, tid)
    if (!(bytes instanceof Uint8Array)) throw new CorruptRecordError(oid, tid, 'its state is no blob')
    return bytes
  }

  #whole(oid: Oid, tid: Tid): Uint8Array {
    const known = this.#kept.get(oid)
    if (known?.tid === tid) return known.record
    const revision = this.#one(oid, tid)
    if (revision === undefined) throw new CorruptRecordError(oid, tid, 'its state is gone')
    this.#kept.set(oid, revision)
    return revision.record
  }
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
  if (!(state instanceof Uint8Array)) throw new CorruptRecordError(oid, tid as Tid, 'its state is no blob')
  checkedSize(oid, row, BigInt(state.length))
  return { tid: tid as Tid, record: state }
}

/** The record's length, `stored` being how many bytes there are. */
function checkedSize(oid: Oid, { tid, size }: Pick<StateRow, 'tid' | 'size'>, stored: bigint): number {
  if (stored === size) return Number(stored)
  throw new CorruptRecordError(oid, tid as Tid, `it has ${stored} bytes where ${size} are noted`)
}
