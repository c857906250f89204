import { expect, test } from 'vitest'
import { tid, tidFromTime, timeFromTid, type Tid } from '../../store/ids.ts'
import { parseDurationMs } from '../../store/durations.ts'
import { findMoment, formatTime, momentToSend, parseMoment, resolveMoment } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'

const NOW = Date.UTC(2026, 10, 22, 12)

const TIMES: readonly [text: string, timeMs: number][] = [
  ['2026-11-22T10:00Z', Date.UTC(2026, 10, 22, 10)],
  ['2026-11-22T10:00:30.5Z', Date.UTC(2026, 10, 22, 10, 0, 30, 500)],
  ['2026-11-22T10:00+02:00', Date.UTC(2026, 10, 22, 8)],
  ['2026-11-22T10:00-0530', Date.UTC(2026, 10, 22, 15, 30)],
  ['2026-11-22T10:00', new Date(2026, 10, 22, 10).getTime()],
  ['2026-11-22 10:00:01', new Date(2026, 10, 22, 10, 0, 1).getTime()],
  ['2026-11-22', new Date(2026, 10, 22).getTime()],
  ['2024-02-29', new Date(2024, 1, 29).getTime()],
]

test.each(TIMES)('%s is a time', (text, timeMs) => {
  expect(parseMoment(text, NOW)).toEqual({ timeMs })
})

test('16 hex digits are a transaction', () => {
  expect(parseMoment('040a1b2c3d4e5f60', NOW)).toEqual({ tid: 0x040a1b2c3d4e5f60n })
})

test.each([
  'v1.0',
  '2026-13-01',
  '2025-02-29',
  '2026-11-22T24:00',
  '2026-11-22T10',
  '10',
  '5 m',
  '0',
  '24:00',
  '1h30m',
  '',
  'f'.repeat(16),
])('everything else is a tag: %s', text => {
  expect(parseMoment(text, NOW)).toEqual({ tag: text })
})

test.each([
  ['90s', 90_000],
  ['5m', 300_000],
  ['10min', 600_000],
  ['1.5h', 5_400_000],
  ['3d', 259_200_000],
  ['1w', 604_800_000],
  ['yesterday', 86_400_000],
])('%s is an age', (text, ageMs) => {
  expect(parseMoment(text, NOW)).toEqual({ timeMs: NOW - ageMs, isAge: true })
})

test('a time of day is the most recent one', () => {
  const nowMs = new Date(2026, 10, 22, 12).getTime()
  expect(parseMoment('10:20', nowMs)).toEqual({ timeMs: new Date(2026, 10, 22, 10, 20).getTime() })
  expect(parseMoment('12:00:01', nowMs)).toEqual({ timeMs: new Date(2026, 10, 21, 12, 0, 1).getTime() })
})

test.each([
  ['0', 0],
  ['5s', 5000],
  ['500ms', 500],
  ['2min', 120_000],
  ['2m', 120_000],
  ['7d', 604_800_000],
  ['2w', 1_209_600_000],
])('the duration %s is %d ms', (text, ms) => {
  expect(parseDurationMs(text)).toBe(ms)
})

test.each(['', 's', '5', '30', '-5s', '5 parsecs', '5constructor', '1h30m'])('%j is not a duration', text => {
  expect(parseDurationMs(text)).toBeUndefined()
})

test('times are shown and parsed in the same time zone', () => {
  for (const timeMs of [NOW, Date.UTC(2026, 6, 1, 0, 0, 0, 7)]) {
    expect(parseMoment(formatTime(timeMs), NOW)).toEqual({ timeMs })
    expect(formatTime(timeMs)).toMatch(/^2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\d[+-]\d\d:\d\d$/)
  }
})

test('a time is sent to a daemon in UTC, other moments unchanged', () => {
  expect(momentToSend('2026-11-22T10:00+02:00')).toBe('2026-11-22T08:00:00.000Z')
  for (const text of ['now', '5m', 'v1.0', 'yesterday']) expect(momentToSend(text)).toBe(text)
})

const TIDS = [5, 3, 1].map(hours => tidFromTime(NOW - hours * 3_600_000))

/** A store with these transactions, of which a pack has dropped those before `from`. */
function storeOf(tids: readonly Tid[], from: Tid = tid(0n)): Store {
  const found = (upTo: Tid | undefined): readonly Tid[] =>
    tids.filter(each => upTo === undefined || each <= upTo)
  return {
    name: 'x.db',
    capabilities: {},
    lastTid: async () => tids.at(-1) ?? tid(0n),
    isKept: async (at: Tid) => at >= from,
    async *transactions({ upTo, reverse = false }: { upTo?: Tid; reverse?: boolean } = {}) {
      const each = reverse ? found(upTo).at(-1) : found(upTo)[0]
      if (each !== undefined) yield { tid: each }
    },
  } as unknown as Store
}

const find = (store: Store, text: string): Promise<Tid | undefined> =>
  findMoment(store, text, async name => (name === 'v1' ? TIDS[1] : undefined), NOW)

test('a moment resolves to the newest transaction up to it', async () => {
  const store = storeOf(TIDS)
  expect(await find(store, 'now')).toBe(TIDS[2])
  expect(await find(store, '2h')).toBe(TIDS[1])
  expect(await find(store, 'v1')).toBe(TIDS[1])
  expect(await find(store, new Date(NOW - 4 * 3_600_000).toISOString())).toBe(TIDS[0])
  expect(await find(store, 'v2')).toBeUndefined()
  expect(await find(store, new Date(NOW + 1000).toISOString())).toBeUndefined()
})

test('an age older than the database resolves to its beginning, an earlier time to nothing', async () => {
  expect(await find(storeOf(TIDS), '10d')).toBe(TIDS[0])
  expect(await find(storeOf(TIDS), '2026-11-01')).toBeUndefined()
  expect(await find(storeOf([]), '10d')).toBeUndefined()
})

test('an age older than the kept history resolves to its beginning', async () => {
  const between = tidFromTime(timeFromTid(TIDS[1] ?? tid(0n)) + 60_000)
  expect(await find(storeOf(TIDS, TIDS[1]), '10d')).toBe(TIDS[1])
  expect(await find(storeOf(TIDS, between), '10d')).toBe(TIDS[1])
  expect(await find(storeOf(TIDS, between), '2026-11-22T08:00Z')).toBeUndefined()
})

test('an unknown moment is reported with a code', async () => {
  await expect(resolveMoment(storeOf(TIDS), 'v2', async () => undefined)).rejects.toMatchObject({
    code: 'no-moment',
    message: "x.db has no moment 'v2'",
  })
})
