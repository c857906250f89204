/**
 * Lets long work yield to the event loop. With a store that answers at once, a loop over a million blocks is one chain of
 * microtasks: no request, timer or signal is handled in it, and evicted objects stay in memory.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

const TURN_MS = 10

export class Turns {
  #since = performance.now()

  /** Call between steps; objects must be activated again afterwards. Returns undefined most of the time. */
  pass(): Promise<void> | undefined {
    return performance.now() - this.#since < TURN_MS ? undefined : this.#pass()
  }

  async #pass(): Promise<void> {
    await nextTurn()
    this.#since = performance.now()
  }
}
