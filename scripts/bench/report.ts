/** The benchmark's table. */
import type { Workload } from './workload.ts'

/** By place. */
export type Figures = Readonly<
  Record<string, { readonly median: number; readonly least: number; readonly most: number }>
>

export type Result = Pick<Workload, 'name' | 'unit' | 'goal'> & { readonly figures: Figures }

export interface MemoryRow {
  readonly place: string
  readonly start: number
  readonly most: number
  readonly end: number
}

const FALLEN = 0.8

/** Prints a line per workload and place; `baseline` has ratios by `workload: place`. */
export function printResults(
  results: readonly Result[],
  memory: readonly MemoryRow[],
  baseline: Readonly<Record<string, number>>,
): void {
  for (const { name, unit, goal, figures } of results) {
    const ceiling = 'of' in goal ? goal.of : 'host'
    const wanted = 'of' in goal ? `${goal.atLeast} of ${goal.of}` : `${goal.atLeast} ${unit}`
    console.log(`\n${name} (wanted: ${wanted})`)
    for (const [place, { median, least, most }] of Object.entries(figures)) {
      const ratio = median / (figures[ceiling]?.median ?? Number.NaN)
      const cells = [
        `  ${place}`.padEnd(12),
        `${show(median)} ${unit}`.padStart(14),
        `(${show(least)} - ${show(most)})`.padEnd(22),
        place === ceiling ? '' : `${ratio.toFixed(2)} of ${ceiling}`,
      ]
      const before = baseline[`${name}: ${place}`]
      if (before !== undefined)
        cells.push(
          `was ${before.toFixed(2)}${ratio < before * FALLEN ? '  <-- FELL BY MORE THAN A FIFTH' : ''}`,
        )
      console.log(cells.join(' ').trimEnd())
    }
  }
  console.log('\nresident memory of the daemons in MiB')
  for (const { place, start, most, end } of memory)
    console.log(`  ${place.padEnd(10)} start ${show(start)}, most ${show(most)}, end ${show(end)}`)
}

const show = (value: number): string => Math.round(value).toLocaleString('en')
