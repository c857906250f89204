/**
 * Reads the records of a branch and of its base as those of one database, for copies and streams of the branch.
 *
 * The places of both are in different logs. Those of the branch's own log are shown behind those that the base has, so that they
 * are in the order of transactions and no two records have a place in common unless they share its bytes.
 */
import type { Copying, RevisionPlace, StoredRecord } from '../copying.ts'
import type { Tid } from '../ids.ts'

export class BranchCopying implements Copying {
  readonly #own: Copying
  readonly #parent: Copying
  readonly #base: Tid
  /** Where the places of the own log begin. Fixed once known, as places that were shown must not move. */
  #ownBegin: number | undefined

  /** @param parent reads the database of which it is a branch. */
  constructor(own: Copying, parent: Copying, base: Tid) {
    this.#own = own
    this.#parent = parent
    this.#base = base
  }

  async revisions(after: RevisionPlace, upTo: Tid, limit: number): Promise<readonly StoredRecord[]> {
    if (after.tid <= this.#base) {
      const page = await this.#parent.revisions(after, upTo < this.#base ? upTo : this.#base, limit)
      if (page.length > 0 || upTo <= this.#base) return page
    }
    const [begin, page] = [await this.#begin(), await this.#own.revisions(after, upTo, limit)]
    return page.map(row => (row.pos === null ? row : { ...row, pos: begin + row.pos }))
  }

  async placesEnd(upTo: Tid): Promise<number> {
    if (upTo <= this.#base) return await this.#parent.placesEnd(upTo)
    return (await this.#begin()) + (await this.#own.placesEnd(upTo))
  }

  async #begin(): Promise<number> {
    const end = await this.#parent.placesEnd(this.#base)
    return (this.#ownBegin ??= end)
  }
}
