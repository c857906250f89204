/** Messages between the event loop and the writer's thread. */
import type { CompressionName } from '../../compression.ts'
import type { MasterKey } from '../../encryption/keys.ts'
import type { WireError } from '../../errors.ts'
import type { PackStep, PackStepResult } from '../../indexed/pack/pack-steps.ts'
import type { WireTransaction } from './wire.ts'

/** What a writer's thread is started with. */
export interface WriterOptions {
  /** How new bulk bytes are to be stored from now on; undefined for no change. */
  readonly compression: CompressionName | undefined
  /** Undefined for a database that is not encrypted. */
  readonly key: MasterKey | undefined
  /** Whether the reserve is held at once on a disk with ample space, or when the database has been open for a while. */
  readonly keepsOpen: boolean
}

/** The worker's `workerData`. */
export interface WriterData extends WriterOptions {
  /** The descriptor of the database's directory, and its name there. */
  readonly directory: number
  readonly name: string
  /** The descriptor of the database file. */
  readonly fd: number
}

export type WriterRequest =
  | { readonly kind: 'commit'; readonly transaction: WireTransaction; readonly nextOid: number }
  /** A part of a transaction; the reply has its tid in `spilled`. Its texts are not used. */
  | { readonly kind: 'spill'; readonly transaction: WireTransaction; readonly nextOid: number }
  | { readonly kind: 'drop spilled' }
  | { readonly kind: 'pack'; readonly step: PackStep }
  | { readonly kind: 'store unnamed'; readonly isAllowed: boolean }
  /** Gives the files next to a renamed database its new name. */
  | { readonly kind: 'follow' }
  | { readonly kind: 'close' }

/** The first means that the writer is ready; then one follows per request, in order. */
export type WriterReply =
  | {
      readonly kind: 'done'
      readonly lastTid: bigint
      readonly nextOid: number
      readonly stats: WriterStats
      /** The database's name now. The descriptor of its directory is open until the thread ends. */
      readonly directory: number
      readonly name: string
      /** The result of a pack's step. */
      readonly packed?: PackStepResult
      readonly spilled?: bigint
    }
  | { readonly kind: 'error'; readonly error: WireError }

/** The writer's counters. */
export interface WriterStats {
  readonly commits: number
  readonly checkpoints: number
  /** Bytes of records in committed transactions, including shared bytes. */
  readonly committedBytes: number
  /** Why the last checkpoint failed; undefined if it succeeded. Nothing is lost, but the WAL grows meanwhile. */
  readonly checkpointFailure: string | undefined
}
