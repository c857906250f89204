/**
 * Which moments of a database can still be read. A pack forgets the others: it records durably which moments it keeps
 * before it drops what they do not need, so that no reader opens a moment whose revisions are being dropped.
 */
import { TID_NONE, type Tid } from './ids.ts'

/** The moments from `from` on, and some before it. */
export interface KeptMoments {
  readonly from: Tid
  /** Earlier than `from`, latest first, without duplicates. */
  readonly earlier: readonly Tid[]
}

/** Before the first pack. */
export const ALL_MOMENTS: KeptMoments = { from: TID_NONE, earlier: [] }

/** Keeps everything from `from` on, and the earlier ones of `moments`. */
export function keptMoments(from: Tid, moments: Iterable<Tid>): KeptMoments {
  const earlier = [...new Set(moments)].filter(moment => moment < from)
  return { from, earlier: earlier.sort((a, b) => (a < b ? 1 : -1)) }
}

/** Whether the state at `at` can still be read. */
export const isKept = (kept: KeptMoments, at: Tid): boolean => newestKeptUpTo(kept, at) === at

/** The newest moment up to `at` whose state can still be read; undefined if there is none. */
export function newestKeptUpTo({ from, earlier }: KeptMoments, at: Tid): Tid | undefined {
  return at >= from ? at : earlier[firstUpTo(earlier, at, 0)]
}

/** The index of the first of `moments`, latest first, that is not later than `at`, from `lo` on; their number if there is none. */
function firstUpTo(moments: readonly Tid[], at: bigint, lo: number): number {
  let [low, high] = [lo, moments.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((moments[middle] ?? TID_NONE) <= at) high = middle
    else low = middle + 1
  }
  return low
}

export const isSameMoments = (a: KeptMoments, b: KeptMoments): boolean =>
  a.from === b.from && a.earlier.join() === b.earlier.join()

/** Determines which revisions the kept moments see. Query it in the order of oids, newest revision first for each oid. */
export class KeptRevisions {
  readonly #moments: readonly Tid[]
  #oid = -1
  /** Index of the latest moment without a revision of the oid so far. */
  #next = 0

  constructor({ from, earlier }: KeptMoments) {
    this.#moments = [from, ...earlier]
  }

  sees(oid: number, tid: bigint): boolean {
    if (oid !== this.#oid) {
      this.#oid = oid
      this.#next = 0
    }
    const moments = this.#moments
    if (tid > (moments[0] ?? TID_NONE)) return true
    const before = this.#next
    // A damaged row may have a tid below all moments.
    this.#next = firstUpTo(moments, tid - 1n, before)
    return this.#next > before
  }
}
