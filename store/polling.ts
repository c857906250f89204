import type { Watcher, Watching } from './capabilities.ts'
import type { Tid } from './ids.ts'

/** Implements Watching for a store without notifications, by polling its last transaction. */
export class Polling implements Watching {
  readonly #lastTid: () => Promise<Tid>

  constructor(lastTid: () => Promise<Tid>) {
    this.#lastTid = lastTid
  }

  watch({ after, onAdvance, onError, intervalMs }: Watcher): () => void {
    let known = after
    let isPolling = false
    let hasFailed = false
    const poll = async (): Promise<void> => {
      const lastTid = await this.#lastTid()
      if (lastTid <= known) return
      await onAdvance(lastTid)
      known = lastTid
    }
    const timer = setInterval(() => {
      if (isPolling) return
      isPolling = true
      poll()
        .then(
          () => (hasFailed = false),
          (error: unknown) => {
            if (!hasFailed) onError(error)
            hasFailed = true
          },
        )
        .finally(() => (isPolling = false))
    }, intervalMs)
    timer.unref()
    return () => clearInterval(timer)
  }
}
