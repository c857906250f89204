/**
 * A database of random objects beside a model of it: mappings that refer to others, and data, some of which shares the
 * bytes of other data, all of it created, changed, cut loose and un-created at random.
 */
import { expect } from 'vitest'
import Database from 'better-sqlite3'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import { Ref, type PickleValue } from '../../../core/objects/pickle/value.ts'
import { encodeData, encodeDataHead, encodeRecord, ZDATA } from '../../../core/objects/record.ts'
import { ROOT_OID, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { lastLogEnd, logFilesOf } from '../../../store/sqlite/log.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import type { WritableSqliteStore } from '../../../store/sqlite/sqlite-store.ts'
import type { ObjectChange, RecordSource } from '../../../store/changes.ts'
import { newOids } from '../../tools/new-oids.ts'

export type Random = (end: number) => number

/** Numbers in `[0, end)`, the same for the same seed. */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return end => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end)
  }
}

/** A state of an object; null: it does not exist. */
type State = { readonly record: Uint8Array; readonly refs: readonly Oid[] } | null

interface ModelRevision {
  readonly oid: Oid
  readonly tid: Tid
  readonly state: State
}

export class ObjectModel {
  readonly tids: Tid[] = []
  readonly #revisions = new Map<Oid, ModelRevision[]>()
  readonly #random: Random
  readonly #maxDataBytes: number
  readonly #isTidy: boolean

  /** `isTidy`: only what the root reaches is changed, referred to, or shared, as a program does beside a pack. */
  constructor(random: Random, { maxDataBytes = 120_000, isTidy = false } = {}) {
    this.#random = random
    this.#maxDataBytes = maxDataBytes
    this.#isTidy = isTidy
  }

