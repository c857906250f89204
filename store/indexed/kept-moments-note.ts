/** The kept moments (store/kept-moments.ts) as a note of an index: tids, `from` first. */
import { StoreError } from '../errors.ts'
import { formatTid, parseTid } from '../ids.ts'
import { ALL_MOMENTS, keptMoments, type KeptMoments } from '../kept-moments.ts'

/** The name of the note. */
export const KEPT_MOMENTS = 'kept moments'

export const formatKeptMoments = ({ from, earlier }: KeptMoments): string =>
  [from, ...earlier].map(formatTid).join(' ')

/** @param text the note's value; undefined before the first pack. @throws StoreError if it is damaged. */
export function parseKeptMoments(text: unknown): KeptMoments {
  if (text === undefined) return ALL_MOMENTS
  const [from, ...earlier] = (typeof text === 'string' ? text : '').split(' ').map(parseTid)
  if (from === undefined || earlier.includes(undefined))
    throw new StoreError('the list of kept moments is damaged', { code: 'damaged' })
  return keptMoments(
    from,
    earlier.filter(moment => moment !== undefined),
  )
}
