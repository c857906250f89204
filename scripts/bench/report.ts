/** The benchmark's tables. */
import { type Baseline, ratiosOf, regressions } from './baseline.ts'
import type { PlaceName } from './places/place.ts'
import { ceilingPlace, type Figure, leadsOf, ratioOf, type Result, verdictsOf } from './result.ts'

const DIGITS_FROM = 100

/** Formats a figure with three digits or more. */
const show = (value: number): string =>
  Math.abs(value) >= DIGITS_FROM ? Math.round(value).toLocaleString('en') : value.toPrecision(3)

const placesOf = ({ figures }: Result): readonly [PlaceName, Figure][] =>
  Object.entries(figures) as [PlaceName, Figure][]

/** A workload's figures, one line per place. */
export function resultLines(result: Result, baseline?: Baseline): readonly string[] {
  const lines = placesOf(result).map(([place, { median, least, most }]) => {
    const ratio = ratioOf(result, place)
    const ceiling = result.ceiling === undefined ? undefined : ceilingPlace(result.ceiling, place)
    const memory = result.memory[place]
    const before = baseline?.ratios[`${result.name}: ${place}`]
    const cells = [
      `  ${place}`.padEnd(15),
      `${show(median)} ${result.unit}`.padStart(14),
      `(${show(least)} - ${show(most)})`.padEnd(20),
      (ratio === undefined || ceiling === place ? '' : `${ratio.toFixed(2)} of ${ceiling}`).padEnd(21),
      memory === undefined
        ? ''
        : `${show(memory.start)}, ${show(memory.peak)}, ${show(memory.end)} MiB`.padEnd(26),
      before === undefined ? '' : `was ${before.toFixed(2)}`,
    ]
    return cells.join(' ').trimEnd()
  })
  return [result.name, ...lines]
}

/** The targets of all workloads, and which place is ahead of which peer. */
export function targetLines(results: readonly Result[]): readonly string[] {
  const targets = results.flatMap(result =>
    verdictsOf(result).map(({ place, wanted, reached, isMet }) =>
      [
        `  ${result.name}`.padEnd(50),
        place.padEnd(12),
        show(reached).padStart(7),
        ` ${wanted.padEnd(28)}`,
        isMet ? 'met' : 'MISSED',
      ].join(' '),
    ),
  )
  const leads = results.flatMap(result =>
    leadsOf(result).map(({ place, peer, ratio }) =>
      [
        `  ${result.name}`.padEnd(50),
        place.padEnd(12),
        `${ratio.toFixed(2)} x ${peer}`.padEnd(20),
        ratio >= 1 ? 'ahead' : 'BEHIND',
      ].join(' '),
    ),
  )
  return ['targets', ...targets, '', 'beside each peer', ...leads]
}

/** The comparison of a run with the saved baseline. */
export function baselineLines(
  baseline: Baseline,
  results: readonly Result[],
  machine: string,
): readonly string[] {
  const worse = regressions(baseline, results)
  const compared = Object.keys(ratiosOf(results)).filter(name => name in baseline.ratios).length
  return [
    `beside the saved ratios (${baseline.mib} MiB on ${baseline.machine})`,
    ...(baseline.machine === machine ? [] : [`  this machine is another one: ${machine}`]),
    ...worse.map(
      ({ name, before, now }) =>
        `  ${name}: ${now.toFixed(2)}, was ${before.toFixed(2)}  <-- WORSE BY MORE THAN A FIFTH`,
    ),
    `  ${worse.length} of ${compared} ratios are worse by more than a fifth`,
  ]
}
