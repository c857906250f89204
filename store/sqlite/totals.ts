/**
 * Sums over all revisions, maintained by every change, so that they can be read in constant time:
 *
 *     sums of what is there = totals of the last transaction - dropped
 *
 * A transaction's row has the totals of all transactions up to it, whatever a pack has dropped since: they never change, and
 * writing them touches no other row. The sums of what packs have dropped are in one row of `dropped`, changed by the transaction
 * that drops. So a crash leaves sums and rows consistent.
 *
 * | a revision is | when                                            |
 * |---------------|-------------------------------------------------|
 * | past          | a later revision of the same object is there    |
 * | current       | it is the newest one of its object that is there |
 */
import type { RevisionSums, Sums } from '../capabilities.ts'

/** All that was committed up to a transaction. */
export interface Totals {
  /** Objects that were created. */
  readonly objects: number
  /** Bytes that were added, without those of shared places. */
  readonly storedBytes: number
  readonly all: RevisionSums
  /** Revisions that were replaced by a later one. */
  readonly past: RevisionSums
}

const NO_REVISIONS: RevisionSums = { revisions: 0, rowBytes: 0, bulkBytes: 0 }
export const NO_TOTALS: Totals = { objects: 0, storedBytes: 0, all: NO_REVISIONS, past: NO_REVISIONS }
export const NO_SUMS: Sums = { objects: 0, all: NO_REVISIONS, past: NO_REVISIONS }

/** The parts of an index row that determine its length. */
interface RowParts {
  readonly head: Uint8Array | null
  readonly len: number
  readonly tail: Uint8Array | null
}

/** The sums of one revision. */
export const sumsOf = ({ head, len, tail }: RowParts): RevisionSums => ({
  revisions: 1,
  rowBytes: (head?.length ?? 0) + (tail?.length ?? 0),
  bulkBytes: len,
})

const combined = (a: RevisionSums, b: RevisionSums, sign: 1 | -1): RevisionSums => ({
  revisions: a.revisions + sign * b.revisions,
  rowBytes: a.rowBytes + sign * b.rowBytes,
  bulkBytes: a.bulkBytes + sign * b.bulkBytes,
})

export const plus = (a: RevisionSums, b: RevisionSums): RevisionSums => combined(a, b, 1)
export const minus = (a: RevisionSums, b: RevisionSums): RevisionSums => combined(a, b, -1)

export const plusTotals = (a: Totals, b: Totals): Totals => ({
  objects: a.objects + b.objects,
  storedBytes: a.storedBytes + b.storedBytes,
  all: plus(a.all, b.all),
  past: plus(a.past, b.past),
})

/** The sums of what is there: what was committed, less what was dropped. */
export const keptOf = (totals: Totals, dropped: Sums): Sums => ({
  objects: totals.objects - dropped.objects,
  all: minus(totals.all, dropped.all),
  past: minus(totals.past, dropped.past),
})

/** Whether two sums are the same. */
export const isSameSums = (a: Sums, b: Sums): boolean =>
  a.objects === b.objects && isSame(a.all, b.all) && isSame(a.past, b.past)

const isSame = (a: RevisionSums, b: RevisionSums): boolean =>
  a.revisions === b.revisions && a.rowBytes === b.rowBytes && a.bulkBytes === b.bulkBytes

/** Sums up what a transaction, or a part of one, adds to the totals. */
export class TotalsDraft {
  #created = 0
  #all = NO_REVISIONS
  #past = NO_REVISIONS

  /** The bytes stored are known to the transaction as a whole. */
  get totals(): Totals {
    return { objects: this.#created, storedBytes: 0, all: this.#all, past: this.#past }
  }

  /** The newest revision of an object that is about to get another one. @param isPart whether it is of the same transaction. */
  replace(revision: RevisionSums, isPart: boolean): void {
    this.#created--
    if (!isPart) this.#past = plus(this.#past, revision)
  }

  /** Every object that has no revision yet is created. */
  add(revision: RevisionSums): void {
    this.#created++
    this.#all = plus(this.#all, revision)
  }

  /** A revision of an earlier part. */
  remove(revision: RevisionSums): void {
    this.#all = minus(this.#all, revision)
  }
}

/** Sums up what a pack drops. */
export class DropSums {
  #sums: Sums = NO_SUMS

  get sums(): Sums {
    return this.#sums
  }

  /**
   * Adds a revision that was dropped.
   * @param isPast whether a later revision of its object is left.
   * @param promoted the newest revision of its object that is left, if the dropped one was the newest.
   */
  add(dropped: RevisionSums, isPast: boolean, promoted: RevisionSums | undefined): void {
    const { objects, all, past } = this.#sums
    this.#sums = {
      objects: objects + (isPast || promoted !== undefined ? 0 : 1),
      all: plus(all, dropped),
      past: plus(past, isPast ? dropped : (promoted ?? NO_REVISIONS)),
    }
  }
}
