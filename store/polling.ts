import type { Watcher, Watching } from './capabilities.ts'
import type { Tid } from './ids.ts'

/** Calls `onHint` when there may be a later transaction; returns a function that ends that. */
export type SubscribeHints = (onHint: () => void) => () => void

const NO_HINTS: SubscribeHints = () => () => undefined

/** How long after an early hint a transaction is expected, and the time between polls meanwhile. */
const EXPECTED_MS = 100
const EXPECTING_MS = 1

/**
 * Implements Watching by polling the last transaction of a store. A hint, if the store gets hints, causes a poll at once;
 * a missed one costs only time.
 */
export class Polling implements Watching {
  readonly #lastTid: () => Promise<Tid>
  readonly #hints: SubscribeHints
  readonly #earlyHints: SubscribeHints

  /**
   * @param earlyHints arrive before the transaction can be read. Only eager watchers subscribe to them, and poll every millisecond for a
   *   while after one.
   */
  constructor(
    lastTid: () => Promise<Tid>,
    hints: SubscribeHints = NO_HINTS,
    earlyHints: SubscribeHints = NO_HINTS,
  ) {
    this.#lastTid = lastTid
    this.#hints = hints
    this.#earlyHints = earlyHints
  }

  watch({ after, onAdvance, onError, intervalMs, isEager = false }: Watcher): () => void {
    let expectedUntilMs = 0
    let known = after
    let isPolling = false
    let isHinted = false
    let hasFailed = false
    let hasEnded = false
    const poll = async (): Promise<void> => {
      const lastTid = await this.#lastTid()
      if (lastTid <= known || hasEnded) return
      expectedUntilMs = 0
      await onAdvance(lastTid)
      known = lastTid
    }
    const start = (): void => {
      if (isPolling || hasEnded) return
      isPolling = true
      isHinted = false
      poll()
        .then(
          () => (hasFailed = false),
          (error: unknown) => {
            if (!hasFailed) onError(error)
            hasFailed = true
          },
        )
        .finally(() => {
          isPolling = false
          if (isHinted && !hasFailed) start()
          else if (performance.now() < expectedUntilMs) setTimeout(start, EXPECTING_MS).unref()
        })
    }
    const timer = setInterval(start, intervalMs)
    timer.unref()
    const unsubscribe = this.#hints(() => {
      isHinted = true
      start()
    })
    const unsubscribeEarly = (isEager ? this.#earlyHints : NO_HINTS)(() => {
      expectedUntilMs = performance.now() + EXPECTED_MS
      start()
    })
    // A transaction that was committed before the subscription gives no hint.
    if (isEager) start()
    return () => {
      hasEnded = true
      clearInterval(timer)
      unsubscribe()
      unsubscribeEarly()
    }
  }
}
