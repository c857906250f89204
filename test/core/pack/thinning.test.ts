/** A year of history is thinned by a schedule: which moments stay, that they stay as they were, and what room that gives. */
import { expect, onTestFinished, test } from 'vitest'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import { Ref, type PickleValue } from '../../../core/objects/pickle/value.ts'
import { encodeRecord } from '../../../core/objects/record.ts'
import { pack } from '../../../core/pack/pack.ts'
import { open } from '../../../index.ts'
import { mark } from '../../../core/pack/mark.ts'
import { historyStart, taggedMoments } from '../../../core/pack/moments.ts'
import { packPlan, planOfRetention } from '../../../core/pack/plan.ts'
import { droppedFiles, droppedMoments, packFrees } from '../../../core/pack/preview.ts'
import { summedUsage } from '../../../core/pack/usage.ts'
import { thinnedMoments } from '../../../core/pack/thinning.ts'
import { findMoment } from '../../../store/moments.ts'
import {
  formatTid,
  oid,
  parseTid,
  ROOT_OID,
  TID_MAX,
  TID_NONE,
  tidFromTime,
  timeFromTid,
  type Oid,
  type Tid,
} from '../../../store/ids.ts'
import { formatRetention, parseRetention, periodStart, type Retention } from '../../../store/retention.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { Store } from '../../../store/store.ts'
import { newOids } from '../../tools/new-oids.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const YEAR_MS = 365 * DAY_MS
const OBJECTS = 20
const SCHEDULE = 'all=7d,daily=30d,weekly=1y'

test.each([
  '7d',
  '0',
  'all',
  'all=7d,daily=30d,weekly=365d',
  'all=0,monthly=all',
  '104249991d',
  'all=1d,hourly=2d,yearly=3650d',
])('the retention %s is written and read', text => expect(formatRetention(parseRetention(text)!)).toBe(text))

test.each([
  'daily',
  'daily=',
  'all=7d,all=8d',
  'fortnightly=1y',
  'daily=5',
  'daily=1d=2d',
  '=7d',
  '1e30d',
  '999999999999999d',
  'daily=300000y',
])('%s is not a retention', text => expect(parseRetention(text)).toBeUndefined())

test('weeks begin on Monday, months and years follow the calendar', () => {
  const time = Date.UTC(2026, 10, 26, 13, 30)
  expect(new Date(periodStart('weekly', time)).toISOString()).toBe('2026-11-23T00:00:00.000Z')
  expect(new Date(periodStart('monthly', time)).toISOString()).toBe('2026-11-01T00:00:00.000Z')
  expect(new Date(periodStart('yearly', time)).toISOString()).toBe('2026-01-01T00:00:00.000Z')
  expect(new Date(periodStart('hourly', time)).toISOString()).toBe('2026-11-26T13:00:00.000Z')
})

/** Records of a root that refers to some data objects; each transaction changes one of them. */
async function yearOfHistory(path: string, nowMs: number): Promise<readonly Tid[]> {
  const store = await openSqliteStore(path, { create: true })
  const oids = await newOids(store, OBJECTS)
  const last = new Map<Oid, Tid>()
  const recordOf = (i: number): { head: Uint8Array } => ({
    head: encodeRecord(
      PersistentMapping.CLASS_NAME,
      new Map<PickleValue, PickleValue>([['data', new Map([['value', 'x'.repeat(3000) + i]])]]),
    ),
  })
  const tids: Tid[] = []
  const firstMs = nowMs - YEAR_MS - 30 * DAY_MS
  const refs = oids.map((oid, i): [PickleValue, PickleValue] => [
    `${i}`,
    new Ref(oid, PersistentMapping.CLASS_NAME),
  ])
  const state = new Map<PickleValue, PickleValue>([['data', new Map(refs)]])
  const root = {
    oid: ROOT_OID,
    base: TID_NONE,
    record: { head: encodeRecord(PersistentMapping.CLASS_NAME, state) },
  }
  const made = oids.map(oid => ({ oid, base: TID_NONE, record: recordOf(0) }))
  tids.push(await store.commit({ changes: [root, ...made], tid: tidFromTime(firstMs) }))
  for (const oid of oids) last.set(oid, tids[0]!)
  for (let timeMs = firstMs + 6 * HOUR_MS, i = 1; timeMs < nowMs; timeMs += 6 * HOUR_MS, i++) {
    const oid = oids[i % OBJECTS]!
    const tid = await store.commit({
      changes: [{ oid, base: last.get(oid)!, record: recordOf(i) }],
      tid: tidFromTime(timeMs),
    })
    last.set(oid, tid)
    tids.push(tid)
  }
  await store.close()
  return tids
}

