/**
 * Objects that the source refers to and does not have: packed away, or deleted too early. Reading them fails in
 * ZODB, and so it does in the import, at the same moments.
 */
import type { Oid, Tid } from '../../../store/ids.ts'

export interface MissingObject {
  readonly oid: Oid
  /** The moment at which it is missing. */
  readonly at: Tid
}

const EXAMPLES_MAX = 10

export class MissingObjects {
  readonly #examples: MissingObject[] = []
  #count = 0
  #last: MissingObject | undefined

  /** How often an object was missing; the pieces of one that was met in several count once. */
  get count(): number {
    return this.#count
  }

  /** The first of them. */
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
