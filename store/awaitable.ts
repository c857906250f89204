/** A result or a promise of it: what is local answers without a turn of the event loop, and may throw instead of rejecting. */
export type Awaitable<T> = T | Promise<T>

/** Continues with a result; without a promise if that is none. */
export const chain = <T, R>(result: Awaitable<T>, work: (result: T) => Awaitable<R>): Awaitable<R> =>
  result instanceof Promise ? result.then(work) : work(result)

/** Runs `end` after `work`, whether that succeeded or failed; without a promise if neither returns one. */
export function ending<T>(work: () => Awaitable<T>, end: () => Awaitable<void>): Awaitable<T> {
  let running: Awaitable<T>
  try {
    running = work()
  } catch (error) {
    return chain(end(), () => {
      throw error
    })
  }
  return running instanceof Promise ? endingLater(running, end) : chain(end(), () => running)
}

async function endingLater<T>(running: Promise<T>, end: () => Awaitable<void>): Promise<T> {
  try {
    return await running
  } finally {
    const ended = end()
    if (ended !== undefined) await ended
  }
}
