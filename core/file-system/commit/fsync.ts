/**
 * fsync: the fast path through the store's intent log.
 *
 * If every change since the last transaction can be an intent, an fsync appends these intents to the intent log (one
 * write and one sync) instead of committing; a transaction follows later. One entry is appended at a time, while no
 * commit runs; fsyncs that arrive meanwhile share the next entry. In every other case an fsync is a commit.
 */
import type { Intents } from '../../../store/capabilities.ts'
import type { Committer } from './committer.ts'
import type { StagedIntents } from './staged-intents.ts'

export class Fsync {
  readonly #log: Intents | undefined
  readonly #intents: StagedIntents
  readonly #committer: Committer
  /** The entry that is being appended, and the next one: whether it covers everything. */
  #entry: Promise<boolean> | undefined
  #nextEntry: Promise<boolean> | undefined

  constructor(log: Intents | undefined, intents: StagedIntents, committer: Committer) {
    this.#log = log
    this.#intents = intents
    this.#committer = committer
  }

  /** Everything up to now is on disk when this resolves, in a transaction or in the intent log. @throws StoreError */
  async fsync(): Promise<void> {
    if (this.#log !== undefined) {
      this.#nextEntry ??= this.#appendNext(this.#log)
      if (await this.#nextEntry) return
    }
    await this.#committer.sync()
  }

  /** Resolves to whether the log has every change that is not in a transaction. */
  async #appendNext(log: Intents): Promise<boolean> {
    // Yields at least once, so that the caller can assign #nextEntry.
    await this.#entry
    await this.#committer.settled()
    this.#entry = this.#nextEntry
    this.#nextEntry = undefined
    if (!this.#committer.isIdle || !this.#intents.isComplete) return false
    const entry = this.#intents.take()
    if (entry === undefined || (await log.add(entry))) return true
    // The entry was taken and is lost to the log: only a transaction can store it now.
    this.#intents.spoil()
    return false
  }
}
