/**
 * Streams of random histories: of a whole one, of a range, cut at every byte, and with changed bytes. What is received is a part of the
 * history that was sent, up to one of its transactions, or the stream is refused.
 */
import { openStream, receiveHistory, type ReceiveResult } from '../../core/stream/receive.ts'
import { sendHistory, type SendRange } from '../../core/stream/send.ts'
import { StoreError } from '../../store/errors.ts'
import { oid as toOid, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { MemoryDatabase, MemoryReader, MemoryStore } from '../../store/memory/memory-store.ts'
import type { ObjectChange } from '../../store/changes.ts'
import type { WritableStore } from '../../store/store.ts'
import type { Random } from '../stress/random.ts'
import type { Fuzzer } from './kinds.ts'
import { mutate, pick } from './mutate.ts'

const FLIPS = 20

export function streamFuzzer(): Promise<Fuzzer> {
  return Promise.resolve({
    steps: 60,
    async round(random) {
      const source = new MemoryDatabase()
      await write(source, random)
      const tids = await tidsOf(source)
      const base = pick(random, tids)
      const target = new MemoryDatabase()
      await receive(target, await send(source, { to: base }), random)
      const later = await send(source, { from: base })
      const step = 1 + random.below(Math.max(1, later.length >> 5))
      for (let length = random.below(step); length < later.length; length += step)
        await cut(source, target, later, length, random)
      const whole = await send(source, {})
      for (let count = 0; count < FLIPS; count++) {
        const stream = pick(random, [whole, later])
        await refusedOrEqual(source, target.copy(), flipped(stream, random), random)
        await refusedOrEqual(source, new MemoryDatabase(), flipped(stream, random), random)
      }
      await receive(target, later, random)
      await assertPart(source, target, tids.at(-1))
    },
  })
}

/** Cut after `length` bytes, then resumed after the last transaction that has arrived. */
async function cut(
  source: MemoryDatabase,
  target: MemoryDatabase,
  stream: Buffer,
  length: number,
  random: Random,
): Promise<void> {
  const copy = target.copy()
  try {
    await receive(copy, stream.subarray(0, length), random)
    throw new TypeError(`a stream of ${stream.length} bytes that was cut to ${length} was taken for whole`)
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'cut-stream') throw error
  }
  await assertPart(source, copy)
  await receive(copy, await send(source, { from: copy.index.lastTid() }), random)
  await assertPart(source, copy, source.index.lastTid())
}

async function refusedOrEqual(
  source: MemoryDatabase,
  target: MemoryDatabase,
  stream: Buffer,
  random: Random,
): Promise<void> {
  try {
    await receive(target, stream, random)
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    if (/\bundefined\b|\[object|\bNaN\b/.test(error.message))
      throw new TypeError(`it says: ${error.message}`, { cause: error })
  }
  await assertPart(source, target)
}

function flipped(stream: Buffer, random: Random): Buffer {
  if (random.below(2) === 0) return mutate(stream, random)
  const changed = Buffer.from(stream)
  const at = random.below(changed.length)
  changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8))
  return changed
}

/** @throws TypeError if the target is not the source as it was after some transaction. */
async function assertPart(source: MemoryDatabase, target: MemoryDatabase, upTo?: Tid): Promise<void> {
  const [one, other] = [new MemoryReader(source), new MemoryReader(target)]
  const last = await other.lastTid()
  if (upTo !== undefined && last !== upTo) throw new TypeError('transactions are missing')
  const expected = (await tidsOf(source)).filter(tid => tid <= last)
  const found = await tidsOf(target)
  if (expected.join() !== found.join())
    throw new TypeError(`transactions ${found.join()} are not ${expected.join()}`)
  for await (const { tid, oids } of one.changes(TID_NONE, last)) {
    const [wanted, loaded] = await Promise.all([one.load(oids, tid), other.load(oids, tid)])
    for (const [i, revision] of wanted.entries()) {
      const isSame =
        Buffer.compare(revision?.record ?? Buffer.alloc(0), loaded[i]?.record ?? Buffer.alloc(0)) === 0
      if (!isSame || revision?.tid !== loaded[i]?.tid)
        throw new TypeError(`object ${oids[i]} of ${tid} differs`)
    }
  }
}

async function tidsOf(database: MemoryDatabase): Promise<Tid[]> {
  const tids: Tid[] = []
  for await (const { tid } of new MemoryReader(database).transactions()) tids.push(tid)
  return tids
}

async function send(database: MemoryDatabase, range: SendRange): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of sendHistory(new MemoryReader(database), range)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function receive(database: MemoryDatabase, stream: Buffer, random: Random): Promise<ReceiveResult> {
  async function* input(): AsyncGenerator<Buffer> {
    for (let at = 0; at < stream.length;) {
      const length = 1 + random.below(20_000)
      yield stream.subarray(at, at + length)
      at += length
    }
  }
  return await writing(database, async target => receiveHistory(target, await openStream(input())))
}

async function writing<T>(database: MemoryDatabase, use: (store: WritableStore) => Promise<T>): Promise<T> {
  const store = new MemoryStore(database)
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** A few transactions of small and large records, tombstones, and shared bytes, also within a transaction. */
async function write(database: MemoryDatabase, random: Random): Promise<void> {
  await writing(database, async store => {
    const records = new Map<Oid, { readonly tid: Tid; readonly bytes: number }>()
    for (let count = 2 + random.below(6); count > 0; count--) {
      const changes: ObjectChange[] = []
      const { first } = await store.allocateOids(4)
      const isLarge = random.below(4) === 0
      const lengths = new Map<Oid, number>()
      const fresh = Array.from({ length: 1 + random.below(3) }, (_, i) => toOid(first + i))
      for (const oid of new Set([...fresh, ...[...records.keys()].filter(() => random.below(4) === 0)])) {
        const base = records.get(oid)?.tid ?? TID_NONE
        if (base !== TID_NONE && random.below(5) === 0) {
          changes.push({ oid, base, record: null })
          continue
        }
        const head = Buffer.alloc(random.below(30), random.below(256))
        const [from, state] = [...records][random.below(records.size + 2)] ?? []
        const isShared = from !== undefined && state !== undefined && state.bytes > 0
        const len = isShared
          ? 1 + random.below(state.bytes)
          : isLarge
            ? 70_000 + random.below(5000)
            : random.below(200)
        const body = isShared
          ? { oid: from, tid: state.tid, off: state.bytes - len, len }
          : [Buffer.alloc(len, random.below(256))]
        changes.push({ oid, base, record: { head, body } })
        lengths.set(oid, head.length + len)
      }
      const tid = await store.commit({ changes, description: 'x'.repeat(random.below(20)) })
      for (const { oid, record } of changes) {
        if (record === null) records.delete(oid)
        else records.set(oid, { tid, bytes: lengths.get(oid) ?? 0 })
      }
    }
  })
}
