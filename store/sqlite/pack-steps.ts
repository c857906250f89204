/**
 * What a pack asks of the writer: small steps, each one SQLite transaction, done between commits. Each leaves the
 * database whole, says again what was done already without harm, and tells how long it took, so that the next can
 * be made shorter. Steps are not synced one by one: what a crash undoes is packed again.
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
  | MoveStep
  | EraseStep
  /** Gives so many free pages back to the host's filesystem. */
  | { readonly kind: 'give back'; readonly pages: number }
  /** Copies the WAL into the database and empties it. */
  | { readonly kind: 'settle' }

/** Copies runs of the log to its end and points the revisions that lie in them there. */
export interface MoveStep {
  readonly kind: 'move'
  /** Where each run begins and how long it is. */
  readonly runs: Float64Array
  /** Revisions: which run (an index), oid, pos, len. */
  readonly rows: Float64Array
  readonly tids: BigInt64Array
}

/** Deletes the extents that lie wholly in ranges of the log which no revision up to `asOf` points to. */
export interface EraseStep {
  readonly kind: 'erase'
  readonly asOf: bigint
  /** Where each range begins and ends. */
  readonly ranges: Float64Array
}

/** How many numbers there are for each run, range and row. */
export const RUN_FIELDS = 2
export const ROW_FIELDS = 4

export interface PackStepResult {
  /** In the writer's thread. */
  readonly durationMs: number
  /** Rows that were deleted or moved. */
  readonly rows: number
  readonly bytes: number
  /** The runs of a move that could not be read, by index. They are where they were. */
  readonly damaged: readonly number[]
  /** An erase that was not done: meanwhile somebody points there. */
  readonly isStale: boolean
}
