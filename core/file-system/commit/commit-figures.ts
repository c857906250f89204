/** Counts commits, and measures how long they take and how old the changes are that wait for one. */
export class CommitFigures {
  /** Transactions stored. */
  commits = 0
  failures = 0
  /** Sum of the time that commits took, failed ones included. */
  totalMs = 0
  /** When the oldest change was made that no prepare has taken, and the oldest prepared one, as performance.now(). */
  #changedMs: number | undefined
  #preparedMs: number | undefined

  /** The age of the oldest change that is not stored, in milliseconds; 0 if all is stored. */
  get dirtyAgeMs(): number {
    const sinceMs = this.#preparedMs ?? this.#changedMs
    return sinceMs === undefined ? 0 : performance.now() - sinceMs
  }

  /** A change was made. */
  changed(): void {
    this.#changedMs ??= performance.now()
  }

  /** A commit takes all changes. The returned function is called when it has ended. */
  began(): () => void {
    const startMs = performance.now()
    this.#preparedMs ??= this.#changedMs
    this.#changedMs = undefined
    return () => {
      this.totalMs += performance.now() - startMs
    }
  }

  /** All changes that commits have taken are stored. */
  stored(): void {
    this.#preparedMs = undefined
  }

  /** All changes were dropped. */
  discarded(): void {
    this.#changedMs = undefined
    this.#preparedMs = undefined
  }
}
