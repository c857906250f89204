/**
 * fsync: the fast path through the store's intent log.
 *
 * If every change that no transaction has can be an intent, an fsync appends these intents to the intent log (one
 * write and one sync) instead of committing; a transaction follows later. One entry is appended at a time; fsyncs that arrive
 * meanwhile share the next entry. In every other case an fsync is a commit.
 *
 * A commit does not stop fsyncs: an entry that is appended meanwhile follows the transaction being committed. First the log gets the changes
 * that this transaction will have, because they may be lost with it.
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

  /** Resolves to whether every change up to now is in the log or in a transaction. */
  async #appendNext(log: Intents): Promise<boolean> {
    // Yields at least once, so that the caller can assign #nextEntry.
    await this.#entry
    if (!this.#intents.isSealedComplete) await this.#committer.settled()
    this.#entry = this.#nextEntry
    this.#nextEntry = undefined
    const isLogged = await this.#append(log)
    if (isLogged && log.needsTransaction) this.#committer.commitSoon()
    return isLogged
  }

  async #append(log: Intents): Promise<boolean> {
    // While an entry is written, a commit may end and another one begin.
    while (this.#committer.canLog && this.#intents.isComplete) {
      const sealed = this.#intents.takeSealed()
      const entry = sealed ?? this.#intents.take()
      if (entry === undefined) return true
      const { committedAt, storingAt = committedAt } = this.#committer
      if (!(await log.add(entry, sealed === undefined ? storingAt : committedAt))) {
        // The entry was taken and is lost to the log: only a transaction can store it now.
        this.#intents.spoilAll()
        return false
      }
      if (sealed === undefined) return true
    }
    this.#intents.fellShort()
    return false
  }
}
