/** Waits for a stream to which more was written than it takes at once. */
import { once } from 'node:events'
import type { Writable } from 'node:stream'

/** Resolves when the stream takes more, or is closed. @throws its error. */
export async function drained(stream: Writable): Promise<void> {
  if (stream.destroyed || !stream.writableNeedDrain) return
  // Whichever comes first removes the listeners of the other.
  const over = new AbortController()
  const { signal } = over
  try {
    await Promise.race([once(stream, 'drain', { signal }), once(stream, 'close', { signal })])
  } finally {
    over.abort()
  }
}
