/**
 * Long work gives the event loop its turns. A store that answers without waiting makes a loop over a million blocks
 * one run of promises: no request, no timer and no signal would be heard, and what the cache lets go of would stay.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

const TURN_MS = 10

export class Turns {
  #since = performance.now()

  /** To be called between steps: nothing that was activated before can be used afterwards. Returns nothing most of the time. */
  pass(): Promise<void> | undefined {
    return performance.now() - this.#since < TURN_MS ? undefined : this.#pass()
  }

  async #pass(): Promise<void> {
    await nextTurn()
    this.#since = performance.now()
  }
}
