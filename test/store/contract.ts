/**
 * store/store.ts as tests. A store that can be written runs {@link storeContract}; one that only reads what somebody
 * else wrote runs {@link readableStoreContract} with what it should hold.
 */
import { assert, asyncProperty, integer } from 'fast-check'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { ConflictError, CorruptRecordError, ObjectNotFoundError, StoreError } from '../../store/errors.ts'
import { oid as toOid, TID_MAX, TID_NONE, tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import type { NewTransaction, ObjectChange, RecordSource, Store, WritableStore } from '../../store/store.ts'
import {
  expectBytes,
  expectChanges,
  expectParts,
  expectStates,
  expectTransactions,
  stateAt,
  type History,
  type WrittenTransaction,
} from './history.ts'
import { newOids } from '../tools/new-oids.ts'

/** A database for one test. */
export interface TestDatabase {
  /** Opens it for writing; the first time, it is empty. */
  open(): Promise<WritableStore>
  /** Opens it for reading, beside the writer. */
  openReader(): Promise<Store>
  remove(): Promise<void>
}

/** The read half: `store` holds `history` and nothing else. It is opened once, and closed by the last test. */
export function readableStoreContract(
  name: string,
  open: () => Promise<{ readonly store: Store; readonly history: History }>,
): void {
  describe(`${name}, read`, () => {
    let store: Store
    let history: History
    beforeEach(async () => {
      ;({ store, history } = await open())
    })
    afterEach(async () => await store.close())

    test('lastTid is the last transaction', async () => {
      expect(await store.lastTid()).toBe(history.at(-1)?.tid ?? TID_NONE)
    })

    test('every object is at every moment what the newest transaction before it made of it', async () => {
      const step = Math.max(1, Math.floor(history.length / 30))
      const tids = history.filter((_, index) => index % step === 0).map(({ tid }) => tid)
      await expectStates(store, history, [...tids, TID_MAX])
    })

    test('a part of a record is the record, cut at its end', async () => {
      const newest = [...stateAt(history, TID_MAX)].filter((_, index) => index % 7 === 0).slice(0, 20)
      for (const [oid, { record }] of newest) await expectParts(store, oid, TID_MAX, record)
    })

    test('slices of many records are read in one call, in any order, each into its memory', async () => {
      const parts = history.flatMap(({ tid, records }) =>
        [...records].flatMap(([oid, record]) => {
          if (record === null) return []
          const [off, middle] = [record.length >> 2, record.length >> 1]
          return [
            { oid, tid, off, end: middle, record },
            { oid, tid, off: middle, end: record.length, record },
            { oid, tid, off: 0, end: off, record },
          ]
        }),
      )
      const picked = parts.filter((_, index) => index % Math.max(1, Math.floor(parts.length / 200)) === 0)
      const memory = new Uint8Array(picked.reduce((sum, { off, end }) => sum + end - off, 0))
      let at = 0
      const reads = picked.map(({ oid, tid, off, end }) => {
        const into = memory.subarray(at, (at += end - off))
        return { oid, tid, off, into }
      })
      await store.readSlices(reads.toReversed())
      for (const [i, { oid, off, end, record }] of picked.entries())
        expectBytes(reads[i]?.into, record.subarray(off, end), `bytes [${off}, ${end}) of ${oid}`)
      await store.readSlices([])
    })

    test('a slice of a revision that does not exist, or beyond its end, is refused', async () => {
      const [oid, { record, tid }] = [...stateAt(history, TID_MAX)][0] ?? expect.fail('it has no objects')
      const into = new Uint8Array(1)
      const missing = { oid: toOid(Number.MAX_SAFE_INTEGER - 5), tid, off: 0, into }
      await expect(store.readSlices([missing])).rejects.toThrow(ObjectNotFoundError)
      const never = { oid, tid: toTid(tid + 1n), off: 0, into }
      await expect(store.readSlices([never])).rejects.toThrow(ObjectNotFoundError)
      const beyond = { oid, tid, off: record.length, into }
      await expect(store.readSlices([beyond])).rejects.toThrow(CorruptRecordError)
    })

    test('an object that never was is undefined, alone and among others', async () => {
      const known = [...stateAt(history, TID_MAX).keys()].slice(0, 3)
      const missing = toOid(Number.MAX_SAFE_INTEGER - 5)
      const loaded = await store.load([missing, ...known, missing], TID_MAX)
      expect(loaded.map(revision => revision === undefined)).toEqual([true, ...known.map(() => false), true])
      expect(await store.loadPart(missing, TID_MAX, 0, 10)).toBeUndefined()
      expect(await store.revisions(missing)).toEqual([])
      expect(await store.load([], TID_MAX)).toEqual([])
    })

    test('transactions are listed by range, both ways', async () => await expectTransactions(store, history))

    test('changes and revisions are listed by range', async () => await expectChanges(store, history))

    test('after close everything rejects', async () => {
      await store.close()
      await expect(store.load([], TID_MAX)).rejects.toThrow(StoreError)
      await expect(store.loadPart(toOid(0), TID_MAX, 0, 1)).rejects.toThrow(StoreError)
      const read = { oid: toOid(0), tid: TID_MAX, off: 0, into: new Uint8Array(1) }
      await expect(store.readSlices([read])).rejects.toThrow(StoreError)
      await expect(store.lastTid()).rejects.toThrow(StoreError)
      await expect(store.revisions(toOid(0))).rejects.toThrow(StoreError)
      await expect(store.transactions()[Symbol.asyncIterator]().next()).rejects.toThrow(StoreError)
      await expect(store.changes(TID_NONE)[Symbol.asyncIterator]().next()).rejects.toThrow(StoreError)
      await store.close()
    })
  })
}

/** All of the contract; `make` gives a new database each time. */
export function storeContract(name: string, make: () => Promise<TestDatabase>): void {
  readableStoreContract(name, async () => {
    const database = await make()
    onTestFinished(async () => await database.remove())
    const writer = await database.open()
    const history = await writeRandomHistory(writer, 1)
    await writer.close()
    return { store: await database.openReader(), history }
  })

  describe(`${name}, written`, () => {
    let database: TestDatabase
    let store: WritableStore
    beforeEach(async () => {
      database = await make()
      store = await database.open()
    })
    afterEach(async () => {
      await store.close()
      await database.remove()
    })

    const add = async (record: RecordSource | Uint8Array): Promise<{ oid: Oid; tid: Tid }> => {
      const oid = (await store.allocateOids(1)).first
      const source = record instanceof Uint8Array ? { head: record } : record
      return { oid, tid: await store.commit({ changes: [{ oid, base: TID_NONE, record: source }] }) }
    }
    const loadOne = async (oid: Oid, at: Tid = TID_MAX): Promise<Uint8Array | undefined> =>
      (await store.load([oid], at))[0]?.record

    test('random transactions read back as a model of them says, before and after it is opened again', async () => {
      await assert(
        asyncProperty(integer(), async seed => {
          const other = await make()
          try {
            const written = await other.open()
            const history = await writeRandomHistory(written, seed)
            await expectAll(written, history)
            await written.close()
            const again = await other.open()
            await expectAll(again, history)
            await again.close()
          } finally {
            await other.remove()
          }
        }),
        { numRuns: 4 },
      )
    })

    test('a new store is empty', async () => {
      expect(await store.lastTid()).toBe(TID_NONE)
      expect(await store.load([toOid(0)], TID_MAX)).toEqual([undefined])
      expect(await store.commit({ changes: [] })).toBe(TID_NONE)
    })

    test('ranges of oids ascend, do not overlap, and none that was used is allocated after a reopening', async () => {
      const ranges = await Promise.all([3, 1, 4000, 1].map(async count => await store.allocateOids(count)))
      let end = 0
      for (const [i, { first, count }] of ranges.entries()) {
        expect(first).toBeGreaterThanOrEqual(Math.max(end, 1))
        expect(count).toBeGreaterThanOrEqual([3, 1, 4000, 1][i] ?? Infinity)
        end = first + count
      }
      const far = toOid(end + 1000)
      await store.commit({ changes: [{ oid: far, base: TID_NONE, record: { head: Uint8Array.of(2) } }] })
      expect((await store.allocateOids(1)).first).toBeGreaterThan(far)
      await store.close()
      await expect(store.allocateOids(1)).rejects.toThrow(StoreError)
      store = await database.open()
      expect((await store.allocateOids(1)).first).toBeGreaterThan(far)
    })

    test('tids increase, whatever the clock says', async () => {
      const tids: Tid[] = []
      for (let index = 0; index < 20; index++) tids.push((await add(Uint8Array.of(index))).tid)
      expect(tids).toEqual([...new Set(tids)].toSorted((a, b) => (a < b ? -1 : 1)))
      const future = toTid((tids.at(-1) ?? TID_NONE) + (1n << 50n))
      const changes = [
        { oid: (await store.allocateOids(1)).first, base: TID_NONE, record: { head: Uint8Array.of(1) } },
      ]
      expect(await store.commit({ changes, tid: future })).toBe(future)
      expect((await add(Uint8Array.of(2))).tid).toBe(future + 1n)
    })

    test('a given tid that is not later than the last one is refused', async () => {
      const { tid } = await add(Uint8Array.of(1))
      const changes = [
        { oid: (await store.allocateOids(1)).first, base: TID_NONE, record: { head: Uint8Array.of(1) } },
      ]
      await expect(store.commit({ changes, tid })).rejects.toThrow(StoreError)
      expect(await store.lastTid()).toBe(tid)
    })

    test('a change that was made from an older state is a conflict, and nothing of its transaction is stored', async () => {
      const { oid, tid } = await add(Uint8Array.of(1))
      const newer = await store.commit({ changes: [{ oid, base: tid, record: { head: Uint8Array.of(2) } }] })
      const bystander = (await store.allocateOids(1)).first
      const late: NewTransaction = {
        changes: [
          { oid: bystander, base: TID_NONE, record: { head: new Uint8Array(100_000) } },
          { oid, base: tid, record: { head: Uint8Array.of(3) } },
        ],
      }
      const error = await store.commit(late).catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(ConflictError)
      expect(error).toMatchObject({ oid, base: tid, current: newer })
      expect(await loadOne(bystander)).toBeUndefined()
      expectBytes(await loadOne(oid), Uint8Array.of(2), 'the record')
      expect(await store.lastTid()).toBe(newer)
      expect(
        await store.commit({ changes: [{ oid, base: newer, record: { head: Uint8Array.of(4) } }] }),
      ).toBeGreaterThan(newer)
    })

    test('an object that is there already is a conflict for one that wants to create it', async () => {
      const { oid } = await add(Uint8Array.of(1))
      const changes = [{ oid, base: TID_NONE, record: { head: Uint8Array.of(2) } }]
      await expect(store.commit({ changes })).rejects.toThrow(ConflictError)
    })

    test('an un-created object is gone from then on, stays in the past, and can be made again', async () => {
      const { oid, tid } = await add(Uint8Array.of(1))
      const gone = await store.commit({ changes: [{ oid, base: tid, record: null }] })
      expect(await loadOne(oid)).toBeUndefined()
      expect(await store.loadPart(oid, TID_MAX, 0, 1)).toBeUndefined()
      expectBytes(await loadOne(oid, tid), Uint8Array.of(1), 'the record')
      const back = await store.commit({ changes: [{ oid, base: gone, record: { head: Uint8Array.of(3) } }] })
      expectBytes(await loadOne(oid), Uint8Array.of(3), 'the record')
      expect(await loadOne(oid, gone)).toBeUndefined()
      expect(await store.revisions(oid)).toEqual([back, gone, tid])
    })

    test('an empty record is a record', async () => {
      const { oid, tid } = await add(new Uint8Array(0))
      const [revision] = await store.load([oid], TID_MAX)
      expect(revision?.tid).toBe(tid)
      expect(revision?.record.length).toBe(0)
      const part = await store.loadPart(oid, TID_MAX, 0, 5)
      expect(part).toMatchObject({ tid, size: 0 })
      expect(part?.bytes.length).toBe(0)
    })

    test('records of 16 MiB, whichever part of them is long, read back whole and in parts', async () => {
      const long = shared(randomBytes(16 << 20, 7))
      const short = Uint8Array.of(1, 2, 3)
      for (const source of [
        { head: long },
        { head: short, body: [long], tail: short },
        { head: short, tail: long },
        { head: short, body: [long.subarray(0, 5_000_001), long.subarray(5_000_001)] },
      ]) {
        const { oid } = await add(source)
        const expected = joined(source)
        expectBytes(await loadOne(oid), expected, 'the record')
        await expectParts(store, oid, TID_MAX, expected, [3, 4096, 65_536, 5_000_004, (16 << 20) + 3])
      }
    })

    test('100,000 objects in one transaction are there, in order and out of it', async () => {
      const count = 100_000
      const first = (await store.allocateOids(count)).first
      const record = (index: number): Uint8Array => Buffer.from(`object ${index}`)
      const oids = Array.from({ length: count }, (_, index) => toOid(first + index))
      const changes = oids.map((oid, index) => ({ oid, base: TID_NONE, record: { head: record(index) } }))
      const tid = await store.commit({ changes })
      const loaded = await store.load(oids, TID_MAX)
      expect(
        loaded.every((revision, index) => revision?.tid === tid && same(revision.record, record(index))),
      ).toBe(true)
      const scattered = Array.from({ length: 5000 }, (_, index) => (index * 7919) % count)
      const some = await store.load(
        scattered.map(index => toOid(first + index)),
        tid,
      )
      expect(scattered.every((index, at) => same(some[at]?.record, record(index)))).toBe(true)
      const seen: Oid[] = []
      for await (const set of store.changes(TID_NONE)) seen.push(...set.oids)
      expect(seen.toSorted((a, b) => a - b)).toEqual(oids)
    })

    test('an object with a long history is found at once, alone and among its neighbours', async () => {
      const first = (await store.allocateOids(8)).first
      const oids = Array.from({ length: 8 }, (_, index) => toOid(first + index))
      let base = await store.commit({
        changes: oids.map(oid => ({ oid, base: TID_NONE, record: { head: Uint8Array.of(0) } })),
      })
      const start = base
      const busy = toOid(first + 3)
      for (let index = 0; index < 300; index++) {
        const head = Uint8Array.of(1, index & 255)
        base = await store.commit({ changes: [{ oid: busy, base, record: { head } }] })
      }
      const newest = await store.load(oids, TID_MAX)
      expect(newest.map(revision => revision?.tid)).toEqual(oids.map(oid => (oid === busy ? base : start)))
      const oldest = await store.load(oids, start)
      expect(oldest.map(revision => revision?.record[0])).toEqual(oids.map(() => 0))
    })

    test('a slice of a record, and a slice of that, hold the bytes they were cut from', async () => {
      const data = randomBytes(300_000, 3)
      const source = {
        head: data.subarray(0, 7),
        body: [shared(data.subarray(7, 299_995))],
        tail: data.subarray(299_995),
      }
      const whole = await add(source)
      for (const [off, len] of [
        [7, 299_988],
        [7, 4096],
        [4103, 4096],
        [100_000, 150_000],
        [0, 300_000],
        [3, 50_000],
        [250_000, 50_000],
        [299_990, 10],
        [50, 0],
      ] as const) {
        const head = Uint8Array.of(9, 9)
        const tail = Uint8Array.of(8)
        const slice = await add({ head, body: { oid: whole.oid, tid: whole.tid, off, len }, tail })
        const expected = Buffer.concat([head, data.subarray(off, off + len), tail])
        expectBytes(await loadOne(slice.oid), expected, `slice [${off}, ${off + len})`)
        await expectParts(store, slice.oid, TID_MAX, expected)
        const inner = { oid: slice.oid, tid: slice.tid, off: 1, len: Math.max(0, expected.length - 2) }
        const again = await add({ head: new Uint8Array(0), body: inner })
        expectBytes(await loadOne(again.oid), expected.subarray(1, 1 + inner.len), 'slice of a slice')
      }
    })

    test('a slice outlives later states of what it was cut from', async () => {
      const data = randomBytes(100_000, 4)
      const { oid, tid } = await add({ head: new Uint8Array(0), body: [data] })
      await store.commit({ changes: [{ oid, base: tid, record: null }] })
      const slice = await add({ head: new Uint8Array(0), body: { oid, tid, off: 10, len: 90_000 } })
      expectBytes(await loadOne(slice.oid), data.subarray(10, 90_010), 'the slice')
    })

    test('a slice of what is not there is refused', async () => {
      const { oid, tid } = await add(Uint8Array.of(1, 2, 3))
      const missing = { oid: toOid(oid + 100), tid, off: 0, len: 1 }
      await expect(add({ head: Uint8Array.of(1), body: missing })).rejects.toThrow(ObjectNotFoundError)
      await expect(add({ head: Uint8Array.of(1), body: { oid, tid, off: 2, len: 2 } })).rejects.toThrow(
        StoreError,
      )
      await expect(
        add({ head: Uint8Array.of(1), body: { oid, tid: toTid(tid + 1n), off: 0, len: 1 } }),
      ).rejects.toThrow(ObjectNotFoundError)
    })

    test('commits that are queued together run in their order', async () => {
      const oids = await newOids(store, 50)
      const tids = await Promise.all(
        oids.map(oid =>
          store.commit({ changes: [{ oid, base: TID_NONE, record: { head: Uint8Array.of(1) } }] }),
        ),
      )
      expect(tids).toEqual(tids.toSorted((a, b) => (a < b ? -1 : 1)))
      expect(await store.lastTid()).toBe(tids.at(-1))
    })

    test('a commit of nothing waits for those before it and is no transaction', async () => {
      const { tid } = await add(Uint8Array.of(1))
      const [oid = toOid(0)] = await newOids(store, 1)
      const record = { head: new Uint8Array(1_000_000) }
      const pending = store.commit({ changes: [{ oid, base: TID_NONE, record }] })
      const nothing = await store.commit({ changes: [] })
      expect(nothing).toBe(await pending)
      expect(nothing).toBeGreaterThan(tid)
      expect(await store.lastTid()).toBe(nothing)
    })

    test('reads see whole transactions while others are committed', async () => {
      const first = (await store.allocateOids(40)).first
      const oids = Array.from({ length: 40 }, (_, index) => toOid(first + index))
      const write = async (base: Tid, value: number): Promise<Tid> =>
        await store.commit({
          changes: oids.map(oid => ({ oid, base, record: { head: new Uint8Array(3000).fill(value) } })),
        })
      let base = await write(TID_NONE, 0)
      const reader = await database.openReader()
      const progress = { done: false }
      const read = async (from: Store): Promise<number> => {
        let rounds = 0
        while (!progress.done) {
          const states = await from.load(oids, await from.lastTid())
          expect(new Set(states.map(revision => revision?.record[0])).size).toBe(1)
          expect(new Set(states.map(revision => revision?.tid)).size).toBe(1)
          rounds++
          await new Promise(resolve => setImmediate(resolve))
        }
        return rounds
      }
      const readers = [read(store), read(reader)]
      for (let value = 1; value <= 30; value++) base = await write(base, value)
      progress.done = true
      for (const rounds of await Promise.all(readers)) expect(rounds).toBeGreaterThan(1)
      expect(await reader.lastTid()).toBe(base)
      await reader.close()
    })

    test('close waits for the commits under way, and what comes later is rejected', async () => {
      const [oid = toOid(0)] = await newOids(store, 1)
      const record = { head: randomBytes(5_000_000, 5) }
      const pending = store.commit({ changes: [{ oid, base: TID_NONE, record }] })
      await store.close()
      const tid = await pending
      await expect(store.commit({ changes: [] })).rejects.toThrow(StoreError)
      store = await database.open()
      expect(await store.lastTid()).toBe(tid)
      expectBytes(await loadOne(oid), randomBytes(5_000_000, 5), 'what was pending')
    })
  })
}

async function expectAll(store: Store, history: History): Promise<void> {
  await expectStates(
    store,
    history,
    history.map(({ tid }) => tid),
  )
  await expectTransactions(store, history)
  await expectChanges(store, history)
}

/** A generator of numbers in [0, 1) that gives the same for the same seed. */
function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e37_79b9) | 0
    let hash = Math.imul(state ^ (state >>> 16), 0x85eb_ca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35)
    return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
  }
}

