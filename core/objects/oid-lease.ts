/**
 * Oids for new objects, taken from ranges that the store has allocated. The next range is requested before the current
 * one is used up, so that creating objects rarely waits for the store.
 */
import { oid, type Oid } from '../../store/ids.ts'
import type { OidRange, WritableStore } from '../../store/store.ts'

/** Each range is twice as long as the previous one, within these bounds, so that a short session allocates few. */
const RANGE_MIN = 64
const RANGE_MAX = 4096

export class OidLease {
  readonly #store: WritableStore
  #next = 0
  #left = 0
  #length = RANGE_MIN / 2
  #requested: Promise<OidRange> | undefined
  #unstoredFrom: number | undefined

  constructor(store: WritableStore) {
    this.#store = store
  }

  /** Oids taken from now on are this one or higher. */
  get next(): Oid {
    return oid(this.#next)
  }

  /**
   * Waits until {@link take} can return `count` oids; undefined if it can now. Take them before the next await, or call
   * this again.
   */
  reserve(count: number): Promise<void> | undefined {
    if (this.#left < count) return this.#renew(count)
    if (this.#left * 2 < this.#length) void this.#request(0)
    return undefined
  }

  /** The end of the oids that may be taken now. */
  get end(): number {
    return this.#next + this.#left
  }

  /**
   * No transaction records that the oids from this one on are allocated, so another writer that follows the last transaction may allocate
   * them as well. Undefined if none of them was taken.
   */
  get unstoredFrom(): number | undefined {
    return this.#unstoredFrom
  }

  /** A transaction is stored that was requested when {@link OidLease.end} was this. */
  stored(end: number): void {
    if (this.#unstoredFrom !== undefined) this.#unstoredFrom = Math.max(this.#unstoredFrom, end)
  }

  /** Gives up what was allocated: another writer may have allocated the same since. */
  forget(): void {
    this.#unstoredFrom = undefined
    this.#left = 0
    this.#requested = undefined
  }

  /** The first of `count` consecutive oids, all above earlier ones. They must have been reserved. */
  take(count: number): Oid {
    if (count > this.#left) throw new Error(`${count} oids were taken, but not reserved`)
    const first = oid(this.#next)
    this.#next += count
    this.#left -= count
    return first
  }

  /** Reserves and takes `count` oids. */
  async give(count: number): Promise<Oid> {
    for (;;) {
      const reserved = this.reserve(count)
      if (reserved === undefined) return this.take(count)
      await reserved
    }
  }

  /** Gives up oids up to `last`. */
  async pass(last: Oid): Promise<void> {
    // The first reservation tells which are next.
    for (let count = 1; count > 0; count = last + 1 - this.#next) {
      for (let wait = this.reserve(count); wait !== undefined; wait = this.reserve(count)) await wait
      if (this.#next <= last) this.take(Math.min(count, last + 1 - this.#next))
    }
  }

  async #renew(count: number): Promise<void> {
    while (this.#left < count) {
      const requested = this.#request(count)
      const range = await requested
      // Another caller may have adopted it.
      if (this.#requested !== requested) continue
      this.#requested = undefined
      this.#unstoredFrom ??= range.first
      this.#next = range.first
      this.#left = range.count
    }
  }

  #request(count: number): Promise<OidRange> {
    if (this.#requested !== undefined) return this.#requested
    this.#length = Math.min(RANGE_MAX, this.#length * 2)
    const requested = this.#store.allocateOids(Math.max(count, this.#length))
    this.#requested = requested
    requested.catch(() => {
      if (this.#requested === requested) this.#requested = undefined
    })
    return requested
  }
}
