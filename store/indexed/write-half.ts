/** The write half of a store over an index and a Bulk: allocation of oids, the last transaction, and intents. */
import type { Intents, Spilling } from '../capabilities.ts'
import { StoreError } from '../errors.ts'
import { oid as toOid, type Tid } from '../ids.ts'
import type { ObjectChange } from '../changes.ts'
import type { NewTransaction, OidRange } from '../store.ts'

export interface WriteHalfParts {
  /** The store's name, for messages. */
  readonly name: string
  readonly lastTid: Tid
  readonly nextOid: number
  /** Stores a transaction after those of earlier calls. `nextOid`: the first oid that is not allocated. */
  readonly commit: (transaction: NewTransaction, nextOid: number) => Promise<Tid>
  /** Stores a part of the next transaction; `nextOid` as for `commit`. */
  readonly spill: (changes: readonly ObjectChange[], nextOid: number) => Promise<Tid>
  /** Removes the parts that no transaction has completed. */
  readonly dropSpilled: () => Promise<void>
  /** Undefined if the store does not support them. */
  readonly intents: Intents | undefined
  /** The message about entries that have not been read. */
  readonly describeWaiting: (base: Tid, count: number) => string
}

export class WriteHalf {
  /** The intents, as the capability offers them. */
  readonly intents: Intents | undefined
  /** Transactions in parts, as the capability offers them. */
  readonly spilling: Spilling = {
    spill: async changes => {
      await this.#prepare(changes)
      return await this.#parts.spill(changes, this.#nextOid)
    },
    drop: async () => {
      this.#assertOpen()
      await this.#parts.dropSpilled()
    },
  }
  readonly #parts: WriteHalfParts
  /** False while there may be entries to be read before the next transaction, which voids them. */
  #areIntentsRead = false
  #lastTid: Tid
  #nextOid: number
  #isClosed = false

  constructor(parts: WriteHalfParts) {
    this.#parts = parts
    this.#lastTid = parts.lastTid
    this.#nextOid = parts.nextOid
    const { intents } = parts
    this.intents = intents && {
      read: async () => {
        this.#areIntentsRead = true
        return await intents.read()
      },
      add: bytes => intents.add(bytes),
    }
  }

  get lastTid(): Tid {
    return this.#lastTid
  }

  /** After this every other method rejects. */
  close(): void {
    this.#isClosed = true
  }

  // oxlint-disable-next-line require-await -- errors must reject, not throw
  async allocateOids(count: number): Promise<OidRange> {
    this.#assertOpen()
    const first = toOid(this.#nextOid)
    this.#nextOid = toOid(this.#nextOid + count)
    return { first, count }
  }

  async commit(transaction: NewTransaction): Promise<Tid> {
    await this.#prepare(transaction.changes)
    this.#lastTid = await this.#parts.commit(transaction, this.#nextOid)
    return this.#lastTid
  }

  async #prepare(changes: readonly ObjectChange[]): Promise<void> {
    this.#assertOpen()
    // Objects that come with their oids, as copies from elsewhere do, take them.
    for (const { oid } of changes) if (oid >= this.#nextOid) this.#nextOid = oid + 1
    if (!this.#areIntentsRead) await this.#assertNoIntents()
  }

  async #assertNoIntents(): Promise<void> {
    const found = await this.#parts.intents?.read()
    if (found !== undefined && found.entries.length > 0)
      throw new StoreError(this.#parts.describeWaiting(this.#lastTid, found.entries.length))
    this.#areIntentsRead = true
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StoreError(`${this.#parts.name} is closed`)
  }
}
