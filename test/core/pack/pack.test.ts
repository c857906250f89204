import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { pack } from '../../../core/pack/pack.ts'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import { Ref } from '../../../core/objects/pickle/value.ts'
import { encodeData, encodeRecord, ZDATA } from '../../../core/objects/record.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { ROOT_OID, TID_MAX, TID_NONE, type Oid, type Tid, knownTid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { RecordSource } from '../../../store/changes.ts'
import { databaseBytes } from '../../tools/database-files.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'
import { checkTables, ObjectModel, seeded, storedRevisions } from './object-model.ts'
import { newOids } from '../../tools/new-oids.ts'

const PACKING_CHILD = fileURLToPath(new URL('packing-child.ts', import.meta.url))
const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1)

test.each(SEEDS)('what kept moments see stays, everything else goes: seed %i', async seed => {
  const random = seeded(seed)
  const path = temporaryDatabase()
  let store = await openSqliteStore(path, { create: true })
  const model = new ObjectModel(random)
  let packedFrom = knownTid(0n)
  let tags: Tid[] = []
  for (let round = 0; round < 4; round++) {
    for (let count = 0; count < 5 + random(40); count++) {
      const tid = await model.commit(store)
      if (random(8) === 0) tags.push(tid)
    }
    tags = tags.filter(() => random(5) > 0)
    const chosen = model.tids[random(model.tids.length)]!
    const from = random(4) === 0 ? TID_MAX : chosen
    await pack(store, { from, moments: () => Promise.resolve(tags) })
    const at = from === TID_MAX ? model.tids.at(-1)! : from
    if (at > packedFrom) packedFrom = at
    const expected = model.expected(packedFrom, tags)
    expect(storedRevisions(path)).toEqual(expected)
    model.forget(expected)
    checkTables(path)
    for (const moment of [...tags, ...model.tids.filter(tid => tid >= packedFrom)]) {
      expect(await store.isKept(moment)).toBe(true)
      await model.check(store, moment)
    }
    for (const moment of model.tids)
      if (moment < packedFrom && !tags.includes(moment)) expect(await store.isKept(moment)).toBe(false)
    if (random(2) === 0) {
      await store.close()
      store = await openSqliteStore(path)
    }
  }
  await store.close()
})

test.each([1, 2, 3])('what is committed and read while a pack runs is whole: seed %i', async seed => {
  const random = seeded(seed)
  const path = temporaryDatabase()
  const store = await openSqliteStore(path, { create: true })
  const model = new ObjectModel(random, { isTidy: true })
  for (let count = 0; count < 150; count++) await model.commit(store)
  const from = model.tids[120]!
  const tags = [model.tids[30]!, model.tids[70]!]
  const packed = new AbortController()
  const packing = pack(store, { from, moments: () => Promise.resolve(tags), rest: 1 }).finally(() =>
    packed.abort(),
  )
  let commits = 0
  while (!packed.signal.aborted) {
    await model.commit(store)
    commits++
    if (commits % 5 === 0) await model.check(store, random(2) === 0 ? from : tags[random(2)]!)
    await sleep(1)
  }
  await packing
  expect(commits).toBeGreaterThan(5)
  const kept = [from, ...tags, ...model.tids.filter(tid => tid > from)]
  for (const moment of kept) await model.check(store, moment)
  await pack(store, { from, moments: () => Promise.resolve(tags) })
  expect(storedRevisions(path)).toEqual(model.expected(from, tags))
  checkTables(path)
  for (const moment of kept) await model.check(store, moment)
  await store.close()
})

