/** Streams of histories: what is received is what was sent, or it is refused. Longer than 400 lines: one set of helpers makes all histories. */
/* oxlint-disable max-lines -- see above */
import { describe, expect, onTestFinished, test } from 'vitest'
import { StreamEncoder } from '../../../core/stream/encode.ts'
import type { StreamHeader } from '../../../core/stream/format.ts'
import { measureHistory, sendHistory, type SendRange } from '../../../core/stream/send.ts'
import { openStream, receiveHistory, type ReceiveResult } from '../../../core/stream/receive.ts'
import { oid as toOid, tid as toTid, TID_MAX, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { KEEP_ALL, type Retention } from '../../../store/retention.ts'
import { StoreError } from '../../../store/errors.ts'
import type { KeptMoments } from '../../../store/kept-moments.ts'
import { MemoryDatabase, MemoryReader, MemoryStore } from '../../../store/memory/memory-store.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { writeRandomHistory } from '../../store/contract/random-history.ts'
import { expectAll, expectStates, type History } from '../../store/history.ts'

const LONG = 400_000

async function made(seed: number): Promise<{ readonly database: MemoryDatabase; readonly history: History }> {
  const database = new MemoryDatabase()
  const history = await writing(database, store => writeRandomHistory(store, seed))
  return { database, history }
}

async function writing<T>(database: MemoryDatabase, use: (store: WritableStore) => Promise<T>): Promise<T> {
  const store = new MemoryStore(database)
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

function reader(database: MemoryDatabase): Store {
  const store = new MemoryReader(database)
  onTestFinished(() => store.close())
  return store
}

async function sent(database: MemoryDatabase, range: SendRange = {}): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of sendHistory(reader(database), range)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function* pieces(stream: Buffer, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < stream.length; at += length) yield stream.subarray(at, at + length)
}

const received = (database: MemoryDatabase, stream: Buffer, length = 1 << 16): Promise<ReceiveResult> =>
  writing(database, async target => receiveHistory(target, await openStream(pieces(stream, length))))

const add = (database: MemoryDatabase, bytes = 10, tid?: Tid): Promise<Tid> =>
  writing(database, async store => {
    const { first } = await store.allocateOids(1)
    const record = { head: Uint8Array.of(1), body: [Buffer.alloc(bytes, 7)] }
    return await store.commit({ changes: [{ oid: first, base: TID_NONE, record }], ...(tid && { tid }) })
  })

const tidsOf = (history: History): Tid[] => history.map(({ tid }) => tid)

describe('a stream', () => {
  test.each([1, 2])('gives the whole history, in pieces of any length (seed %i)', async seed => {
    const { database, history } = await made(seed)
    const stream = await sent(database)
    for (const length of [1 << 20, 4096, 777]) {
      const target = new MemoryDatabase()
      const result = await received(target, stream, length)
      expect(result.transactions).toBe(history.length)
      expect(result.upTo).toBe(history.at(-1)?.tid)
      await expectAll(reader(target), history)
    }
  })

  test('of a range continues at the end of the target, also repeatedly', async () => {
    const { database, history } = await made(5)
    const tids = tidsOf(history)
    const [third, middle] = [tids[3]!, tids[15]!]
    const parts = [
      await sent(database, { to: third }),
      await sent(database, { from: third, to: middle }),
      await sent(database, { from: middle }),
    ]
    const one = new MemoryDatabase()
    for (const part of parts) await received(one, part)
    await expectAll(reader(one), history)
    const other = new MemoryDatabase()
    const { transactions } = await received(other, Buffer.concat(parts))
    expect(transactions).toBe(history.length)
    await expectAll(reader(other), history)
  })

  test('keeps its history for ever in the copy, unless the owner of the source or of the copy has said otherwise', async () => {
    const { database, history } = await made(5)
    const first = await sent(database, { to: tidsOf(history)[3]! })
    const retentionOf = (of: MemoryDatabase): Promise<Retention | undefined> =>
      writing(of, async store => await store.capabilities.retaining?.retention())
    const set = (of: MemoryDatabase, keepMs: number): Promise<void> =>
      writing(of, async store => await store.capabilities.retaining?.setRetention({ keepMs }))
    const copy = new MemoryDatabase()
    await received(copy, first)
    expect(await retentionOf(copy)).toEqual(KEEP_ALL)
    await set(copy, 5000)
    await received(copy, await sent(database, { from: tidsOf(history)[3]! }))
    expect(await retentionOf(copy)).toEqual({ keepMs: 5000 })
    await set(database, 9000)
    const other = new MemoryDatabase()
    await received(other, await sent(database))
    expect(await retentionOf(other)).toEqual({ keepMs: 9000 })
  })

  test('has the measured size', async () => {
    const { database, history } = await made(6)
    for (const range of [{}, { from: tidsOf(history)[10]! }])
      expect((await measureHistory(reader(database), range)).bytes).toBe((await sent(database, range)).length)
  })

  test('contains shared bytes once, and none that the target has', async () => {
    const database = new MemoryDatabase()
    const tid = await add(database, LONG)
    const share = (head: number): Promise<Tid> =>
      writing(database, async store => {
        const { first } = await store.allocateOids(1)
        const body = { oid: toOid(first - 1), tid: await store.lastTid(), off: 1, len: LONG }
        return await store.commit({
          changes: [{ oid: first, base: TID_NONE, record: { head: Uint8Array.of(head), body } }],
        })
      })
    await share(2)
    const whole = await sent(database)
    expect(whole.length).toBeLessThan(LONG + 8000)
    const second = await share(3)
    const later = await sent(database, { from: tid })
    expect(later.length).toBeLessThan(8000)
    const target = new MemoryDatabase()
    await received(target, whole)
    await received(target, later)
    const [loaded] = await reader(target).load([toOid(3)], second)
    expect(loaded?.record.length).toBe(LONG + 1)
    const { bulkBytes } = await reader(target).capabilities.measuring!.space()
    expect(bulkBytes).toBeLessThan(LONG + 10_000)
  })

  test('has shared bytes whose first record was dropped by a pack', async () => {
    const database = new MemoryDatabase()
    const tid = await add(database, LONG)
    await writing(database, async store => {
      const body = { oid: toOid(1), tid, off: 1, len: LONG }
      await store.commit({
        changes: [{ oid: toOid(2), base: TID_NONE, record: { head: Uint8Array.of(2), body } }],
      })
      await store.commit({ changes: [{ oid: toOid(1), base: tid, record: { head: Uint8Array.of(9) } }] })
    })
    const target = new MemoryDatabase()
    await received(target, await sent(database))
    const from = await reader(database).lastTid()
    // What a pack drops: the revision that wrote the bytes.
    database.index.drop(Float64Array.of(1), BigInt64Array.of(tid))
    await writing(database, async store => {
      const body = { oid: toOid(2), tid: toTid((await store.revisions(toOid(2)))[0]!), off: 1, len: LONG }
      await store.commit({
        changes: [{ oid: toOid(3), base: TID_NONE, record: { head: Uint8Array.of(3), body } }],
      })
    })
    const stream = await sent(database, { from })
    expect(stream.length).toBeLessThan(8000)
    await received(target, stream)
    const [loaded] = await reader(target).load([toOid(3)], TID_MAX)
    expect(loaded?.record.length).toBe(LONG + 1)
  })

  test('may repeat bytes dropped by the target', async () => {
    const database = new MemoryDatabase()
    const tid = await add(database, LONG)
    const target = new MemoryDatabase()
    await received(target, await sent(database))
    target.index.drop(Float64Array.of(1), BigInt64Array.of(tid))
    await writing(database, async store => {
      const body = { oid: toOid(1), tid, off: 1, len: LONG }
      await store.commit({
        changes: [{ oid: toOid(2), base: TID_NONE, record: { head: Uint8Array.of(2), body } }],
      })
    })
    await expect(received(target, await sent(database, { from: tid }))).rejects.toMatchObject({
      code: 'bytes-dropped',
    })
    const range = { from: tid, isSelfContained: true }
    const stream = await sent(database, range)
    expect((await measureHistory(reader(database), range)).bytes).toBe(stream.length)
    await received(target, stream)
    expect((await reader(target).load([toOid(2)], TID_MAX))[0]?.record.length).toBe(LONG + 1)
  })

  test('of a packed history keeps the kept moments of its source', async () => {
    const { database, history } = await made(7)
    const tids = tidsOf(history)
    const from = tids[20]!
    const early = tids[5]!
    await writing(database, async store => {
      await store.capabilities.packing!.keep({ from, earlier: [early] })
    })
    const target = new MemoryDatabase()
    await received(target, await sent(database))
    const kept = await reader(target).capabilities.measuring!.reader().kept()
    expect(kept).toEqual({ from, earlier: [early] })
    await expectStates(reader(target), history, tids.slice(20))
  })

  test('over moments dropped by the source keeps those of the target', async () => {
    const { database, history } = await made(8)
    const tids = tidsOf(history)
    const target = new MemoryDatabase()
    await received(target, await sent(database, { to: tids[10]! }))
    await writing(database, store => store.capabilities.packing!.keep({ from: tids[20]!, earlier: [] }))
    const stream = await sent(database, { from: tids[10]!, to: tids[25]! })
    await expect(received(target, stream.subarray(0, stream.length >> 1))).rejects.toMatchObject({
      code: 'cut-stream',
    })
    await received(target, stream)
    const kept = await reader(target).capabilities.measuring!.reader().kept()
    expect(kept).toEqual({ from: tids[20]!, earlier: tids.slice(0, 11).toReversed() })
    await received(target, await sent(database, { from: tids[25]! }))
    await expectStates(reader(target), history, tids.slice(21))
  })

  test('with a transaction larger than memory is stored in parts', async () => {
    const database = new MemoryDatabase()
    const body = [Buffer.alloc(1 << 20, 3)]
    await writing(database, async store => {
      const { first } = await store.allocateOids(20)
      await store.commit({
        changes: Array.from({ length: 20 }, (_, i) => ({
          oid: toOid(first + i),
          base: TID_NONE,
          record: { head: Uint8Array.of(i), body },
        })),
      })
    })
    const target = new MemoryDatabase()
    const spilled: number[] = []
    const store = new MemoryStore(target)
    const { spilling } = store.capabilities
    const spill = spilling!.spill.bind(spilling)
    Object.assign(spilling!, {
      spill: (...parameters: Parameters<typeof spill>) => {
        spilled.push(parameters[0].length)
        return spill(...parameters)
      },
    })
    await receiveHistory(store, await openStream(pieces(await sent(database), 1 << 16)))
    await store.close()
    expect(spilled).toEqual([16])
    expect((await reader(target).load([toOid(20)], TID_MAX))[0]?.record.length).toBe((1 << 20) + 1)
  })
})

describe('a stream that does not fit is refused', () => {
  const refused = async (database: MemoryDatabase, stream: Buffer, code: string): Promise<void> => {
    const before = database.copy()
    await expect(received(database, stream)).rejects.toMatchObject({ code })
    expect(database.index.lastTid()).toBe(before.index.lastTid())
  }

  test('if it is of another database', async () => {
    const [one, other] = [await made(1), await made(2)]
    await refused(other.database, await sent(one.database), 'other-database')
  })

  test('if its base is missing', async () => {
    const { database, history } = await made(1)
    const tids = tidsOf(history)
    const later = await sent(database, { from: tids[4]! })
    await refused(new MemoryDatabase(), later, 'other-base')
    const target = new MemoryDatabase()
    await received(target, await sent(database, { to: tids[2]! }))
    await refused(target, later, 'other-base')
  })

  test('if the target has changed', async () => {
    const { database, history } = await made(1)
    const tids = tidsOf(history)
    const target = new MemoryDatabase()
    await received(target, await sent(database, { to: tids[4]! }))
    await add(target, 10, toTid(tids[4]! + 1n))
    await refused(target, await sent(database, { from: tids[4]! }), 'diverged')
    await refused(target, await sent(database), 'diverged')
  })

  test('if another transaction has the same id', async () => {
    const { database, history } = await made(1)
    const tids = tidsOf(history)
    const target = new MemoryDatabase()
    await received(target, await sent(database, { to: tids[4]! }))
    await add(target, 10, tids[5])
    await refused(target, await sent(database, { from: tids[5]! }), 'diverged')
    await refused(target, await sent(database), 'diverged')
  })

  test('if the target was packed more than the source', async () => {
    const { database, history } = await made(1)
    const tids = tidsOf(history)
    const target = new MemoryDatabase()
    await received(target, await sent(database, { to: tids[10]! }))
    await writing(target, store => store.capabilities.packing!.keep({ from: tids[5]!, earlier: [] }))
    await refused(target, await sent(database, { from: tids[10]! }), 'history-dropped')
  })

  test('if it is another program or version', async () => {
    await refused(new MemoryDatabase(), Buffer.from('zblkfs stream 9\nxxxxxxxx'), 'bad-stream')
    await refused(new MemoryDatabase(), Buffer.from('SQLite format 3\0xxxxxxxx'), 'bad-stream')
    await refused(new MemoryDatabase(), Buffer.alloc(0), 'cut-stream')
  })

  test('if the source does not have the range', async () => {
    const { database, history } = await made(1)
    const tids = tidsOf(history)
    await expect(sent(database, { from: toTid(tids[0]! - 1n) })).rejects.toMatchObject({
      code: 'no-transaction',
    })
    await expect(sent(database, { from: tids[4]!, to: tids[3]! })).rejects.toMatchObject({
      code: 'no-moment',
    })
    await expect(sent(new MemoryDatabase())).rejects.toMatchObject({ code: 'no-moment' })
  })
})

describe('what a receiver would refuse is not sent', () => {
  const header = (moments: KeptMoments): StreamHeader => ({
    origin: '00'.repeat(16),
    base: TID_NONE,
    baseFingerprint: 0n,
    upTo: toTid(1n),
    isUpToPresent: true,
    bytes: 0,
    retention: '',
    name: '',
    compression: '',
    moments,
  })

  test('more kept moments than a stream can have', async () => {
    const earlier = Array.from({ length: 100_000 }, (_, i) => toTid(BigInt(200_000 - i)))
    const from = toTid(1_000_000n)
    async function* all(): AsyncGenerator<Uint8Array> {
      yield new StreamEncoder().begin(header({ from, earlier }))
    }
    expect((await openStream(all())).header.moments.earlier).toHaveLength(100_000)
    expect(() => new StreamEncoder().begin(header({ from, earlier: [...earlier, toTid(1n)] }))).toThrow(
      'a history with 100001 kept moments cannot be sent',
    )
  })

  test('a frame that is too long', () => {
    const head = { tid: toTid(1n), user: '', description: '', extension: new Uint8Array((16 << 20) + 1) }
    expect(() => new StreamEncoder().transaction(head)).toThrow('cannot be sent')
  })
})

describe('a small stream', () => {
  const small = async (): Promise<{ readonly stream: Buffer; readonly tids: readonly Tid[] }> => {
    const database = new MemoryDatabase()
    const tids = [await add(database, 100), await add(database, 5), await add(database, 70)]
    return { stream: await sent(database), tids }
  }

  test('truncated at any byte leaves whole transactions', async () => {
    const { stream, tids } = await small()
    const lengths = new Map<number, number>()
    for (let length = 0; length < stream.length; length++) {
      const target = new MemoryDatabase()
      await expect(received(target, stream.subarray(0, length))).rejects.toMatchObject({ code: 'cut-stream' })
      const last = target.index.lastTid()
      expect([TID_NONE, ...tids]).toContain(last)
      lengths.set(tids.indexOf(last), length)
    }
    expect([...lengths.keys()]).toEqual([-1, 0, 1, 2])
  })

  test('with any bit flipped is refused', async () => {
    const { stream } = await small()
    for (let at = 0; at < stream.length; at++) {
      const changed = Buffer.from(stream)
      changed[at] = changed[at]! ^ (1 << (at % 8))
      const target = new MemoryDatabase()
      const error: unknown = await received(target, changed).catch((error: unknown) => error)
      expect(error, `byte ${at}`).toBeInstanceOf(StoreError)
    }
  })
})

test('existing transactions of the target are skipped', async () => {
  const { database, history } = await made(3)
  const target = new MemoryDatabase()
  const whole = await sent(database)
  await received(target, await sent(database, { to: tidsOf(history)[7]! }))
  expect((await received(target, whole)).transactions).toBe(history.length - 8)
  await expectAll(reader(target), history)
  expect((await received(target, whole)).transactions).toBe(0)
  const last = history.at(-1)!.tid
  expect((await received(target, await sent(database, { from: last }))).transactions).toBe(0)
})

test('the source may be packed during a send', async () => {
  const { database, history } = await made(9)
  const tids = tidsOf(history)
  const target = new MemoryDatabase()
  const store = reader(database)
  async function* packing(): AsyncGenerator<Buffer> {
    let isPacked = false
    for await (const chunk of sendHistory(store, {})) {
      for await (const piece of pieces(chunk, 5000)) yield piece
      if (isPacked) continue
      isPacked = true
      await drop(database, history, tids[25]!)
    }
  }
  await writing(target, async into => receiveHistory(into, await openStream(packing())))
  const kept = await reader(target).capabilities.measuring!.reader().kept()
  expect(kept.from).toBe(tids[25]!)
  await expectStates(reader(target), history, tids.slice(26))
  const last = history.at(-1)!.tid
  await add(database)
  expect((await received(target, await sent(database, { from: last }))).transactions).toBe(1)
  const whole = new MemoryDatabase()
  await received(whole, await sent(database))
  await expectStates(reader(whole), history, tids.slice(26))
})

/** What a pack does: records the kept moments, then drops what none of them sees. */
async function drop(database: MemoryDatabase, history: History, from: Tid): Promise<void> {
  await writing(database, store => store.capabilities.packing!.keep({ from, earlier: [] }))
  const newest = new Map<Oid, Tid>()
  for (const { tid, records } of history)
    if (tid <= from) for (const oid of records.keys()) newest.set(oid, tid)
  const gone = history
    .filter(({ tid }) => tid <= from)
    .flatMap(({ tid, records }) => [...records.keys()].map(oid => ({ oid, tid })))
    .filter(({ oid, tid }) => newest.get(oid) !== tid)
  database.index.drop(
    Float64Array.from(gone, ({ oid }) => oid),
    BigInt64Array.from(gone, ({ tid }) => tid),
  )
}
