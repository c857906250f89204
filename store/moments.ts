/**
 * Moments as people write them:
 *
 * | written                                          | means                                             |
 * |--------------------------------------------------|---------------------------------------------------|
 * | `040a1b2c3d4e5f60` (16 hex digits)               | that transaction                                  |
 * | `2026-11-22`, `2026-11-22T10:00`, `...T10:00:30.5` | that time on this machine's clock                |
 * | `2026-11-22T10:00Z`, `...T10:00+02:00`           | that time                                         |
 * | `90s`, `10min`, `2h`, `3d`, `1w`                 | so long ago                                       |
 * | anything else                                    | the tag of that name                              |
 */
import { parseTid, TID_NONE, tidFromTime, type Tid } from './ids.ts'
import type { Store } from './store.ts'

/** How a moment may be written, for messages. */
export const MOMENT_FORMS =
  'a tid (16 hex digits), a time as 2026-11-22 or 2026-11-22T10:20, an age as 5min, 2h, 7d or 1w, or a tag'

/** A transaction, a time in milliseconds since 1970, or a tag. */
export type Moment = { readonly tid: Tid } | { readonly timeMs: number } | { readonly tag: string }

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
}
const AGE = /^(\d+(?:\.\d+)?)(s|min|h|d|w)$/
const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?$/

/** What a person meant. `nowMs` is what ages count from, in milliseconds since 1970. */
export function parseMoment(text: string, nowMs: number): Moment {
  const tid = parseTid(text)
  if (tid !== undefined) return { tid }
  const [, amount, unit] = AGE.exec(text) ?? []
  if (amount !== undefined && unit !== undefined)
    return { timeMs: nowMs - Number(amount) * (UNITS_MS[unit] ?? 0) }
  const timeMs = parseTime(text)
  return timeMs === undefined ? { tag: text } : { timeMs }
}

/** Milliseconds since 1970; undefined where it is no time, or one that no calendar has. */
function parseTime(text: string): number | undefined {
  const fields = TIME.exec(text)
  if (fields === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields
    .slice(1, 7)
    .map(digits => Number(digits ?? 0))
  const milliseconds = Number(`0.${fields[7] ?? 0}`) * 1000
  const date = new Date(Date.UTC(year, month - 1, day))
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  if (hour > 23 || minute > 59 || second > 59) return undefined
  const zone = fields[8]
  if (zone === undefined) return new Date(year, month - 1, day, hour, minute, second).getTime() + milliseconds
  const utc = Date.UTC(year, month - 1, day, hour, minute, second) + milliseconds
  return zone === 'Z' ? utc : utc - offsetMs(zone)
}

function offsetMs(zone: string): number {
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2))
  return (zone.startsWith('-') ? -minutes : minutes) * 60_000
}

/**
 * The newest transaction at or before a moment.
 * @param tag looks a tag up.
 * @returns undefined before the first transaction, after the last (for a time: after now), for unknown tags, and
 * for moments that a pack has forgotten.
 */
export async function transactionAt(
  store: Store,
  moment: Moment,
  nowMs: number,
  tag: (name: string) => Promise<Tid | undefined>,
): Promise<Tid | undefined> {
  const upTo = await latest(store, moment, nowMs, tag)
  if (upTo === undefined || upTo === TID_NONE || (await store.isKept?.(upTo)) === false) return undefined
  for await (const transaction of store.transactions({ upTo, reverse: true, limit: 1 }))
    return transaction.tid
  return undefined
}

async function latest(
  store: Store,
  moment: Moment,
  nowMs: number,
  tag: (name: string) => Promise<Tid | undefined>,
): Promise<Tid | undefined> {
  if ('timeMs' in moment) return moment.timeMs > nowMs ? undefined : tidOfTime(moment.timeMs)
  const wanted = 'tid' in moment ? moment.tid : await tag(moment.tag)
  return wanted === undefined || wanted > (await store.lastTid()) ? undefined : wanted
}

/** Times before 1900 have no tid. */
const tidOfTime = (timeMs: number): Tid | undefined =>
  timeMs < Date.UTC(1900, 0, 1) ? undefined : tidFromTime(timeMs)
