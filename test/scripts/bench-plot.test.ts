import { expect, test } from 'vitest'
import { growthPage, replacedSections } from '../../scripts/bench/growth/page.ts'
import { type Plot, plotSvg } from '../../scripts/bench/svg-plot.ts'

const plot: Plot = {
  title: 'Reading <all> of it',
  x: { label: 'file size, GiB', scale: 'log' },
  y: { label: 'MB/s', scale: 'linear' },
  curves: [
    {
      name: 'read',
      points: [
        [1, 0],
        [2, 50],
        [4, 100],
      ],
    },
  ],
}

const dots = (svg: string): number[][] =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)])

test('doubled values are equally far from one another on a logarithmic axis', () => {
  const [first, second, third] = dots(plotSvg(plot))
  expect(second![0]! - first![0]!).toBeCloseTo(third![0]! - second![0]!, 0)
  expect(third![0]!).toBeGreaterThan(second![0]!)
})

test('a linear axis begins at 0, and greater is higher', () => {
  const [first, second, third] = dots(plotSvg(plot))
  expect(first![1]! - second![1]!).toBeCloseTo(second![1]! - third![1]!, 0)
  expect(second![1]!).toBeLessThan(first![1]!)
  // The bottom of the plot: its height without the lower margin.
  expect(first![1]!).toBe(310)
})

test('axes, curves and title are named, and text is escaped', () => {
  const svg = plotSvg(plot)
  for (const text of ['file size, GiB', 'MB/s', '>read<', 'Reading &lt;all> of it'])
    expect(svg).toContain(text)
  expect(svg).toContain('prefers-color-scheme: dark')
})

test('values that a logarithmic axis cannot show are refused, with the name of the axis', () => {
  expect(() => plotSvg({ ...plot, y: { label: 'ms', scale: 'log' } })).toThrow(
    'ms: a logarithmic axis has no 0',
  )
  expect(() => plotSvg({ ...plot, curves: [] })).toThrow('no finite values to plot')
})

test('the page has a section with plot, table and factors for each curve', () => {
  const page = growthPage([{ name: 'reading', plot, description: 'It is read.' }], 'on a machine')
  expect(page).toContain('![Reading <all> of it](plots/reading.svg)')
  expect(page).toMatch(/\| 4 +\| 100 +\|/)
  expect(page).toContain('x changes by a factor of 4 and "read" by')
  for (const line of page.split('\n')) expect(line.length).toBeLessThanOrEqual(120)
})

test('an existing section is replaced, a new one is added, the others stay', () => {
  const before = growthPage(
    [
      { name: 'reading', plot, description: 'It was read.' },
      { name: 'kept', plot: { ...plot, title: 'Kept' }, description: 'It stays.' },
    ],
    'on a machine',
  )
  const after = replacedSections(before, [
    { name: 'reading', plot, description: 'It is read again.' },
    { name: 'new', plot: { ...plot, title: 'New' }, description: 'It is new.' },
  ])
  expect(after.match(/^## .*/gm)).toEqual(['## Reading <all> of it', '## Kept', '## New'])
  expect(after).toContain('It is read again.')
  expect(after).toContain('It stays.')
  expect(after).not.toContain('It was read.')
})
