/** What the event loop and the pack's thread say to each other. */
import type { WireError } from '../../store/errors.ts'
import type { PackStep, PackStepResult } from '../../store/sqlite/pack/pack-steps.ts'

/** What a pack is doing, and how far it is. */
export interface PackProgress {
  readonly phase: PackPhase
  readonly done: number
  readonly total: number
}

/**
 * `mark`: objects found and looked into (of those that may exist at all). `sweep`: object ids. `log`: bytes of the
 * log. `give back`: bytes of the file.
 */
export type PackPhase = 'mark' | 'sweep' | 'log' | 'give back'

/** What a pack did. */
export interface PackReport {
  /** What the database takes on the disk, with the WAL copied into it. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly revisionsDropped: number
  /** Objects that nothing reaches. */
  readonly objectsDropped: number
  readonly transactionsForgotten: number
  /** Bytes of the log that became holes, or went with their segment. */
  readonly logBytesFreed: number
  readonly durationMs: number
  /** The longest time that a commit had to wait for a step. */
  readonly longestStepMs: number
}

/** Given to the thread when it starts. */
export interface PackData {
  readonly path: string
  readonly from: bigint
  readonly earlier: readonly bigint[]
  /** How long to rest after each piece of work, as a multiple of the time that it took. */
  readonly rest: number
  /** Free pages that may stay in the file, in bytes. */
  readonly spareBytes: number
}

/** From the thread. A step is answered before the next one comes. */
export type PackMessage =
  | { readonly kind: 'step'; readonly step: PackStep }
  | { readonly kind: 'progress'; readonly progress: PackProgress }
  | { readonly kind: 'done'; readonly report: PackReport }
  | { readonly kind: 'failed'; readonly error: WireError }

/** To the thread: the answer to a step. */
export type StepAnswer = { readonly result: PackStepResult } | { readonly error: WireError }
