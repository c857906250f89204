/**
 * Epochs: which random salt the frames at a position of the bulk are encrypted with. A position is written at most once in an epoch:
 * a writer begins a new one when it has opened the database, and whenever it discards positions. So a frame that was discarded, or that a copy of
 * the database has at the same position, was sealed with another sub-key, and so was the row that points to it.
 *
 * An epoch holds from its position on, until the next one begins. It is stored with the transaction whose rows first point there.
 */
import { randomBytes } from 'node:crypto'

export const EPOCH_BYTES = 16

/** The salt of positions before every epoch, and of rows without bulk bytes. */
const NONE = Buffer.alloc(EPOCH_BYTES)

export interface Epoch {
  readonly start: number
  readonly salt: Buffer
}

export class Epochs {
  readonly #load: () => readonly Epoch[]
  /** Ascending. */
  #known: Epoch[]
  /** The first epoch that is not stored yet, and those after it. */
  #unstoredFrom: number | undefined

  /** @param load reads those that are stored, ascending. */
  constructor(load: () => readonly Epoch[]) {
    this.#load = load
    this.#known = [...load()]
  }

  /** The salt of a position. */
  at(pos: number | null): Buffer {
    if (pos === null) return NONE
    const last = this.#known.at(-1)
    if (last !== undefined && last.start <= pos) return last.salt
    let [lo, hi] = [0, this.#known.length]
    while (lo < hi) {
      const middle = (lo + hi) >> 1
      if ((this.#known[middle]?.start ?? 0) <= pos) lo = middle + 1
      else hi = middle
    }
    return this.#known[lo - 1]?.salt ?? NONE
  }

  /** Begins an epoch at a position that nothing stored points to, nor to later ones. */
  begin(start: number): void {
    this.#known = this.#known.filter(epoch => epoch.start < start)
    this.#known.push({ start, salt: randomBytes(EPOCH_BYTES) })
    this.#unstoredFrom = Math.min(start, this.#unstoredFrom ?? start)
  }

  /** Those to be stored with the next transaction, in the place of all that begin at the first one of them or later. */
  get unstored(): readonly Epoch[] {
    const from = this.#unstoredFrom
    return from === undefined ? [] : this.#known.filter(({ start }) => start >= from)
  }

  /** The transaction with {@link Epochs.unstored} was committed. */
  stored(): void {
    this.#unstoredFrom = undefined
  }

  /**
   * Reads the stored ones again: another connection may have added some. Those that are not stored yet stay: frames are sealed with
   * them. Returns whether that changed anything.
   */
  refresh(): boolean {
    const from = this.#unstoredFrom ?? Infinity
    const known = [...this.#load().filter(({ start }) => start < from), ...this.unstored]
    const isSame =
      known.length === this.#known.length &&
      known.every(({ start, salt }, index) => {
        const before = this.#known[index]
        return before?.start === start && salt.equals(before.salt)
      })
    this.#known = known
    return !isSame
  }
}
