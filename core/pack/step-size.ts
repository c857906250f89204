/** How much is asked of the writer at a time: as much as it does in about {@link TARGET_MS}, found out by doing it. */

/** Commits and the disk's other users wait for a step, so it is short. */
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

  /** The last step took so long. */
  took(durationMs: number): void {
    if (durationMs > TARGET_MS) this.#value = Math.max(this.#min, Math.floor(this.#value / 2))
    else if (durationMs * 2 < TARGET_MS) this.#value = Math.min(this.#max, this.#value * 2)
  }
}