test.each([1, 2])('a pack that is killed loses nothing, and the next does the rest: seed %i', async seed => {
  const random = seeded(seed)
  const path = temporaryDatabase()
  const model = new ObjectModel(random)
  let store = await openSqliteStore(path, { create: true })
  for (let count = 0; count < 120; count++) await model.commit(store)
  const from = model.tids[90]!
  const tags = [model.tids[50]!]
  const kept = [...tags, ...model.tids.filter(tid => tid >= from)]
  const sizes = new Set([storedRevisions(path).size])
  for (let kill = 0; kill < 5; kill++) {
    await store.close()
    const child = spawn(process.execPath, [PACKING_CHILD, path, `${from}`, `${tags[0]}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    // The first two steps note which moments are kept.
    let stepsLeft = 3 + random(4)
    child.stdout.on('data', (letters: Buffer) => {
      stepsLeft -= letters.length
      if (stepsLeft <= 0) child.kill('SIGKILL')
    })
    await once(child, 'exit')
    store = await openSqliteStore(path)
    sizes.add(storedRevisions(path).size)
    for (const moment of [tags[0], from, model.tids.at(-1)]) await model.check(store, moment!)
  }
  expect(sizes.size, 'how many different states the kills left').toBeGreaterThan(1)
  await pack(store, { from, moments: () => Promise.resolve(tags) })
  expect(storedRevisions(path)).toEqual(model.expected(from, tags))
  checkTables(path)
  for (const moment of kept) await model.check(store, moment)
  await store.close()
})

test('an aborted pack loses nothing and leaves the store usable', async () => {
  const path = temporaryDatabase()
  const model = new ObjectModel(seeded(1))
  const store = await openSqliteStore(path, { create: true })
  for (let count = 0; count < 60; count++) await model.commit(store)
  const ended = new AbortController()
  const packing = pack(store, { from: TID_MAX, rest: 20, signal: ended.signal })
  setTimeout(() => ended.abort(new Error('enough')), 100)
  await expect(packing).rejects.toThrow('enough')
  await model.check(store, model.tids.at(-1)!)
  await pack(store, { from: TID_MAX })
  expect(storedRevisions(path)).toEqual(model.expected(model.tids.at(-1)!, []))
  await store.close()
})

test('a pack may be aborted at any time of the start of its thread', async () => {
  const path = temporaryDatabase()
  const model = new ObjectModel(seeded(1))
  const store = await openSqliteStore(path, { create: true })
  for (let count = 0; count < 5; count++) await model.commit(store)
  for (let delayMs = 0; delayMs < 160; delayMs += 8) {
    const ended = new AbortController()
    const packing = pack(store, { from: TID_MAX, rest: 20, signal: ended.signal })
    setTimeout(() => ended.abort(new Error('enough')), delayMs)
    expect(await packing.catch((error: unknown) => String(error))).toSatisfy(
      answer => typeof answer === 'object' || answer === 'Error: enough',
    )
  }
  await model.check(store, model.tids.at(-1)!)
  await store.close()
})

test('the database takes little more than its scattered live data', async () => {
  const path = temporaryDatabase()
  const model = new ObjectModel(seeded(5), { maxDataBytes: 200_000 })
  const store = await openSqliteStore(path, { create: true })
  for (let count = 0; count < 400; count++) await model.commit(store)
  const before = storedRevisions(path)
  await pack(store, { from: TID_MAX })
  const left = storedRevisions(path)
  expect(left.size).toBeLessThan(before.size / 3)
  await store.close()
  const overhead = 10 * 32_768
  expect(await databaseBytes(path)).toBeLessThan(model.bytes(left) * 1.1 + overhead)
})

test('shared bytes stay, and stay shared, when the bytes around them are dropped', async () => {
  const path = temporaryDatabase()
  const store = await openSqliteStore(path, { create: true })
  const oids = await newOids(store, 12)
  const [root, kept, ...copies] = oids
  const data = new Uint8Array(400_000).fill(7)
  const { head, body, tail } = encodeData(ZDATA, data)
  const mapping = (oids: readonly Oid[]): RecordSource => ({
    head: encodeRecord(
      PersistentMapping.CLASS_NAME,
      new Map([['data', new Map(oids.map((oid, index) => [`${index}`, new Ref(oid, ZDATA)]))]]),
    ),
  })
  const garbage = await newOids(store, 5)
  const original = await store.commit({
    changes: [
      { oid: ROOT_OID, base: TID_NONE, record: mapping([kept!, ...copies]) },
      ...garbage.flatMap(oid => [{ oid, base: TID_NONE, record: { head, body: [body], tail } }]),
      { oid: kept!, base: TID_NONE, record: { head, body: [body.subarray(0, 40_000)], tail } },
      { oid: root!, base: TID_NONE, record: { head, body: [body], tail } },
    ],
  })
  const slice = { oid: kept!, tid: original, off: head.length, len: 40_000 }
  await store.commit({
    changes: copies.map(oid => ({ oid, base: TID_NONE, record: { head, body: slice, tail } })),
  })
  const { bulkBytesFreed } = await pack(store, { from: TID_MAX })
  expect(bulkBytesFreed).toBeGreaterThan(6 * 390_000)
  const [first, ...others] = await store.load([kept!, ...copies], TID_MAX)
  for (const other of others)
    expect(Buffer.compare(other?.record ?? Buffer.of(), first?.record ?? Buffer.of())).toBe(0)
  await store.close()
  expect(await databaseBytes(path)).toBeLessThan(12 * 32_768)
})

test('a database without a root object is refused', async () => {
  const store = await openSqliteStore(temporaryDatabase(), { create: true })
  const oid = (await store.allocateOids(1)).first
  await store.commit({ changes: [{ oid, base: TID_NONE, record: { head: Uint8Array.of(1) } }] })
  await expect(pack(store, { from: TID_MAX })).rejects.toThrow('no root object')
  await store.close()
})

test('an unreadable record with references ends the pack before anything is dropped', async () => {
  const path = temporaryDatabase()
  const store = await openSqliteStore(path, { create: true })
  const first = await store.commit({
    changes: [{ oid: ROOT_OID, base: TID_NONE, record: { head: Uint8Array.of(1, 2, 3) } }],
  })
  await store.commit({ changes: [{ oid: ROOT_OID, base: first, record: { head: Uint8Array.of(1, 2) } }] })
  await expect(pack(store, { from: TID_MAX })).rejects.toThrow(CorruptRecordError)
  expect(storedRevisions(path).size).toBe(2)
  await store.close()
})
