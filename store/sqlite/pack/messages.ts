/** The messages between the event loop and the thread that packs. */
import type { PackProgress, PackReport } from '../../capabilities.ts'
import type { MasterKey } from '../../encryption/keys.ts'
import type { WireError } from '../../errors.ts'
import type { PackStep, PackStepResult } from '../../indexed/pack/pack-steps.ts'

/** The thread's `workerData`. */
export interface PackData {
  readonly path: string
  /** Undefined for a database that is not encrypted. */
  readonly key: MasterKey | undefined
  readonly from: bigint
  readonly earlier: readonly bigint[]
  /** The URL of a MarkModule. */
  readonly marker: string
  /** How long to rest after each piece of work, as a multiple of the time that it took. */
  readonly rest: number
  /** Bytes of free pages to leave in the file. */
  readonly spareBytes: number
}

/** From the thread, which sends a step only after the answer to the previous one. */
export type PackMessage =
  /** All modules are loaded: the thread may be terminated. */
  | { readonly kind: 'loaded' }
  | { readonly kind: 'step'; readonly step: PackStep }
  | { readonly kind: 'progress'; readonly progress: PackProgress }
  | { readonly kind: 'done'; readonly report: PackReport }
  | { readonly kind: 'failed'; readonly error: WireError }

/** To the thread: the answer to a step. */
export type StepAnswer = { readonly result: PackStepResult } | { readonly error: WireError }
