/**
 * The changes since the last transaction, for the store's intent log. While all of them are here or in the log, an fsync
 * needs to put nothing else on disk: they are replayed after a crash (replay.ts).
 */
import { encodeEntry, encodeIntent } from './intent-codec.ts'
import type { Intent } from './intent.ts'

/** Beyond this size a transaction is as cheap. */
const STAGED_BYTES_MAX = 256 << 10

export class StagedIntents {
  readonly #isUsed: boolean
  #staged: Uint8Array[] = []
  #stagedBytes = 0
  /** Whether every change since {@link StagedIntents.restart} is staged here or in the log. */
  #isComplete = false

  /** @param isUsed whether the store has an intent log. */
  constructor(isUsed: boolean) {
    this.#isUsed = isUsed
  }

  get isComplete(): boolean {
    return this.#isComplete
  }

  /** Starts staging: all earlier changes are in a transaction, or prepared for one. */
  restart(): void {
    this.#clear()
    this.#isComplete = this.#isUsed
  }

  /** A change was made that only a transaction can store. */
  spoil(): void {
    this.#clear()
    this.#isComplete = false
  }

  /** Stages a change; its data is copied. */
  note(intent: Intent): void {
    if (!this.#isComplete) return
    const dataBytes = intent.kind === 'write' ? intent.data.length : 0
    if (this.#stagedBytes + dataBytes > STAGED_BYTES_MAX) return this.spoil()
    const bytes = encodeIntent(intent)
    this.#staged.push(bytes)
    this.#stagedBytes += bytes.length
  }

  /** The entry of what was staged since the last call; undefined if that is nothing. */
  take(): Uint8Array | undefined {
    if (this.#stagedBytes === 0) return undefined
    const entry = encodeEntry(this.#staged)
    this.#clear()
    return entry
  }

  #clear(): void {
    if (this.#staged.length > 0) this.#staged = []
    this.#stagedBytes = 0
  }
}
