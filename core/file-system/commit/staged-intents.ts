/**
 * The changes that no transaction has, for the store's intent log. While all of them are here or in the log, an fsync
 * needs to put nothing else on disk: they are replayed after a crash (replay.ts).
 *
 * A prepare **seals** what is staged: it is part of the transaction that is being committed, and what is staged from then on follows that
 * transaction. Until the commit ends, an fsync logs what was sealed, unless the log has it, before the rest.
 */
import { beginEntry, encodeIntent, isEncodable } from './intent-codec.ts'
import type { IntentChange } from './intent.ts'

/** Initial length of an entry's memory. */
const ENTRY_BYTES = 16 << 10
/** Maximum length of an entry until an fsync needs a longer one. */
const SHORT_ENTRY_BYTES = 256 << 10
/** Maximum length of an entry, an eighth of the log's file. */
const LONG_ENTRY_BYTES = 2 << 20
/** The length of most intents, without the data of a write. */
const INTENT_BYTES = 128

export class StagedIntents {
  readonly #isUsed: boolean
  /** The entry that receives intents, the sealed one, and one that was taken, whose memory is reused. */
  #entry = Buffer.alloc(0)
  #sealed = Buffer.alloc(0)
  #taken = Buffer.alloc(0)
  #end = 0
  #sealedEnd = 0
  #bytesMax = SHORT_ENTRY_BYTES
  /** Estimated length of all intents since the last prepare, if an entry cannot have them; Infinity if only a transaction can store them. */
  #excessBytes = Infinity
  /** Whether an fsync took an entry since the last prepare, or would have taken a longer one. */
  #isSynced = false
  /** Whether every change since the last prepare is staged here or in the log. */
  #isComplete = false
  /** Whether every change that the running commit stores is sealed here, in the log, or stored. */
  #isSealedComplete = true

  /** @param isUsed whether the store has an intent log. */
  constructor(isUsed: boolean) {
    this.#isUsed = isUsed
  }

  /** Whether every change that no transaction has, is staged here or in the log. */
  get isComplete(): boolean {
    return this.#isComplete && this.#isSealedComplete
  }

  /** As {@link StagedIntents.isComplete}, of the changes that the running commit stores. */
  get isSealedComplete(): boolean {
    return this.#isSealedComplete
  }

  /** Every change so far is prepared for a transaction, whose commit begins. */
  seal(): void {
    const sealed = this.#sealed
    this.#sealed = this.#entry
    this.#sealedEnd = this.#end
    this.#isSealedComplete = this.#isComplete
    this.#entry = sealed
    this.#end = 0
    this.#isComplete = this.#isUsed
    if (this.#excessBytes > 0 && !this.#isSynced) this.#shorten()
    this.#excessBytes = 0
    this.#isSynced = false
  }

  /** The transaction is stored. */
  unseal(): void {
    this.#sealedEnd = 0
    this.#isSealedComplete = true
  }

  /** To be called for a change that only a transaction can store. */
  spoil(): void {
    this.#end = 0
    this.#isComplete = false
    this.#excessBytes = Infinity
  }

  /** To be called when a commit has failed, and when a taken entry could not be added to the log: only a transaction can store everything. */
  spoilAll(): void {
    this.spoil()
    this.#sealedEnd = 0
    this.#isSealedComplete = false
  }

  /** To be called when an fsync needs a transaction: if a longer entry would have served it, the next ones may be longer. */
  fellShort(): void {
    if (this.#excessBytes === 0 || this.#excessBytes > LONG_ENTRY_BYTES) return
    this.#isSynced = true
    this.#bytesMax = LONG_ENTRY_BYTES
  }

  /** Stages a change; its data is copied. */
  note(timeNs: bigint, change: IntentChange): void {
    if (!this.#isComplete) return void (this.#excessBytes += lengthOf(change))
    if (!isEncodable(change)) return this.spoil()
    for (;;) {
      const end = this.#end === 0 ? undefined : encodeIntent(timeNs, change, this.#entry, this.#end)
      if (end !== undefined) return void (this.#end = end)
      if (!this.#makeRoom()) return this.#exceed(change)
    }
  }

  /** The sealed entry, valid until the next call of a take method; undefined if it is empty or was taken. */
  takeSealed(): Uint8Array | undefined {
    if (this.#sealedEnd === 0) return undefined
    const entry = this.#sealed
    this.#sealed = this.#taken
    this.#taken = entry
    const end = this.#sealedEnd
    this.#sealedEnd = 0
    return entry.subarray(0, end)
  }

  /** The entry staged since the last call, valid until the next call of a take method; undefined if it is empty. */
  take(): Uint8Array | undefined {
    if (this.#end === 0) return undefined
    const entry = this.#entry
    const end = this.#end
    this.#entry = this.#taken
    this.#taken = entry
    this.#end = 0
    this.#isSynced = true
    return entry.subarray(0, end)
  }

  #exceed(change: IntentChange): void {
    this.#excessBytes = this.#end + lengthOf(change)
    this.#end = 0
    this.#isComplete = false
  }

  /** More is written than entries are for: longer ones would only be filled and dropped. */
  #shorten(): void {
    if (this.#bytesMax === SHORT_ENTRY_BYTES) return
    this.#bytesMax = SHORT_ENTRY_BYTES
    this.#entry = Buffer.alloc(0)
    this.#taken = Buffer.alloc(0)
    if (this.#sealedEnd === 0) this.#sealed = Buffer.alloc(0)
  }

  /** Begins the entry or doubles its capacity. Returns whether it did. */
  #makeRoom(): boolean {
    const isBegun = this.#end > 0
    if (isBegun && this.#entry.length >= this.#bytesMax) return false
    const bytes = isBegun ? 2 * this.#entry.length : Math.max(ENTRY_BYTES, this.#entry.length)
    if (bytes > this.#entry.length) {
      const longer = Buffer.allocUnsafeSlow(bytes)
      this.#entry.copy(longer, 0, 0, this.#end)
      this.#entry = longer
    }
    if (!isBegun) this.#end = beginEntry(this.#entry)
    return true
  }
}

const lengthOf = (change: IntentChange): number =>
  INTENT_BYTES + (change.kind === 'write' ? change.data.length : 0)
