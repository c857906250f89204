/** The write half of a store over an index and a Bulk: allocation of oids, the last transaction, and intents. */
import type { FoundIntents, IntentEntries, Intents, Spilling } from '../capabilities.ts'
import { StoreError } from '../errors.ts'
import { oid as toOid, TID_NONE, type Tid } from '../ids.ts'
import type { ObjectChange } from '../changes.ts'
import type { DatabaseClock } from './database-clock.ts'
import type { NewTransaction, OidRange } from '../store.ts'

export interface WriteHalfParts {
  /** The store's name, for messages. */
  readonly name: string
  readonly lastTid: Tid
  readonly nextOid: number
  /** Stores a transaction after those of earlier calls. `nextOid`: the first oid that is not allocated. */
  readonly commit: (transaction: NewTransaction, nextOid: number) => Promise<Tid>
  /** Assigns the tids of new transactions. */
  readonly clock: DatabaseClock
  /** Stores a part of the next transaction; `nextOid` as for `commit`. The first part of a transaction assigns its tid. */
  readonly spill: (changes: readonly ObjectChange[], nextOid: number, tid: Tid) => Promise<Tid>
  /** Removes the parts that no transaction has completed. */
  readonly dropSpilled: () => Promise<void>
  /** Undefined if the store does not support them. */
  readonly intents: IntentEntries | undefined
  /** The error message for unread entries. */
  readonly describeWaiting: (base: Tid, count: number) => string
}

export class WriteHalf {
  /** The implementation of the intents capability. */
  readonly intents: Intents | undefined
  /** The implementation of the capability for transactions in parts. */
  readonly spilling: Spilling = {
    spill: async (changes, wanted) => {
      const { tid = TID_NONE } = await this.#prepared({
        changes,
        ...(wanted !== undefined && { tid: wanted }),
      })
      return await this.#parts.spill(changes, this.#nextOid, tid)
    },
    drop: async () => {
      this.#assertOpen()
      await this.#parts.dropSpilled()
    },
  }
  readonly #parts: WriteHalfParts
  /** False while unread entries may exist; the next transaction would invalidate them. */
  #areIntentsRead = false
  #lastTid: Tid
  #nextOid: number
  #isClosed = false
  #preparing: Promise<unknown> = Promise.resolve()

  constructor(parts: WriteHalfParts) {
    this.#parts = parts
    this.#lastTid = parts.lastTid
    this.#nextOid = parts.nextOid
    const { intents } = parts
    this.intents = intents && {
      read: async () => {
        this.#areIntentsRead = true
        return await this.#readIntents(intents)
      },
      add: (bytes, follows) => intents.add(bytes, follows),
      get needsTransaction() {
        return intents.needsTransaction
      },
      reserve: () => parts.clock.nextTid(this.#lastTid),
    }
  }

  get lastTid(): Tid {
    return this.#lastTid
  }

  /** Continues after transactions of another writer. No call may be in progress. */
  resume(lastTid: Tid, nextOid: number): void {
    this.#lastTid = lastTid
    this.#nextOid = nextOid
  }

  /** After this every other method rejects. */
  close(): void {
    this.#isClosed = true
  }

  /** Resolves when all requested transactions have been handed over or rejected. */
  async settled(): Promise<void> {
    await this.#preparing
  }

  // oxlint-disable-next-line require-await -- errors must reject, not throw
  async allocateOids(count: number): Promise<OidRange> {
    this.#assertOpen()
    const first = toOid(this.#nextOid)
    this.#nextOid = toOid(this.#nextOid + count)
    return { first, count }
  }

  async commit(transaction: NewTransaction): Promise<Tid> {
    this.#lastTid = await this.#parts.commit(await this.#prepared(transaction), this.#nextOid)
    return this.#lastTid
  }

  /**
   * A transaction that can be stored: with its tid, unless it has one or needs none. Those of several calls are ready in call
   * order.
   */
  #prepared(transaction: NewTransaction): Promise<NewTransaction> {
    this.#assertOpen()
    const { changes } = transaction
    // Objects with given oids (copies from another database) allocate these.
    for (const { oid } of changes) if (oid >= this.#nextOid) this.#nextOid = oid + 1
    const isDated = transaction.tid !== undefined || changes.length === 0
    const prepared = this.#preparing.then(async () => {
      if (!this.#areIntentsRead) await this.#assertNoIntents()
      return isDated ? transaction : { ...transaction, tid: await this.#parts.clock.nextTid(this.#lastTid) }
    })
    this.#preparing = prepared.catch(() => undefined)
    return prepared
  }

  async #readIntents(intents: IntentEntries): Promise<FoundIntents> {
    const found = await intents.read()
    if (found.uncommitted !== undefined) this.#parts.clock.pass(found.uncommitted)
    return found
  }

  async #assertNoIntents(): Promise<void> {
    const { intents } = this.#parts
    const found = intents && (await this.#readIntents(intents))
    if (found !== undefined && found.entries.length > 0)
      throw new StoreError(this.#parts.describeWaiting(this.#lastTid, found.entries.length))
    this.#areIntentsRead = true
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StoreError(`${this.#parts.name} is closed`)
  }
}
