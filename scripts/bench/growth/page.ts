import type { Curve } from '../svg-plot.ts'
import { factors, type Growth } from './curve.ts'

const LINE = /(.{1,120})(?:\s+|$)/g

const show = (value: number): string => Number(value.toPrecision(3)).toLocaleString('en')

/** The page in docs/ that shows the plots, as Markdown; `conditions` describes the run and the machine. */
export function growthPage(growths: readonly Growth[], conditions: string): string {
  const introduction =
    `How speed and memory change as files, databases and histories grow: ${conditions}. Figures differ on other or ` +
    'busier machines; the shape of each curve is what matters.'
  return `# Growth

${wrap(introduction)}

${growths.map(section).join('\n')}`
}

/** A page with the sections of some plots replaced, or added at its end. */
export function replacedSections(page: string, growths: readonly Growth[]): string {
  const made = new Map(growths.map(growth => [growth.plot.title, section(growth).trimEnd()]))
  const [introduction = '', ...sections] = page.trimEnd().split(/\n\n(?=## )/)
  const kept = sections.map(text => {
    const title = text.slice(3, text.indexOf('\n'))
    const replacement = made.get(title)
    made.delete(title)
    return replacement ?? text
  })
  return `${[introduction, ...kept, ...made.values()].join('\n\n')}\n`
}

function section({ name, plot, description }: Growth): string {
  const [first] = plot.curves
  const header = [plot.x.label, ...plot.curves.map(curve => `${curve.name}, ${plot.y.label}`)]
  const rows = (first?.points ?? []).map(([x], index) => [
    show(x),
    ...plot.curves.map(({ points }) => show(points[index]?.[1] ?? Number.NaN)),
  ])
  return `## ${plot.title}

![${plot.title}](plots/${name}.svg)

${wrap([description, ...plot.curves.map(comparison)].join(' '))}

${table([header, ...rows])}
`
}

function comparison({ name, points }: Curve): string {
  const { x, y } = factors(points)
  return `From the first point to the last, x changes by a factor of ${show(x)} and "${name}" by ${show(y)}.`
}

/** Wraps text at spaces into lines of at most the given width. */
const wrap = (text: string): string => text.replaceAll(LINE, '$1\n').trimEnd()

/** Pads cells in prettier's style. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 3),
  )
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  const [header = [], ...rest] = rows
  return [line(header), line(widths.map(width => '-'.repeat(width))), ...rest.map(line)].join('\n')
}
