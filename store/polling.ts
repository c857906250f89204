import type { Watcher, Watching } from './capabilities.ts'
import type { Tid } from './ids.ts'

/** Calls `onHint` when there may be a later transaction; returns a function that ends that. */
export type SubscribeHints = (onHint: () => void) => () => void

/**
 * Implements Watching by polling the last transaction of a store. A hint, if the store gets hints, causes a poll at once;
 * a missed one costs only time.
 */
export class Polling implements Watching {
  readonly #lastTid: () => Promise<Tid>
  readonly #hints: SubscribeHints

  constructor(lastTid: () => Promise<Tid>, hints: SubscribeHints = () => () => undefined) {
    this.#lastTid = lastTid
    this.#hints = hints
  }

  watch({ after, onAdvance, onError, intervalMs }: Watcher): () => void {
    let known = after
    let isPolling = false
    let isHinted = false
    let hasFailed = false
    let hasEnded = false
    const poll = async (): Promise<void> => {
      const lastTid = await this.#lastTid()
      if (lastTid <= known || hasEnded) return
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
        })
    }
    const timer = setInterval(start, intervalMs)
    timer.unref()
    const unsubscribe = this.#hints(() => {
      isHinted = true
      start()
    })
    return () => {
      hasEnded = true
      clearInterval(timer)
      unsubscribe()
    }
  }
}
