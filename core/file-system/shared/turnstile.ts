/**
 * Lets operations in until it is closed for work that no operation may see half of. Entering an open one takes no turn of the event
 * loop: `enter` returns undefined then. Closings queue.
 */
export class Turnstile {
  #inside = 0
  #isClosed = false
  #opened: (() => void)[] = []
  #emptied: (() => void) | undefined
  #closings: Promise<unknown> = Promise.resolve()

  enter(): Promise<void> | undefined {
    if (this.#isClosed) return this.#enterLater()
    this.#inside++
    return undefined
  }

  leave(): void {
    if (--this.#inside === 0) this.#emptied?.()
  }

  /** Runs `work` once every operation has left, and before another one enters. */
  whileClosed<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#closings.then(async () => {
      this.#isClosed = true
      try {
        if (this.#inside > 0) await new Promise<void>(resolve => (this.#emptied = resolve))
        this.#emptied = undefined
        return await work()
      } finally {
        this.#isClosed = false
        for (const open of this.#opened.splice(0)) open()
      }
    })
    this.#closings = done.catch(() => undefined)
    return done
  }

  async #enterLater(): Promise<void> {
    while (this.#isClosed) await new Promise<void>(resolve => this.#opened.push(resolve))
    this.#inside++
  }
}