  /** Commits a random transaction to the store and notes it. */
  async commit(store: WritableSqliteStore): Promise<Tid> {
    const random = this.#random
    const states = new Map<Oid, { source: RecordSource | null; state: State }>()
    const live = this.#usable()
    const nodes = live.filter(oid => (this.#newest(oid)?.state?.refs.length ?? 0) > 0 || oid === ROOT_OID)
    const fresh = await newOids(store, 1 + random(4))
    for (const oid of fresh) states.set(oid, random(3) === 0 ? this.#node([...live, ...fresh]) : this.#data())
    const changed = random(3)
    for (let count = 0; count < changed && live.length > 0; count++) {
      const oid = live[random(live.length)]!
      if (oid === ROOT_OID) continue
      const isNode = nodes.includes(oid)
      const change = random(10)
      if (change === 0) states.set(oid, { source: null, state: null })
      else states.set(oid, isNode ? this.#node([...live, ...fresh]) : this.#data())
    }
    // Some node, often the root, refers to what is new; what it referred to before is often cut loose.
    const parent = nodes.length > 0 && random(2) === 0 ? nodes[random(nodes.length)]! : ROOT_OID
    const before = this.#newest(parent)?.state?.refs ?? []
    states.set(parent, this.#nodeOf([...before.filter(() => random(4) > 0), ...fresh]))
    return await this.#store(store, states)
  }

  /** The revisions that a pack to these moments leaves, as `oid tid`. */
  expected(from: Tid, moments: readonly Tid[]): Set<string> {
    const kept = new Map<Oid, ModelRevision[]>()
    for (const [oid, revisions] of this.#revisions) {
      const seen = new Set(revisions.filter(({ tid }) => tid > from))
      for (const moment of [from, ...moments.filter(moment => moment < from)]) {
        const newest = revisions.findLast(({ tid }) => tid <= moment)
        if (newest !== undefined) seen.add(newest)
      }
      const left = revisions.filter(revision => seen.has(revision))
      while (left[0]?.state === null && left[0].tid <= from) left.shift()
      kept.set(oid, left)
    }
    const reached = new Set<Oid>([ROOT_OID])
    for (const oid of reached) {
      for (const { state } of kept.get(oid) ?? []) for (const ref of state?.refs ?? []) reached.add(ref)
    }
    const result = new Set<string>()
    for (const [oid, revisions] of kept) {
      if (reached.has(oid)) for (const { tid } of revisions) result.add(`${oid} ${tid}`)
    }
    return result
  }

  /** Forgets the revisions that are not among these, as a pack does. */
  forget(kept: ReadonlySet<string>): void {
    for (const [oid, revisions] of this.#revisions) {
      this.#revisions.set(
        oid,
        revisions.filter(({ tid }) => kept.has(`${oid} ${tid}`)),
      )
    }
  }

  /** What can be reached at a moment reads as it was written. */
  async check(store: WritableSqliteStore, at: Tid): Promise<void> {
    const reached = new Set<Oid>([ROOT_OID])
    for (const oid of reached) {
      const expected = this.#revisions.get(oid)?.findLast(({ tid }) => tid <= at)
      for (const ref of expected?.state?.refs ?? []) reached.add(ref)
      const [found] = await store.load([oid], at)
      if (expected === undefined || expected.state === null) expect(found).toBe(undefined)
      else {
        expect(found?.tid).toBe(expected.tid)
        expect(Buffer.compare(found?.record ?? new Uint8Array(0), expected.state.record)).toBe(0)
      }
    }
  }

  /** The sum of the records of these revisions, in bytes. */
  bytes(kept: ReadonlySet<string>): number {
    let bytes = 0
    for (const [oid, revisions] of this.#revisions) {
      for (const { tid, state } of revisions)
        if (kept.has(`${oid} ${tid}`)) bytes += state?.record.length ?? 0
    }
    return bytes
  }

  #newest(oid: Oid): ModelRevision | undefined {
    return this.#revisions.get(oid)?.at(-1)
  }

  #usable(): Oid[] {
    const reached = new Set<Oid>([ROOT_OID])
    if (this.#isTidy)
      for (const oid of reached) for (const ref of this.#newest(oid)?.state?.refs ?? []) reached.add(ref)
    const oids = this.#isTidy ? [...reached] : [...this.#revisions.keys()]
    return oids.filter(oid => (this.#newest(oid)?.state ?? null) !== null)
  }

  #data(): { source: RecordSource; state: State } {
    const random = this.#random
    const shared = random(2) === 0 ? this.#slice() : undefined
    if (shared !== undefined) return shared
    const length = random(3) === 0 ? random(300) : random(this.#maxDataBytes)
    const data = new Uint8Array(length)
    for (let at = 0; at < length; at++) data[at] = 1 + random(255)
    const { head, body, tail } = encodeData(ZDATA, data)
    return {
      source: { head, body: [body], tail },
      state: { record: Buffer.concat([head, body, tail]), refs: [] },
    }
  }

  /** A part of another object's data, or all of it. */
  #slice(): { source: RecordSource; state: State } | undefined {
    const random = this.#random
    const oids = this.#usable()
    const from = this.#newest(oids[random(oids.length)]!)
    if (from === undefined || from.state === null || from.state.refs.length > 0 || from.oid === ROOT_OID)
      return undefined
    const { record } = from.state
    const { head, tail } = encodeDataHead(ZDATA, 1 << 20)
    if (record.length < head.length + tail.length + 10) return undefined
    const inner = record.length - head.length - tail.length
    const off = random(3) === 0 ? 0 : random(inner)
    const len = inner - off
    const frame = encodeDataHead(ZDATA, len)
    const bytes = record.subarray(head.length + off, head.length + off + len)
    return {
      source: { ...frame, body: { oid: from.oid, tid: from.tid, off: head.length + off, len } },
      state: { record: Buffer.concat([frame.head, bytes, frame.tail]), refs: [] },
    }
  }

  #node(candidates: readonly Oid[]): { source: RecordSource; state: State } {
    const count = 1 + this.#random(4)
    return this.#nodeOf(Array.from({ length: count }, () => candidates[this.#random(candidates.length)]!))
  }

  #nodeOf(refs: readonly Oid[]): { source: RecordSource; state: State } {
    const entries = refs.map((oid, index): [PickleValue, PickleValue] => [
      `${index}`,
      new Ref(oid, this.#isData(oid) ? ZDATA : PersistentMapping.CLASS_NAME),
    ])
    const state = new Map<PickleValue, PickleValue>([['data', new Map(entries)]])
    const record = encodeRecord(PersistentMapping.CLASS_NAME, state)
    return { source: { head: record }, state: { record, refs } }
  }

  /** Classes never change; an object of unknown class counts as one that has references. */
  #isData(oid: Oid): boolean {
    const states = this.#revisions.get(oid) ?? []
    return oid !== ROOT_OID && states.length > 0 && states.every(({ state }) => state?.refs.length === 0)
  }

  async #store(
    store: WritableSqliteStore,
    states: ReadonlyMap<Oid, { source: RecordSource | null; state: State }>,
  ): Promise<Tid> {
    const changes = [...states].map(([oid, { source }]): ObjectChange => ({
      oid,
      base: this.#newest(oid)?.tid ?? TID_NONE,
      record: source,
    }))
    const tid = await store.commit({ changes })
    this.tids.push(tid)
    for (const [oid, { state }] of states) {
      const revisions = this.#revisions.get(oid) ?? []
      revisions.push({ oid, tid, state })
      this.#revisions.set(oid, revisions)
    }
    return tid
  }
}

/** Every revision in a database, as `oid tid`. */
export function storedRevisions(path: string): Set<string> {
  const db = new Database(path, { readonly: true })
  try {
    const rows = db.prepare('SELECT oid, tid FROM revision').safeIntegers().raw().all() as [bigint, bigint][]
    return new Set(rows.map(([oid, tid]) => `${oid} ${tid}`))
  } finally {
    db.close()
  }
}

/** What holds between the tables, whatever was packed. */
export function checkTables(path: string): void {
  const db = new Database(path, { readonly: true })
  try {
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    const wrongSums = db
      .prepare(
        `SELECT count(*) FROM txn LEFT JOIN (
           SELECT tid, count(*) AS objects, sum(ifnull(length(head), 0) + len + ifnull(length(tail), 0)) AS bytes
           FROM revision GROUP BY tid
         ) AS kept USING (tid)
         WHERE ifnull(kept.objects, 0) <> txn.objects OR ifnull(kept.bytes, 0) <> txn.bytes`,
      )
      .pluck()
      .get()
    expect(wrongSums, 'transactions that count other revisions than there are').toBe(0)
    const homeless = db
      .prepare('SELECT count(*) FROM revision WHERE tid NOT IN (SELECT tid FROM txn)')
      .pluck()
      .get()
    expect(homeless, 'revisions of no transaction').toBe(0)
    expect(unusedUnits(db), 'units of the log that take room, and nothing points to').toEqual([])
  } finally {
    db.close()
  }
}

function unusedUnits(db: Database.Database): readonly number[] {
  const rows = db.prepare('SELECT pos, len FROM revision WHERE pos IS NOT NULL').raw().all() as [
    number,
    number,
  ][]
  const used = new Set<number>()
  for (const [pos, len] of rows)
    for (let unit = Math.floor(pos / UNIT_BYTES); unit * UNIT_BYTES < pos + len; unit++) used.add(unit)
  const files = logFilesOf(db, 'read')
  const unused: number[] = []
  for (let unit = 0; unit * UNIT_BYTES < lastLogEnd(db); unit++)
    if (!used.has(unit) && files.isAllocated(unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES)) unused.push(unit)
  files.close()
  return unused
}
