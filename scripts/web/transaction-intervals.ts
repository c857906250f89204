/**
 * The transactions of a database as numbers, for a plot over time: read once, then continued. At most {@link TRANSACTIONS_MAX}
 * of them, 20 bytes each; the oldest are left out.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { Tid } from '../../store/ids.ts'
import { timelineOf } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'

const TRANSACTIONS_MAX = 1 << 20
const FIRST_CAPACITY = 1 << 12
/** How many transactions are read before other requests are answered. */
const TURN_TRANSACTIONS = 1 << 10

/** Transactions per interval. */
export interface Intervals {
  /** The beginning of each interval, in milliseconds since 1970. */
  readonly times: readonly number[]
  readonly transactions: readonly number[]
  /** Bytes of records stored. */
  readonly bytes: readonly number[]
  /** The first and the last transaction that is kept, in milliseconds since 1970; undefined if there are none. */
  readonly first: number | undefined
  readonly last: number | undefined
  /** Number of all transactions. */
  readonly count: number
}

export class TransactionIntervals {
  readonly #store: Store
  #times = new Float64Array(FIRST_CAPACITY)
  #bytes = new Float64Array(FIRST_CAPACITY)
  #count = 0
  #last: Tid | undefined
  #reading: Promise<void> | undefined

  constructor(store: Store) {
    this.#store = store
  }

  /** Transactions from `from` to `to`, milliseconds since 1970, in `count` intervals; by default over all. @throws StoreError */
  async intervals(count: number, from?: number, to?: number): Promise<Intervals> {
    // One reader at a time; callers share it.
    await (this.#reading ??= this.#read().finally(() => (this.#reading = undefined)))
    const first = this.#count === 0 ? undefined : this.#times[0]
    const last = this.#count === 0 ? undefined : this.#times[this.#count - 1]
    const lo = from ?? first ?? 0
    const hi = Math.max(lo + count, to ?? (last ?? 0) + 1)
    const width = (hi - lo) / count
    const transactions = Array.from<number>({ length: count }).fill(0)
    const bytes = Array.from<number>({ length: count }).fill(0)
    for (let i = this.#search(lo); i < this.#count; i++) {
      const interval = Math.floor(((this.#times[i] ?? 0) - lo) / width)
      if (interval >= count) break
      transactions[interval] = (transactions[interval] ?? 0) + 1
      bytes[interval] = (bytes[interval] ?? 0) + (this.#bytes[i] ?? 0)
    }
    const times = transactions.map((_, i) => Math.round(lo + i * width))
    return { times, transactions, bytes, first, last, count: this.#count }
  }

  async #read(): Promise<void> {
    const after = this.#last
    const timeline = await timelineOf(this.#store)
    for await (const { tid, bytes } of this.#store.transactions(after === undefined ? {} : { after })) {
      if (this.#count === this.#times.length) this.#makeRoom()
      this.#times[this.#count] = timeline.timeOf(tid)
      this.#bytes[this.#count++] = bytes
      this.#last = tid
      if (this.#count % TURN_TRANSACTIONS === 0) await turn()
    }
  }

  #makeRoom(): void {
    const { length } = this.#times
    if (length < TRANSACTIONS_MAX) {
      const [times, bytes] = [new Float64Array(2 * length), new Float64Array(2 * length)]
      times.set(this.#times)
      bytes.set(this.#bytes)
      this.#times = times
      this.#bytes = bytes
      return
    }
    this.#times.copyWithin(0, length / 2)
    this.#bytes.copyWithin(0, length / 2)
    this.#count = length / 2
  }

  /** The first transaction at or after a time. */
  #search(time: number): number {
    let [lo, hi] = [0, this.#count]
    while (lo < hi) {
      const middle = (lo + hi) >> 1
      if ((this.#times[middle] ?? 0) < time) lo = middle + 1
      else hi = middle
    }
    return lo
  }
}
