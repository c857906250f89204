import type { Place, PlaceName } from './places/place.ts'

/** Settings of a run. */
export interface Setting {
  /** Amount of data written and read sequentially, in MiB. */
  readonly mib: number
  /** A file of `mib` random MiB on the host, and its sha256. */
  readonly source: string
  readonly digest: string
  /** Number of small operations. */
  readonly count: number
  /** Duration of random reads. */
  readonly seconds: number
}

/** A target: a fraction of a ceiling measured in the same run, or an absolute figure. */
export interface Target {
  readonly places: readonly PlaceName[]
  /** A place, `own no-op` for the no-op filesystem under the place's driver, absent for an absolute figure. */
  readonly of?: Ceiling
  readonly atLeast?: number
  readonly atMost?: number
}

export type Ceiling = 'host' | 'own no-op'

/** Units of figures. For times and sizes, less is better. */
export type Unit = 'MB/s' | '/s' | 'ms' | 'B/B' | 'MiB'

/** One kind of load, run in each place. */
export interface Workload {
  readonly name: string
  readonly unit: Unit
  readonly places: readonly PlaceName[]
  /** The place to which the table gives ratios. */
  readonly ceiling?: Ceiling
  readonly targets: readonly Target[]
  /** Maximum number of rounds. */
  readonly roundsMax?: number
  /** Runs it once; resolves to the throughput per second or the duration. Round 0 is not counted. */
  readonly run: (place: Place, setting: Setting, round: number) => Promise<number>
  /**
   * Computes, untimed and after the last round, a digest of the data written or read, which must be the same in
   * all places.
   */
  readonly digest?: (place: Place, setting: Setting) => Promise<string>
}
