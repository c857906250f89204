/** The kept moments (store/kept-moments.ts) as a row of `meta`: tids, `from` first. */
import type { Database } from 'better-sqlite3'
import { StoreError } from '../errors.ts'
import { formatTid, parseTid } from '../ids.ts'
import { ALL_MOMENTS, keptMoments, type KeptMoments } from '../kept-moments.ts'

/** The name of the row. */
export const KEPT_MOMENTS = 'kept moments'

/** What the last pack kept; all moments before the first pack. */
export function readKeptMoments(db: Database): KeptMoments {
  const text = db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck().get(KEPT_MOMENTS)
  return text === undefined ? ALL_MOMENTS : parse(text)
}

/** The row's value. */
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
