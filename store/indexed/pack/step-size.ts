/** The size of the writer's steps: adapted so that a step takes about {@link TARGET_MS}. */

/** Commits and other users of the disk wait for a step, so it is short. */
const TARGET_MS = 12

export class StepSize {
  readonly #min: number
  readonly #max: number
  #value: number

  constructor(min: number, max: number) {
    this.#min = min
    this.#max = max
    this.#value = min
  }

  get value(): number {
    return this.#value
  }

  /** Adapts the size to the duration of the last step. */
  adapt(durationMs: number): void {
    if (durationMs > TARGET_MS) this.#value = Math.max(this.#min, Math.floor(this.#value / 2))
    else if (durationMs * 2 < TARGET_MS) this.#value = Math.min(this.#max, this.#value * 2)
  }
}
