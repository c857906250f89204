import type { Plot } from '../svg-plot.ts'

/** A plot and its text. */
export interface Growth {
  /** Name of its file in docs/plots/, and its anchor. */
  readonly name: string
  readonly plot: Plot
  /** Sentences: the procedure, and the bound. */
  readonly description: string
}

/** Growth factors of a curve's value and of its x, from the first point to the last. */
export function factors(points: readonly (readonly [number, number])[]): {
  readonly x: number
  readonly y: number
} {
  const [first, last] = [points[0] ?? [Number.NaN, Number.NaN], points.at(-1) ?? [Number.NaN, Number.NaN]]
  return { x: last[0] / first[0], y: last[1] / first[1] }
}
