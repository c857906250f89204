import type { Place, PlaceName } from './places.ts'

/** What is the same for all of a run. */
export interface Setting {
  /** How much is written and read in sequence, in MiB. */
  readonly mib: number
  /** A file of that many random bytes on the host. */
  readonly source: string
  /** How many small operations are done. */
  readonly count: number
}

/** One kind of load, in one place after the other. */
export interface Workload {
  readonly name: string
  readonly unit: 'MB/s' | '/s' | 'ms'
  /** In which places, those of zblkfs first. */
  readonly places: readonly PlaceName[]
  /** The place that is the ceiling, and what part of it is to be reached; or how much by itself. */
  readonly goal: { readonly of: PlaceName; readonly atLeast: number } | { readonly atLeast: number }
  /** Does it once; returns how much in a second. */
  readonly run: (place: Place, setting: Setting) => number
}
