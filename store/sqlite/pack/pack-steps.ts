/**
 * What a pack asks of the writer: small steps, done between commits. Each leaves the database whole, says again what
 * was done already without harm, and tells how long it took, so that the next can be made shorter. Steps are not
 * synced one by one: what a crash undoes is packed again. But nothing is erased before it is durable that no revision
 * points to it any more.
 *
 * Numbers and tids of one row stand at the same index of their arrays.
 */
export type PackStep =
  /** Writes a row of `meta`. */
  | { readonly kind: 'note'; readonly name: string; readonly value: string }
  /** Deletes revisions that no kept moment sees. */
  | { readonly kind: 'drop'; readonly oids: Float64Array; readonly tids: BigInt64Array }
  /** Deletes transactions of which no revision is left. */
  | { readonly kind: 'forget'; readonly tids: BigInt64Array }
  | EraseStep
  /** Gives so many free pages back to the host's filesystem. */
  | { readonly kind: 'give back'; readonly pages: number }
  /** Copies the WAL into the database and empties it. */
  | { readonly kind: 'settle' }

/** Gives ranges of the log back, whole units of one segment each, which no revision up to `asOf` points to. */
export interface EraseStep {
  readonly kind: 'erase'
  readonly asOf: bigint
  /** Where each range begins and ends. A range that is a whole segment removes it. */
  readonly ranges: Float64Array
}

/** How many numbers there are for each range. */
export const RANGE_FIELDS = 2

export interface PackStepResult {
  /** In the writer's thread. */
  readonly durationMs: number
  /** Rows that were deleted. */
  readonly rows: number
  /** Of the log, given back. */
  readonly bytes: number
  /** An erase that was not done: meanwhile somebody points there. */
  readonly isStale: boolean
}
