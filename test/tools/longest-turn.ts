/**
 * The longest time for which the event loop stands still: the processor time of this thread between two turns. Processor time and not the
 * clock's, so that a loaded machine does not count.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Runs `work`; resolves to its result and the processor time of its longest turn. */
export async function longestTurn<T>(
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly longestMs: number }> {
  const watched = { isDone: false }
  let longestMs = 0
  const watching = (async () => {
    let before = cpuMs()
    while (!watched.isDone) {
      await nextTurn()
      const now = cpuMs()
      longestMs = Math.max(longestMs, now - before)
      before = now
    }
  })()
  try {
    const result = await work()
    return { result, longestMs }
  } finally {
    watched.isDone = true
    await watching
  }
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
