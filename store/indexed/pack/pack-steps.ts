/**
 * The steps of a pack, run by the writer between commits. Each leaves the database consistent, is idempotent, and reports
 * how long it took, so that the pack can size the next one. Steps are not synced one by one: if a crash undoes some, the
 * next pack repeats them. But a bulk range is erased only once the absence of revisions that point to it is durable.
 *
 * `oids[i]` and `tids[i]` identify one row.
 */
export type PackStep =
  /** Deletes revisions that no kept moment sees. */
  | { readonly kind: 'drop'; readonly oids: Float64Array; readonly tids: BigInt64Array }
  /** Deletes transactions without remaining revisions. */
  | { readonly kind: 'forget'; readonly tids: BigInt64Array }
  | EraseStep
  /** Returns this number of the index's free pages to the host's filesystem. */
  | { readonly kind: 'give back'; readonly pages: number }
  /** Makes all drops durable. */
  | { readonly kind: 'sync' }
  /** Truncates the index's file to its final length. */
  | { readonly kind: 'finish' }
  /** Stores a note of the index, durably. */
  | { readonly kind: 'note'; readonly name: string; readonly value: string }

/** Frees bulk ranges: each is whole units of one segment, to which no revision up to `asOf` points. */
export interface EraseStep {
  readonly kind: 'erase'
  readonly asOf: bigint
  /** Start and end of each range, alternating. A range that covers a segment removes it. */
  readonly ranges: Float64Array
}

/** Numbers per range. */
export const RANGE_FIELDS = 2

export interface PackStepResult {
  /** Time spent in the writer's thread. */
  readonly durationMs: number
  /** Rows deleted. */
  readonly rows: number
  /** Bulk bytes freed. */
  readonly bytes: number
  /** Whether an erase was refused, because a later revision points into one of its ranges. */
  readonly isStale: boolean
}
