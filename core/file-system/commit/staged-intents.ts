/**
 * The changes since the last transaction, for the store's intent log. While all of them are here or in the log, an fsync
 * needs to put nothing else on disk: they are replayed after a crash (replay.ts).
 */
import { beginEntry, encodeIntent, isEncodable } from './intent-codec.ts'
import type { IntentChange } from './intent.ts'

/** Initial and maximum length of an entry: beyond the maximum a transaction is as cheap. */
const ENTRY_BYTES = 16 << 10
const ENTRY_BYTES_MAX = 256 << 10

export class StagedIntents {
  readonly #isUsed: boolean
  /** The entry that receives intents, and the previous one, whose memory is reused. */
  #entry = Buffer.alloc(0)
  #taken = Buffer.alloc(0)
  #end = 0
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

  /** To be called for a change that only a transaction can store. */
  spoil(): void {
    this.#clear()
    this.#isComplete = false
  }

  /** Stages a change; its data is copied. */
  note(timeNs: bigint, change: IntentChange): void {
    if (!this.#isComplete) return
    if (!isEncodable(change)) return this.spoil()
    for (;;) {
      const end = this.#end === 0 ? undefined : encodeIntent(timeNs, change, this.#entry, this.#end)
      if (end !== undefined) return void (this.#end = end)
      if (!this.#makeRoom()) return this.spoil()
    }
  }

  /** The entry staged since the last call, valid until the next call; undefined if it is empty. */
  take(): Uint8Array | undefined {
    if (this.#end === 0) return undefined
    const entry = this.#entry
    const end = this.#end
    this.#entry = this.#taken
    this.#taken = entry
    this.#clear()
    return entry.subarray(0, end)
  }

  /** Begins the entry or doubles its capacity. Returns whether it did. */
  #makeRoom(): boolean {
    const isBegun = this.#end > 0
    if (isBegun && this.#entry.length === ENTRY_BYTES_MAX) return false
    const bytes = isBegun ? 2 * this.#entry.length : Math.max(ENTRY_BYTES, this.#entry.length)
    if (bytes > this.#entry.length) {
      const longer = Buffer.allocUnsafeSlow(bytes)
      this.#entry.copy(longer, 0, 0, this.#end)
      this.#entry = longer
    }
    if (!isBegun) this.#end = beginEntry(this.#entry)
    return true
  }

  #clear(): void {
    this.#end = 0
  }
}
