/** What a check of every byte remembers, so that it can be interrupted (capabilities.ts, `Checking`). */

/** The bulk bytes that a check has read and found intact. */
export interface VerifiedBytes {
  /** Those before this position need not be read again. */
  readonly from: number
  /** Remembers that those before a position are intact. */
  note(position: number): void
}

/** Remembers how far a check of every byte has got, so that the next one can continue there. */
export interface CheckMemory {
  /** What an interrupted check has left; undefined if there is none, or it is old. */
  begun(): { readonly position: number; readonly startedMs: number } | undefined
  note(position: number): void
  clear(): void
}
