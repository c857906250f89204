import type { Place, PlaceName } from './places/place.ts'

/** What is the same for all of a run. */
export interface Setting {
  /** How much is written and read in sequence, in MiB. */
  readonly mib: number
  /** A file of that many random bytes on the host, and its sha256. */
  readonly source: string
  readonly digest: string
  /** How many small operations are done. */
  readonly count: number
  /** How long random reads last. */
  readonly seconds: number
}

/** What part of a ceiling, measured in the same run, is to be reached; or how much by itself. */
export interface Target {
  readonly places: readonly PlaceName[]
  /** A place, `own no-op` for the no-op filesystem under the place's driver, or nothing for a figure by itself. */
  readonly of?: Ceiling
  readonly atLeast?: number
  readonly atMost?: number
}

export type Ceiling = 'host' | 'own no-op'

/** The ways to tell how fast or large something was. Of times and sizes less is better. */
export type Unit = 'MB/s' | '/s' | 'ms' | 'B/B' | 'MiB'

/** One kind of load, in one place after the other. */
export interface Workload {
  readonly name: string
  readonly unit: Unit
  readonly places: readonly PlaceName[]
  /** What the table gives ratios to. */
  readonly ceiling?: Ceiling
  readonly targets: readonly Target[]
  /** How often at most it is repeated. */
  readonly roundsMax?: number
  /** Does it once; resolves to how much in a second, or how long it took. Round 0 is not counted. */
  readonly run: (place: Place, setting: Setting, round: number) => Promise<number>
  /**
   * Outside of what is timed, after the last round: a digest of what was written or read, which is to be the same in
   * all places.
   */
  readonly digest?: (place: Place, setting: Setting) => Promise<string>
}
