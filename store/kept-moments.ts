/**
 * Which moments of a database can still be read. A pack forgets the others: it writes this down first, under a
 * name in `meta`, and only then drops what no kept moment needs, so that nobody begins to read a moment while it goes.
 */
import type { Database } from 'better-sqlite3'
import { StoreError } from './errors.ts'
import { formatTid, parseTid, TID_NONE, type Tid } from './ids.ts'

/** The moments from `from` on, and some before it. */
export interface KeptMoments {
  readonly from: Tid
  /** Earlier than `from`, latest first, none twice. */
  readonly earlier: readonly Tid[]
}

/** The row of `meta`. */
export const KEPT_MOMENTS = 'kept moments'

const ALL: KeptMoments = { from: TID_NONE, earlier: [] }

/** `from` and those of `moments` that are earlier. */
export function keptMoments(from: Tid, moments: Iterable<Tid>): KeptMoments {
  const earlier = [...new Set(moments)].filter(moment => moment < from)
  return { from, earlier: earlier.sort((a, b) => (a < b ? 1 : -1)) }
}

/** Whether the state at `at` is known. */
export const isKept = ({ from, earlier }: KeptMoments, at: Tid): boolean => at >= from || earlier.includes(at)

/** What the last pack left; all moments where there was none. */
export function readKeptMoments(db: Database): KeptMoments {
  const text = db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck().get(KEPT_MOMENTS)
  return text === undefined ? ALL : parse(text)
}

/** For the row of `meta`: tids, `from` first. */
export const formatKeptMoments = ({ from, earlier }: KeptMoments): string =>
  [from, ...earlier].map(formatTid).join(' ')

function parse(text: unknown): KeptMoments {
  const [from, ...earlier] = (typeof text === 'string' ? text : '').split(' ').map(parseTid)
  if (from === undefined || earlier.includes(undefined))
    throw new StoreError('the list of kept moments is damaged', { code: 'damaged' })
  return keptMoments(
    from,
    earlier.filter(moment => moment !== undefined),
  )
}

/** Tells which revisions the kept moments see. To be asked in the order of oids, of each oid the latest first. */
export class KeptRevisions {
  readonly #moments: readonly Tid[]
  #oid = -1
  /** The latest moment that no revision of the oid was found for yet. */
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
    // A damaged row may have a tid before all that there are.
    for (let next = moments[before]; next !== undefined && next >= tid; next = moments[this.#next])
      this.#next++
    return this.#next > before
  }
}