test('the kept moments of a year stay unchanged over repeated packs', async () => {
  const path = temporaryDatabase()
  const nowMs = Date.now()
  const tids = await yearOfHistory(path, nowMs)
  const retention = parseRetention(SCHEDULE)!
  const store = await openSqliteStore(path)
  onTestFinished(() => store.close())
  const all = await contents(store, tids)
  const run = async (): Promise<readonly Tid[]> => {
    const moments = (): Promise<readonly Tid[]> => thinnedMoments(store, retention)
    const { bytesBefore, bytesAfter } = await pack(store, {
      from: await historyStart(store, retention),
      moments,
    })
    const kept: Tid[] = []
    for (const tid of tids) if (await store.isKept(tid)) kept.push(tid)
    console.log(
      `${kept.length} of ${tids.length} moments stay, ${bytesBefore} bytes; ${bytesAfter} bytes after the pack`,
    )
    return kept
  }
  const foretold = await preview(store, retention)
  const kept = await run()
  const { measuring } = store.capabilities
  expect((await measuring!.all()).bytes).toBe(foretold.leftBytes)
  expect(foretold.dropped).toEqual(tids.filter(tid => !kept.includes(tid)))
  expect(await preview(store, retention)).toMatchObject({ dropped: [] })
  const ages = kept.map(tid => (nowMs - timeFromTid(tid)) / DAY_MS)
  const within = (from: number, to: number): number => ages.filter(age => age > from && age <= to).length
  expect(within(0, 7)).toBeGreaterThanOrEqual(27)
  expect(within(8, 30)).toBeGreaterThanOrEqual(21)
  expect(within(8, 30)).toBeLessThanOrEqual(23)
  expect(within(31, 365)).toBeGreaterThanOrEqual(46)
  expect(within(31, 365)).toBeLessThanOrEqual(49)
  expect(within(366, 1000)).toBe(0)
  // Every period that has a moment keeps its last one.
  for (const tid of tids.filter(
    tid => nowMs - timeFromTid(tid) > 8 * DAY_MS && nowMs - timeFromTid(tid) < 29 * DAY_MS,
  )) {
    const day = periodStart('daily', timeFromTid(tid))
    const last = tids.filter(other => periodStart('daily', timeFromTid(other)) === day).at(-1)!
    expect(kept).toContain(last)
  }
  for (const tid of kept) expect(await contents(store, [tid])).toEqual([all[tids.indexOf(tid)]])
  expect(await run()).toEqual(kept)
  // A time between kept moments shows the earlier one; a transaction that was dropped is not another one.
  const old = kept.findLast(tid => nowMs - timeFromTid(tid) > 100 * DAY_MS)!
  const none = (): Promise<undefined> => Promise.resolve(undefined)
  const later = new Date(timeFromTid(old) + DAY_MS).toISOString()
  expect(await findMoment(store, later, none)).toBe(old)
  expect(await findMoment(store, '100d', none)).toBe(old)
  const dropped = tids[tids.indexOf(old) + 1]!
  expect(await findMoment(store, formatTid(dropped), none)).toBeUndefined()
})

