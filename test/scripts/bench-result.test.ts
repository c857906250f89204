import { expect, test } from 'vitest'
import { machine, ratiosOf, regressions } from '../../scripts/bench/baseline.ts'
import type { PlaceName } from '../../scripts/bench/places/place.ts'
import { resultLines, targetLines } from '../../scripts/bench/report.ts'
import { leadsOf, memoryResult, ratioOf, verdictsOf, type Result } from '../../scripts/bench/result.ts'

/** A result with one figure for each place. */
const result = (more: Partial<Result>, medians: Partial<Record<PlaceName, number>>): Result => ({
  name: 'reading',
  unit: 'MB/s',
  targets: [],
  memory: {},
  ...more,
  figures: Object.fromEntries(
    Object.entries(medians).map(([place, median]) => [
      place,
      { median, least: median - 1, most: median + 1 },
    ]),
  ),
})

const reading = result(
  {
    ceiling: 'own no-op',
    targets: [
      { places: ['auto', 'fuse-native'], of: 'own no-op', atLeast: 0.85 },
      { places: ['zblk1'], of: 'own no-op', atLeast: 0.75 },
    ],
  },
  { auto: 900, zblk1: 700, 'fuse-native': 380, 'no-op': 1000, 'no-op native': 400, bindfs: 800, qemu: 950 },
)

test("a mount's ceiling is the no-op filesystem under the same driver", () => {
  expect(ratioOf(reading, 'auto')).toBe(0.9)
  expect(ratioOf(reading, 'fuse-native')).toBe(0.95)
})

test('a target that is a ratio is met or missed by the ratio', () => {
  expect(verdictsOf(reading)).toEqual([
    { place: 'auto', wanted: 'at least 0.85 of no-op', reached: 0.9, isMet: true },
    { place: 'fuse-native', wanted: 'at least 0.85 of no-op native', reached: 0.95, isMet: true },
    { place: 'zblk1', wanted: 'at least 0.75 of no-op', reached: 0.7, isMet: false },
  ])
})

test('a target that is a figure by itself needs no ceiling, and may be an upper bound', () => {
  const growth = result(
    { unit: 'B/B', targets: [{ places: ['auto', 'zblk1'], atMost: 1.5 }] },
    { auto: 1.2, zblk1: 1.6 },
  )
  expect(verdictsOf(growth).map(({ isMet }) => isMet)).toEqual([true, false])
})

test('a target whose ceiling was not measured has no verdict', () => {
  expect(verdictsOf({ ...reading, figures: { auto: { median: 1, least: 1, most: 1 } } })).toEqual([])
})

test('a lead is above 1 where zblkfs is better, for rates and for durations', () => {
  expect(leadsOf(reading)).toContainEqual({ place: 'auto', peer: 'bindfs', ratio: 900 / 800 })
  const times = result({ unit: 'ms' }, { auto: 10, bindfs: 20 })
  expect(leadsOf(times)).toEqual([{ place: 'auto', peer: 'bindfs', ratio: 2 }])
  expect(targetLines([reading]).join('\n')).toMatch(/0\.95 x qemu +BEHIND/)
})

test('the memory of all workloads is their maximum, with a target of at most 200 MiB', () => {
  const results = [150, 210].map(end => ({
    ...reading,
    memory: { auto: { start: 100, peak: end + 10, end } },
  }))
  const [verdict] = verdictsOf(memoryResult(results, 'end', 200))
  expect(verdict).toMatchObject({ place: 'auto', reached: 210, isMet: false })
  expect(memoryResult(results, 'peak', 200).figures.auto?.median).toBe(220)
})

test('a decrease by more than a fifth is a regression, a smaller one is not', () => {
  const baseline = (auto: number) => ({ machine: machine(), mib: 64, ratios: { 'reading: auto': auto } })
  expect(regressions(baseline(1.2), [reading])).toEqual([{ name: 'reading: auto', before: 1.2, now: 0.9 }])
  expect(regressions(baseline(1.1), [reading])).toEqual([])
  expect(regressions(baseline(0.1), [reading])).toEqual([])
})

test('if less is better, an increase by more than a quarter is a regression', () => {
  const growth = result({ name: 'growth', unit: 'B/B' }, { auto: 1.4 })
  const baseline = { machine: machine(), mib: 64, ratios: { 'growth: auto': 1.1 } }
  expect(regressions(baseline, [growth])).toEqual([{ name: 'growth: auto', before: 1.1, now: 1.4 }])
  expect(regressions({ ...baseline, ratios: { 'growth: auto': 1.2 } }, [growth])).toEqual([])
})

test('the saved values are ratios to ceilings, and sizes independent of the machine', () => {
  expect(ratiosOf([reading, result({ name: 'growth', unit: 'B/B' }, { auto: 1.4 })])).toEqual({
    'reading: auto': 0.9,
    'reading: zblk1': 0.7,
    'reading: fuse-native': 0.95,
    'growth: auto': 1.4,
  })
})

test('a line of the table has the figure, its spread, the ratio and the memory', () => {
  const [, line] = resultLines({ ...reading, memory: { auto: { start: 100, peak: 150, end: 120 } } })
  expect(line?.replaceAll(/ +/g, ' ')).toBe(' auto 900 MB/s (899 - 901) 0.90 of no-op 100, 150, 120 MiB')
})
