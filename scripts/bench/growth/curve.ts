import type { Plot } from '../svg-plot.ts'

/** A plot and what is to be said beside it. */
export interface Growth {
  /** Of its file in docs/plots/, and its anchor. */
  readonly name: string
  readonly plot: Plot
  /** Sentences: what was done, and what bounds it. */
  readonly told: string
}

/** What a curve's value became by, from the first point to the last, and what its x became by. */
export function factors(points: readonly (readonly [number, number])[]): {
  readonly x: number
  readonly y: number
} {
  const [first, last] = [points[0] ?? [Number.NaN, Number.NaN], points.at(-1) ?? [Number.NaN, Number.NaN]]
  return { x: last[0] / first[0], y: last[1] / first[1] }
}
