/**
 * Objects that the source refers to but does not have: packed away, or deleted too early. Reading them fails in ZODB,
 * and at the same moments in the import.
 */
import type { Oid, Tid } from '../../../store/ids.ts'

export interface MissingObject {
  readonly oid: Oid
  /** A moment at which it is missing. */
  readonly at: Tid
}

const EXAMPLES_MAX = 10

export class MissingObjects {
  readonly #examples: MissingObject[] = []
  #count = 0
  #last: MissingObject | undefined

  /** The number of missing objects; one that was met several times counts once per moment. */
  get count(): number {
    return this.#count
  }

  /** The first missing objects. */
  get examples(): readonly MissingObject[] {
    return this.#examples
  }

  add(oid: Oid, at: Tid): void {
    if (this.#last?.oid === oid && this.#last.at === at) return
    this.#last = { oid, at }
    this.#count++
    if (this.#examples.length < EXAMPLES_MAX) this.#examples.push({ oid, at })
  }
}
