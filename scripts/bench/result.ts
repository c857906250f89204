/** Measurements and their comparison: ratios to ceilings, targets, peers. */
import { OURS, PEERS, type PlaceName } from './places/place.ts'
import type { Ceiling, Target, Unit } from './workload.ts'

export interface Figure {
  readonly median: number
  readonly least: number
  readonly most: number
}

/** A daemon's resident memory around a workload, in MiB. */
export interface Memory {
  readonly start: number
  readonly peak: number
  readonly end: number
}

export interface Result {
  readonly name: string
  readonly unit: Unit
  readonly ceiling?: Ceiling
  readonly targets: readonly Target[]
  readonly figures: Readonly<Partial<Record<PlaceName, Figure>>>
  readonly memory: Readonly<Partial<Record<PlaceName, Memory>>>
}

/** One target in one place, and the result. */
export interface Verdict {
  readonly place: PlaceName
  /** For example `0.85 of no-op`. */
  readonly wanted: string
  /** A ratio if the target is one, else the figure. */
  readonly reached: number
  readonly isMet: boolean
}

/** Two places side by side; a ratio above 1 is zblkfs's lead. */
export interface Lead {
  readonly place: PlaceName
  readonly peer: PlaceName
  readonly ratio: number
}

const LESS_IS_BETTER: ReadonlySet<Unit> = new Set(['ms', 'B/B', 'MiB'])

export const isLessBetter = (unit: Unit): boolean => LESS_IS_BETTER.has(unit)

/** The place that is a ceiling for another one. */
export function ceilingPlace(ceiling: Ceiling, place: PlaceName): PlaceName {
  if (ceiling === 'host') return 'host'
  return place === 'fuse-native' ? 'no-op native' : 'no-op'
}

/** A place's figure divided by its ceiling's, if both were measured. */
export function ratioOf({ figures, ceiling }: Result, place: PlaceName): number | undefined {
  if (ceiling === undefined) return undefined
  const figure = figures[place]?.median
  const most = figures[ceilingPlace(ceiling, place)]?.median
  return figure === undefined || most === undefined ? undefined : figure / most
}

/** Results for a workload's targets, without targets whose ceiling was not measured. */
export const verdictsOf = (result: Result): readonly Verdict[] =>
  result.targets.flatMap(target =>
    target.places.flatMap(place => {
      const figure = result.figures[place]?.median
      const reached = target.of === undefined ? figure : ratioOf({ ...result, ceiling: target.of }, place)
      if (reached === undefined) return []
      const { of, atLeast = -Infinity, atMost = Infinity } = target
      const bound = target.atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`
      const wanted = `${bound} ${of === undefined ? result.unit : `of ${ceilingPlace(of, place)}`}`
      return [{ place, wanted, reached, isMet: reached >= atLeast && reached <= atMost }]
    }),
  )

/** Comparisons of each place of zblkfs with each measured peer. */
export const leadsOf = ({ figures, unit }: Result): readonly Lead[] =>
  OURS.flatMap(place =>
    PEERS.flatMap(peer => {
      const [ours, theirs] = [figures[place]?.median, figures[peer]?.median]
      if (ours === undefined || theirs === undefined) return []
      return [{ place, peer, ratio: isLessBetter(unit) ? theirs / ours : ours / theirs }]
    }),
  )

/** Checks whether the resident memory exceeded `atMost` MiB after any workload. */
export function memoryResult(results: readonly Result[], which: 'peak' | 'end', atMost: number): Result {
  const figures: Partial<Record<PlaceName, Figure>> = {}
  for (const place of OURS) {
    const values = results.flatMap(({ memory }) => memory[place]?.[which] ?? [])
    if (values.length > 0)
      figures[place] = { median: Math.max(...values), least: Math.min(...values), most: Math.max(...values) }
  }
  return {
    name: which === 'end' ? 'resident memory after any workload' : 'resident memory at any time',
    unit: 'MiB',
    targets: which === 'end' ? [{ places: OURS, atMost }] : [],
    figures,
    memory: {},
  }
}
