/** Plots of curves as SVG text: readable on light and dark pages, with units on the axes. */

export interface Axis {
  /** With its unit, for example `file size, GiB`. */
  readonly label: string
  readonly scale: 'linear' | 'log'
}

export interface Curve {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface Plot {
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly curves: readonly Curve[]
}

const WIDTH = 640
const HEIGHT = 360
const LEFT = 70
const RIGHT = 20
const TOP = 40
const BOTTOM = 50
const TICKS_MAX = 8
const LIGHT = {
  ink: '#1f2328',
  faint: '#d1d9e0',
  paper: '#ffffff',
  curves: ['#0969da', '#bc4c00', '#1a7f37', '#8250df'],
}
const DARK = {
  ink: '#f0f6fc',
  faint: '#3d444d',
  paper: '#0d1117',
  curves: ['#4493f8', '#f0883e', '#3fb950', '#ab7df8'],
}

/** Without CSS variables, which some SVG viewers do not support. */
const colours = ({ ink, faint, paper, curves }: typeof LIGHT): string =>
  [
    `.paper { fill: ${paper} }`,
    `text { fill: ${ink} }`,
    `.grid { stroke: ${faint} }`,
    ...curves.map((colour, index) => `.c${index} { color: ${colour} }`),
  ].join(' ')

const STYLE = `
  text { font: 12px system-ui, sans-serif }
  .title { font-size: 15px; font-weight: 600 }
  .curve { fill: none; stroke: currentColor; stroke-width: 2 }
  ${colours(LIGHT)}
  @media (prefers-color-scheme: dark) { ${colours(DARK)} }`

/** Maps a value to a fraction of the axis, 0 to 1; and the values of the tick marks. */
interface Scale {
  readonly at: (value: number) => number
  readonly ticks: readonly number[]
}

/** An SVG document. @throws Error if there are no finite values, or a logarithmic axis has a value that is not positive. */
export function plotSvg({ title, x, y, curves }: Plot): string {
  const points = curves.flatMap(({ points }) => points)
  const xScale = scaleOf(
    x,
    points.map(([value]) => value),
  )
  const yScale = scaleOf(
    y,
    points.map(([, value]) => value),
  )
  const left = (value: number): string => (LEFT + xScale.at(value) * (WIDTH - LEFT - RIGHT)).toFixed(1)
  const top = (value: number): string =>
    (HEIGHT - BOTTOM - yScale.at(value) * (HEIGHT - TOP - BOTTOM)).toFixed(1)
  const right = WIDTH - RIGHT
  const bottom = HEIGHT - BOTTOM
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}">`,
    `<style>${STYLE}\n</style>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" class="paper"/>`,
    `<text class="title" x="${LEFT}" y="22">${escape(title)}</text>`,
    ...yScale.ticks.map(
      tick =>
        `<line class="grid" x1="${LEFT}" x2="${right}" y1="${top(tick)}" y2="${top(tick)}"/>` +
        `<text x="${LEFT - 6}" y="${Number(top(tick)) + 4}" text-anchor="end">${show(tick)}</text>`,
    ),
    ...xScale.ticks.map(
      tick =>
        `<line class="grid" x1="${left(tick)}" x2="${left(tick)}" y1="${TOP}" y2="${bottom}"/>` +
        `<text x="${left(tick)}" y="${bottom + 16}" text-anchor="middle">${show(tick)}</text>`,
    ),
    `<text x="${(LEFT + right) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${escape(x.label)}</text>`,
    `<text transform="rotate(-90)" x="${-(TOP + bottom) / 2}" y="16" text-anchor="middle">${escape(y.label)}</text>`,
    ...curves.flatMap(({ name, points }, index) => {
      const colour = `c${index % LIGHT.curves.length}`
      const dots = points.map(
        ([a, b]) => `<circle cx="${left(a)}" cy="${top(b)}" r="3" fill="currentColor"/>`,
      )
      const path = points.map(([a, b]) => `${left(a)},${top(b)}`).join(' ')
      const legend = TOP + 14 + index * 16
      return [
        `<g class="${colour}">`,
        `<polyline class="curve" points="${path}"/>`,
        ...dots,
        `<rect x="${LEFT + 10}" y="${legend - 8}" width="10" height="10" fill="currentColor"/>`,
        '</g>',
        `<text x="${LEFT + 26}" y="${legend}">${escape(name)}</text>`,
      ]
    }),
    '</svg>',
  ]
  return `${lines.join('\n')}\n`
}

function scaleOf({ label, scale }: Axis, values: readonly number[]): Scale {
  const most = Math.max(...values)
  const least = Math.min(...values)
  if (!Number.isFinite(most) || !Number.isFinite(least)) throw new Error(`${label}: no finite values to plot`)
  if (scale === 'linear') {
    const step = stepOf(most / TICKS_MAX)
    const end = Math.max(1, Math.ceil(most / step)) * step
    // Space for the legend above the curves.
    const high = end + 2 * step
    return { at: value => value / high, ticks: series(0, high / step, index => index * step) }
  }
  if (least <= 0) throw new Error(`${label}: a logarithmic axis has no ${least}`)
  const base = most / least > 2 ** TICKS_MAX ? 10 : 2
  const log = (value: number): number => Math.log(value) / Math.log(base)
  const low = Math.floor(log(least) + 1e-9)
  const high = Math.max(low + 1, Math.ceil(log(most) - 1e-9))
  return { at: value => (log(value) - low) / (high - low), ticks: series(low, high, index => base ** index) }
}

const series = (low: number, high: number, value: (index: number) => number): number[] =>
  Array.from({ length: Math.round(high - low) + 1 }, (_, index) => value(low + index))

/** The least 1, 2 or 5 times a power of ten that is not below a value. */
function stepOf(least: number): number {
  if (least <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(least))
  return ([1, 2, 5].find(factor => factor * power >= least) ?? 10) * power
}

const show = (value: number): string =>
  Number(value.toPrecision(6)).toLocaleString('en', { maximumFractionDigits: 6 })

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
