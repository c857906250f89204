/** What the event loop and the writer's thread say to each other. */
import type { WireError } from '../../errors.ts'
import type { PackStep, PackStepResult } from '../../indexed/pack/pack-steps.ts'
import type { WireTransaction } from './wire.ts'

/** Given to the worker when it starts. */
export interface WriterData {
  /** The database's, through the descriptor of its directory. */
  readonly path: string
  /** The descriptor of the database file. */
  readonly fd: number
}

export type WriterRequest =
  | { readonly kind: 'commit'; readonly transaction: WireTransaction; readonly nextOid: number }
  | { readonly kind: 'pack'; readonly step: PackStep }
  | { readonly kind: 'close' }

/** The first comes when the writer is ready; then one for each request, in their order. */
export type WriterReply =
  | {
      readonly kind: 'done'
      readonly lastTid: bigint
      readonly nextOid: number
      readonly stats: WriterStats
      /** What a pack's step did. */
      readonly packed?: PackStepResult
    }
  | { readonly kind: 'error'; readonly error: WireError }

/** What the writer counts. */
export interface WriterStats {
  readonly commits: number
  readonly checkpoints: number
  /** Bytes of records in the transactions that were committed, shared ones included. */
  readonly committedBytes: number
  /** Why the last checkpoint failed; undefined when it did not. Nothing is lost, but the WAL grows meanwhile. */
  readonly checkpointFailure: string | undefined
}
