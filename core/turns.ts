/**
 * Lets long work yield to the event loop. With a synchronous store, a loop over a million blocks is one chain of
 * microtasks: it blocks requests, timers and signals, and evicted objects stay in memory.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

const TURN_MS = 10

export class Turns {
  #since = performance.now()

  /** Call between steps; usually returns undefined. Objects must be activated again afterwards. */
  pass(): Promise<void> | undefined {
    return performance.now() - this.#since < TURN_MS ? undefined : this.#pass()
  }

  async #pass(): Promise<void> {
    await nextTurn()
    this.#since = performance.now()
  }
}
