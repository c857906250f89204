/**
 * The steps that a pack asks of the writer, done between commits. Each leaves the database consistent, is idempotent, and
 * reports how long it took, so that the pack can size the next one. Steps are not synced one by one: what a crash
 * undoes is packed again. But a range of the bulk is erased only when it is durable that no revision points to it.
 *
 * The oid and the tid of a row have the same index in their arrays.
 */
export type PackStep =
  /** Deletes revisions that no kept moment sees. */
  | { readonly kind: 'drop'; readonly oids: Float64Array; readonly tids: BigInt64Array }
  /** Deletes transactions of which no revision is left. */
  | { readonly kind: 'forget'; readonly tids: BigInt64Array }
  | EraseStep
  /** Gives this number of the index's free pages back to the host's filesystem. */
  | { readonly kind: 'give back'; readonly pages: number }
  /** Brings the index's file to its final length. */
  | { readonly kind: 'settle' }
  /** Stores a note of the index, durably. */
  | { readonly kind: 'note'; readonly name: string; readonly value: string }

/** Gives ranges of the bulk back: whole units of one segment each, to which no revision up to `asOf` points. */
export interface EraseStep {
  readonly kind: 'erase'
  readonly asOf: bigint
  /** The beginning and the end of each range in turn. A range that is a whole segment removes it. */
  readonly ranges: Float64Array
}

/** Numbers for each range. */
export const RANGE_FIELDS = 2

export interface PackStepResult {
  /** Time in the writer's thread. */
  readonly durationMs: number
  /** Rows deleted. */
  readonly rows: number
  /** Bytes of the bulk given back. */
  readonly bytes: number
  /** Whether an erase was refused, because a later revision points into one of its ranges. */
  readonly isStale: boolean
}