function randomBytes(length: number, seed: number): Uint8Array {
  const next = random(seed)
  const words = Uint32Array.from({ length: Math.ceil(length / 4) }, () => next() * 2 ** 32)
  return new Uint8Array(words.buffer, 0, length)
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length))
  copy.set(bytes)
  return copy
}

const same = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && Buffer.compare(a, b) === 0

function joined({
  head,
  body,
  tail,
}: {
  head: Uint8Array
  body?: readonly Uint8Array[]
  tail?: Uint8Array
}): Uint8Array {
  return Buffer.concat([head, ...(body ?? []), tail ?? new Uint8Array(0)])
}

/** Commits some thirty transactions of all kinds of changes, and writes down what they were. */
async function writeRandomHistory(store: WritableStore, seed: number): Promise<History> {
  const next = random(seed)
  const below = (end: number): number => Math.floor(next() * end)
  const history: WrittenTransaction[] = []
  const newest = new Map<Oid, { tid: Tid; record: Uint8Array | null }>()

  const source = (): { source: RecordSource; record: Uint8Array } => {
    const bytes = (length: number): Uint8Array => randomBytes(length, below(2 ** 31))
    const length = [0, 10, 300, 2000, 4096, 60_000, 200_000][below(7)] ?? 0
    const head = bytes(below(8) === 0 ? 3000 : below(60))
    const tail = bytes(below(8) === 0 ? 2500 : below(4))
    const alive = [...newest].filter(([, { record }]) => record !== null)
    const [from, state] = alive[below(alive.length)] ?? []
    if (from !== undefined && state?.record != null && below(3) === 0) {
      const off = below(state.record.length + 1)
      const len = below(state.record.length - off + 1)
      const slice = state.record.subarray(off, off + len)
      return {
        source: { head, body: { oid: from, tid: state.tid, off, len }, tail },
        record: Buffer.concat([head, slice, tail]),
      }
    }
    if (below(3) === 0) return { source: { head }, record: head }
    const body = [bytes(length), shared(bytes(below(5000)))]
    return { source: { head, body, tail }, record: Buffer.concat([head, ...body, tail]) }
  }

  for (let count = 0; count < 30; count++) {
    const records = new Map<Oid, Uint8Array | null>()
    const changes: ObjectChange[] = []
    const old = [...newest.keys()].filter(() => below(4) === 0)
    const fresh = await newOids(store, below(count === 0 ? 20 : 6))
    for (const oid of [...fresh, ...old]) {
      const base = newest.get(oid)?.tid ?? TID_NONE
      if (base !== TID_NONE && below(6) === 0) {
        records.set(oid, null)
        changes.push({ oid, base, record: null })
      } else {
        const made = source()
        records.set(oid, made.record)
        changes.push({ oid, base, record: made.source })
      }
    }
    if (changes.length === 0) continue
    const user = ['', 'ada'][below(2)] ?? ''
    const description = ['', 'a few words', 'Ünïcode \u{1f4be}'][below(3)] ?? ''
    const extension = randomBytes(below(30), below(1000))
    const tid = await store.commit({ changes, user, description, extension })
    history.push({ tid, user, description, extension, records })
    for (const [oid, record] of records) newest.set(oid, { tid, record })
  }
  return history
}
