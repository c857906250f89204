/** A year of history is thinned by a schedule: which moments stay, that they stay as they were, and what room that gives. */
import { expect, onTestFinished, test } from 'vitest'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import { Ref, type PickleValue } from '../../../core/objects/pickle/value.ts'
import { encodeRecord } from '../../../core/objects/record.ts'
import { pack } from '../../../core/pack/pack.ts'
import { historyStart } from '../../../core/pack/moments.ts'
import { thinnedMoments } from '../../../core/pack/thinning.ts'
import { findMoment } from '../../../store/moments.ts'
import {
  formatTid,
  oid,
  ROOT_OID,
  TID_NONE,
  tidFromTime,
  timeFromTid,
  type Oid,
  type Tid,
} from '../../../store/ids.ts'
import { formatRetention, parseRetention, periodStart } from '../../../store/retention.ts'
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
  'all=1d,hourly=2d,yearly=3650d',
])('the retention %s is written and read', text => expect(formatRetention(parseRetention(text)!)).toBe(text))

test.each(['daily', 'daily=', 'all=7d,all=8d', 'fortnightly=1y', 'daily=5', 'daily=1d=2d', '=7d'])(
  '%s is not a retention',
  text => expect(parseRetention(text)).toBeUndefined(),
)

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

test('the kept moments of a year stay unchanged over repeated packs', { timeout: 60_000 }, async () => {
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
  const kept = await run()
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
