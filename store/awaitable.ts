/** A result or a promise of it: what is local answers without a turn of the event loop, and may throw instead of rejecting. */
export type Awaitable<T> = T | Promise<T>

/** Continues with a result; without a promise if that is none. */
export const chain = <T, R>(result: Awaitable<T>, work: (result: T) => Awaitable<R>): Awaitable<R> =>
  result instanceof Promise ? result.then(work) : work(result)

/** Runs `end` after `work`, whether that succeeded or failed; without a promise if `work` returns none. */
export function ending<T>(work: () => Awaitable<T>, end: () => void): Awaitable<T> {
  let running: Awaitable<T>
  try {
    running = work()
  } catch (error) {
    end()
    throw error
  }
  if (running instanceof Promise) return running.finally(end)
  end()
  return running
}
