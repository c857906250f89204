import { expect, test } from 'vitest'
import { parseMoment } from '../../store/moments.ts'

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
  ['90s', NOW - 90_000],
  ['10min', NOW - 600_000],
  ['1.5h', NOW - 5_400_000],
  ['2h', NOW - 7_200_000],
  ['3d', NOW - 259_200_000],
  ['1w', NOW - 604_800_000],
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
  '10m',
  '',
  'f'.repeat(16),
])('everything else is a tag: %s', text => {
  expect(parseMoment(text, NOW)).toEqual({ tag: text })
})
