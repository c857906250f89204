/** A store's content written down beside it, and the comparison of the two. */
import { extraRowBytes } from './contract/counted.ts'
import { expect } from 'vitest'
import { formatOid, formatTid, TID_MAX, TID_NONE, tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'

/** A transaction as it was committed; a record is null from where its object no longer exists. */
export interface WrittenTransaction {
  readonly tid: Tid
  readonly user: string
  readonly description: string
  readonly extension: Uint8Array
  readonly records: ReadonlyMap<Oid, Uint8Array | null>
}

/** All that a store should hold, oldest first. */
export type History = readonly WrittenTransaction[]

interface Expected {
  readonly tid: Tid
  readonly record: Uint8Array
}

/** What each object is at `at`. */
export function stateAt(history: History, at: Tid): Map<Oid, Expected> {
  const state = new Map<Oid, Expected>()
  for (const { tid, records } of history) {
    if (tid > at) break
    for (const [oid, record] of records) {
      if (record === null) state.delete(oid)
      else state.set(oid, { tid, record })
    }
  }
  return state
}

const oidsOf = (history: History): Oid[] =>
  [...new Set(history.flatMap(({ records }) => [...records.keys()]))].sort((a, b) => a - b)

/** Compares bytes without a diff of megabytes when they differ. */
export function expectBytes(actual: Uint8Array | undefined, expected: Uint8Array, what: string): void {
  const same = actual !== undefined && Buffer.compare(actual, expected) === 0
  expect(same ? 'the same bytes' : `${actual?.length ?? 'no'} other bytes`, what).toBe('the same bytes')
}

/** All objects, as they are before, at and after each of `tids`, in whatever order they are asked. */
export async function expectStates(store: Store, history: History, tids: readonly Tid[]): Promise<void> {
  const oids = oidsOf(history)
  for (const at of tids) {
    for (const moment of [toTid(at - 1n), at]) {
      const state = stateAt(history, moment)
      for (const asked of [oids, oids.toReversed(), oids.filter((_, index) => index % 3 === 0)]) {
        const loaded = await store.load(asked, moment)
        expect(loaded.length).toBe(asked.length)
        asked.forEach((oid, index) => {
          const expected = state.get(oid)
          const what = `${formatOid(oid)} at ${formatTid(moment)}`
          expect(loaded[index]?.tid, what).toBe(expected?.tid)
          if (expected !== undefined) expectBytes(loaded[index]?.record, expected.record, what)
        })
      }
    }
  }
}

/** Parts of a record at and around `edges`, the record's own ends, and beyond them. */
export async function expectParts(
  store: Store,
  oid: Oid,
  at: Tid,
  record: Uint8Array,
  edges: readonly number[] = [],
): Promise<void> {
  const size = record.length
  const offs = [
    0,
    1,
    size >> 1,
    size - 1,
    size,
    size + 10,
    ...edges.flatMap(edge => [edge - 1, edge, edge + 1]),
  ]
  const lens = [0, 1, 4096, size * 2]
  for (const off of new Set(offs.filter(value => value >= 0))) {
    for (const len of new Set(lens)) {
      const part = await store.loadPart(oid, at, off, len)
      const what = `bytes [${off}, ${off + len}) of ${formatOid(oid)}`
      expect(part?.size, what).toBe(size)
      const expected = record.subarray(Math.min(off, size), Math.min(off + len, size))
      expectBytes(part?.bytes, expected, what)
      const inMemory = await store.loadPart(oid, at, off, len, new Uint8Array(len + 1).fill(0xff))
      expectBytes(inMemory?.bytes, expected, `${what} in memory given`)
    }
  }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** The lists of transactions, both ways, of all ranges between a few of them. */
export async function expectTransactions(store: Store, history: History): Promise<void> {
  const extra = extraRowBytes(store.capabilities)
  const infos = history.map(({ tid, user, description, extension, records }) => ({
    tid,
    user,
    description,
    extension: Buffer.from(extension).toString('hex'),
    objects: records.size,
    bytes: [...records.values()].reduce(
      (sum, record) => sum + (record === null ? 0 : record.length + extra),
      0,
    ),
  }))
  const read = async (range?: Parameters<Store['transactions']>[0]): Promise<typeof infos> =>
    (await collect(store.transactions(range))).map(info => ({
      ...info,
      extension: Buffer.from(info.extension).toString('hex'),
    }))
  expect(await read()).toEqual(infos)
  expect(await read({ reverse: true })).toEqual(infos.toReversed())
  for (const [after, upTo] of someRanges(history)) {
    const within = infos.filter(({ tid }) => tid > after && tid <= upTo)
    expect(await read({ after, upTo })).toEqual(within)
    expect(await read({ after, upTo, reverse: true })).toEqual(within.toReversed())
    expect(await read({ after, upTo, limit: 2 })).toEqual(within.slice(0, 2))
    expect(await read({ after, upTo, limit: 1, reverse: true })).toEqual(within.slice(-1))
  }
}

/** Which objects changed when, by transaction and by object. */
export async function expectChanges(store: Store, history: History): Promise<void> {
  for (const [after, upTo] of someRanges(history)) {
    const found = new Map<Tid, Oid[]>()
    let last: Tid = after
    for await (const { tid, oids } of store.changes(after, upTo)) {
      expect(tid >= last, 'changes come oldest first').toBe(true)
      last = tid
      found.set(tid, [...(found.get(tid) ?? []), ...oids])
    }
    const within = history.filter(({ tid }) => tid > after && tid <= upTo)
    expect([...found.keys()]).toEqual(within.filter(({ records }) => records.size > 0).map(({ tid }) => tid))
    for (const { tid, records } of within) {
      expect((found.get(tid) ?? []).toSorted((a, b) => a - b)).toEqual(
        [...records.keys()].toSorted((a, b) => a - b),
      )
    }
    for (const oid of oidsOf(history).slice(0, 50)) {
      const tids = within.filter(({ records }) => records.has(oid)).map(({ tid }) => tid)
      expect(await store.revisions(oid, { after, upTo })).toEqual(tids.toReversed())
    }
  }
}

function someRanges(history: History): (readonly [Tid, Tid])[] {
  const tids = history.map(({ tid }) => tid)
  const pick = [0, 1, tids.length >> 1, tids.length - 1].flatMap(index => tids[index] ?? [])
  const edges: Tid[] = [TID_NONE, ...new Set(pick.flatMap(tid => [toTid(tid - 1n), tid])), TID_MAX]
  return edges.flatMap(after => edges.filter(upTo => upTo >= after).map(upTo => [after, upTo] as const))
}

/** Everything that a store reports about its history. */
export async function expectAll(store: Store, history: History): Promise<void> {
  await expectStates(
    store,
    history,
    history.map(({ tid }) => tid),
  )
  await expectTransactions(store, history)
  await expectChanges(store, history)
}