/** What a pack by a retention would do, also as a store that is opened for reading says. */
async function preview(
  store: Store,
  retention: Retention,
): Promise<{ readonly dropped: readonly Tid[]; readonly leftBytes: number }> {
  const reading = await openSqliteStore(store.name, { readOnly: true })
  try {
    const measuring = reading.capabilities.measuring!
    const plan = await planOfRetention(reading, measuring, retention)
    const dropped: Tid[] = []
    for await (const { tid } of droppedMoments(reading, plan)) dropped.push(tid)
    const { bytes } = await measuring.left(plan.after, mark)
    const { freeBytes } = await measuring.space()
    const frees = (await packFrees(measuring, plan)) - freeBytes
    expect(frees).toBe((await measuring.all()).bytes - bytes)
    return { dropped, leftBytes: bytes }
  } finally {
    await reading.close()
  }
}

test('the estimate of what a pack frees takes kept moments into account', async () => {
  const path = temporaryDatabase()
  const db = await open(path, { create: true })
  const files = 8
  for (let round = 0; round < 60; round++) {
    const content = Buffer.alloc(64 << 10, `${round}`)
    for (let file = 0; file < (round === 0 ? files : 1); file++)
      await db.files.writeFile(`/${(round + file) % files}`, content)
    await db.sync()
    if (round % 12 === 11) await db.tag(`after ${round}`)
  }
  await db.close()
  const store = await openSqliteStore(path, { readOnly: true })
  const measuring = store.capabilities.measuring!
  const plan = await packPlan(store, measuring, TID_MAX)
  const exact = await packFrees(measuring, plan)
  const { packFreesBytes } = await summedUsage(store, measuring, plan)
  await store.close()
  console.log(`a pack would free ${exact} bytes, estimated as ${packFreesBytes}`)
  expect(Math.abs(packFreesBytes - exact)).toBeLessThan(exact / 5)
})

test('a preview lists a file that only dropped moments show', async () => {
  const path = temporaryDatabase()
  const db = await open(path, { create: true })
  for (const name of ['early', 'moved', 'tagged', 'late']) await db.files.writeFile(`/${name}`, name)
  await db.sync()
  await db.files.rename('/moved', '/elsewhere')
  await db.files.unlink('/early')
  await db.tag('kept')
  await db.files.unlink('/tagged')
  const before = await db.sync()
  await db.files.unlink('/late')
  await db.sync()
  await db.close()
  const foretold = async (moment: Tid): Promise<readonly string[]> => {
    const store = await openSqliteStore(path, { readOnly: true })
    try {
      const found: string[] = []
      const plan = await packPlan(store, store.capabilities.measuring!, moment)
      for await (const { path } of droppedFiles(store, plan)) found.push(path)
      return found.sort()
    } finally {
      await store.close()
    }
  }
  expect(await foretold(parseTid(before)!)).toEqual(['early'])
  expect(await foretold(TID_MAX)).toEqual(['early'])
  const packing = await openSqliteStore(path)
  await pack(packing, { from: TID_MAX, moments: () => taggedMoments(packing) })
  await packing.close()
  expect(await foretold(TID_MAX)).toEqual([])
  // A tag that is deleted releases its moment, and what only that shows.
  const again = await open(path)
  await again.untag('kept')
  await again.close()
  expect(await foretold(TID_MAX)).toEqual(['late', 'tagged'])
})

/** The newest record of every object at each moment, as text. */
async function contents(store: Store, moments: readonly Tid[]): Promise<readonly string[]> {
  const oids = Array.from({ length: OBJECTS + 1 }, (_, i) => oid(i))
  const found: string[] = []
  for (const at of moments) {
    const revisions = await store.load(oids, at)
    found.push(
      revisions
        .map(each => (each === undefined ? '-' : Buffer.from(each.record).toString('base64').slice(-40)))
        .join(),
    )
  }
  return found
}
