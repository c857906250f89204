/**
 * A readers-writer lock, granted in the order of the requests: nothing passes a waiting exclusive request, so a steady stream
 * of shared ones cannot starve it. Not re-entrant.
 *
 * Taking a free lock takes no turn of the event loop: `shared` and `alone` return undefined then, a promise otherwise.
 *
 *     const wait = lock.shared()
 *     if (wait !== undefined) await wait
 *     try { ... } finally { lock.release() }
 *
 * `whileShared` and `whileAlone` do the same in one call, at the cost of promises: not for the hottest paths.
 */
interface Waiter {
  readonly alone: boolean
  readonly grant: () => void
}

export class ReadWriteLock {
  /** Number of shared holders; -1 while it is held exclusively. */
  #holders = 0
  readonly #waiting: Waiter[] = []

  get isFree(): boolean {
    return this.#holders === 0 && this.#waiting.length === 0
  }

  /** Takes it shared. */
  shared(): Promise<void> | undefined {
    return this.tryShared() ? undefined : this.#wait(false)
  }

  /** Takes it exclusively. */
  alone(): Promise<void> | undefined {
    if (!this.isFree) return this.#wait(true)
    this.#holders = -1
    return undefined
  }

  /** Takes it shared if that is possible without waiting; returns whether it did. */
  tryShared(): boolean {
    if (this.#holders < 0 || this.#waiting.length > 0) return false
    this.#holders++
    return true
  }

  /** Runs `work` while it is held shared. */
  async whileShared<T>(work: () => Promise<T>): Promise<T> {
    const wait = this.shared()
    if (wait !== undefined) await wait
    try {
      return await work()
    } finally {
      this.release()
    }
  }

  /** Runs `work` while it is held exclusively. */
  async whileAlone<T>(work: () => Promise<T>): Promise<T> {
    const wait = this.alone()
    if (wait !== undefined) await wait
    try {
      return await work()
    } finally {
      this.release()
    }
  }

  /** Releases it. */
  release(): void {
    if (this.#holders === 0) throw new Error('a lock was released that was not held')
    this.#holders = this.#holders < 0 ? 0 : this.#holders - 1
    this.#grant()
  }

  #wait(alone: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push({ alone, grant: resolve })
    return promise
  }

  #grant(): void {
    for (;;) {
      const next = this.#waiting[0]
      if (next === undefined || this.#holders < 0 || (next.alone && this.#holders > 0)) return
      this.#waiting.shift()
      this.#holders = next.alone ? -1 : this.#holders + 1
      next.grant()
    }
  }
}
