/** Lists transactions page by page, so that a slow caller, or one that stops early, holds no read open. */
import type { Awaitable } from './awaitable.ts'
import { tid, TID_MAX, TID_NONE, type Tid } from './ids.ts'
import type { TransactionInfo, TransactionRange } from './store.ts'

/**
 * Reads at most `limit` transactions of `(after, upTo]`: the oldest ascending, or the newest descending if `reverse`. A page
 * may end early, but is empty only if the range has none.
 */
export type ReadPage = (
  after: Tid,
  upTo: Tid,
  reverse: boolean,
  limit: number,
) => Awaitable<readonly TransactionInfo[]>

/** The transactions of a range, `pageLength` at a time. `between` is awaited between two pages. */
export async function* pagedTransactions(
  { after = TID_NONE, upTo = TID_MAX, reverse = false, limit = Infinity }: TransactionRange,
  pageLength: number,
  read: ReadPage,
  between?: () => Promise<unknown>,
): AsyncGenerator<TransactionInfo, void, undefined> {
  let [lo, hi, left] = [after, upTo, limit]
  while (left > 0 && lo < hi) {
    const page = await read(lo, hi, reverse, Math.min(left, pageLength))
    yield* page
    const last = page.at(-1)
    if (last === undefined) return
    left -= page.length
    if (reverse) hi = tid(last.tid - 1n)
    else lo = last.tid
    await between?.()
  }
}
