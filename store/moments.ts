/**
 * Moments in text: their grammar, and the resolver from a moment to a transaction.
 *
 * | written                                            | means                                                  |
 * |----------------------------------------------------|--------------------------------------------------------|
 * | `now`                                              | the newest transaction                                 |
 * | `040a1b2c3d4e5f60` (16 hex digits)                 | that transaction                                       |
 * | `2026-11-22`, `2026-11-22T10:00`, `...T10:00:30.5` | that time in the zone of this process                  |
 * | `2026-11-22T10:00Z`, `...T10:00+02:00`             | that time                                              |
 * | `10:20`, `10:20:30`                                | the last time that the clock showed this               |
 * | `500ms`, `90s`, `5m`, `5min`, `2h`, `3d`, `1w`     | that long ago; before the kept history: its beginning  |
 * | `yesterday`                                        | 24 hours ago                                           |
 * | anything else                                      | the tag of that name                                   |
 *
 * A moment shows the newest transaction at or before it. A number without a unit is neither an age nor a duration.
 */
import { parseDurationMs } from './durations.ts'
import { StoreError } from './errors.ts'
import { parseTid, tid as toTid, TID_NONE, type Tid } from './ids.ts'
import type { Store } from './store.ts'
import { Timeline } from './timeline.ts'

/** How a moment may be written, for messages. */
export const MOMENT_FORMS =
  'now, a tid (16 hex digits), a time as 2026-11-22, 2026-11-22T10:20 or 10:20, an age as 5m, 2h, 7d or 1w, ' +
  'yesterday, or a tag'

/** A transaction, a time or an age as a time (milliseconds since 1970), a tag, or the present. */
export type Moment =
  | { readonly tid: Tid }
  | { readonly timeMs: number; readonly isAge?: true }
  | { readonly tag: string }
  | { readonly isNow: true }

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const DATE_AND_TIME =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?$/
const CLOCK = /^(\d\d?):(\d\d)(?::(\d\d))?$/

/** Parses a moment. Ages count back from `nowMs`, milliseconds since 1970. */
export function parseMoment(text: string, nowMs: number): Moment {
  if (text === 'now') return { isNow: true }
  const tid = parseTid(text)
  if (tid !== undefined) return { tid }
  const ageMs = text === 'yesterday' ? DAY_MS : /^\d\S*[a-z]$/i.test(text) ? parseDurationMs(text) : undefined
  if (ageMs !== undefined) return { timeMs: nowMs - ageMs, isAge: true }
  const timeMs = parseTime(text) ?? parseClock(text, nowMs)
  return timeMs === undefined ? { tag: text } : { timeMs }
}

/** Parses a time to milliseconds since 1970; undefined for any other text, and for dates that do not exist. */
function parseTime(text: string): number | undefined {
  const fields = DATE_AND_TIME.exec(text)
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
  return (zone.startsWith('-') ? -minutes : minutes) * MINUTE_MS
}

/** A time of day: today's, or yesterday's if today's is in the future. */
function parseClock(text: string, nowMs: number): number | undefined {
  const fields = CLOCK.exec(text)
  if (fields === null) return undefined
  const [hour = 0, minute = 0, second = 0] = fields.slice(1).map(digits => Number(digits ?? 0))
  if (hour > 23 || minute > 59 || second > 59) return undefined
  const now = new Date(nowMs)
  const on = (day: number): number =>
    new Date(now.getFullYear(), now.getMonth(), day, hour, minute, second).getTime()
  const today = on(now.getDate())
  return today <= nowMs ? today : on(now.getDate() - 1)
}

/** Formats a time for people, in the process's zone with its offset; {@link parseMoment} accepts it. */
export function formatTime(timeMs: number): string {
  const date = new Date(timeMs)
  const minutes = -date.getTimezoneOffset()
  const local = new Date(Math.floor(timeMs) + minutes * MINUTE_MS).toISOString().slice(0, -1)
  const [hours, rest] = [Math.trunc(Math.abs(minutes) / 60), Math.abs(minutes) % 60]
  const offset = [hours, rest].map(value => String(value).padStart(2, '0')).join(':')
  return `${local}${minutes < 0 ? '-' : '+'}${offset}`
}

/** Looks up a tag. */
export type FindTag = (name: string) => Promise<Tid | undefined>

/**
 * The newest transaction at or before a moment.
 * @returns undefined before the first transaction (for an age: if there is none), after the last (for a time: after
 * now), for unknown tags, and for moments that a pack has dropped.
 */
export async function findMoment(
  store: Store,
  text: string,
  tag: FindTag,
  nowMs: number = Date.now(),
): Promise<Tid | undefined> {
  const moment = parseMoment(text, nowMs)
  const found = await newestKept(store, moment, nowMs, tag)
  return found === undefined && 'isAge' in moment ? await beginningOf(store) : found
}

/**
 * The transaction after which a range begins that is given by its first moment: TID_NONE for a time or an age before all that is kept.
 * @throws StoreError (no-moment) for a time after now, an unknown tag, and a transaction that is not kept.
 */
export async function resolveStart(
  store: Store,
  text: string,
  tag: FindTag,
  nowMs: number = Date.now(),
): Promise<Tid> {
  const moment = parseMoment(text, nowMs)
  const found = await newestKept(store, moment, nowMs, tag)
  if (found !== undefined) return found
  if ('timeMs' in moment && moment.timeMs <= nowMs) return TID_NONE
  throw noMoment(store, text)
}

async function newestKept(
  store: Store,
  moment: Moment,
  nowMs: number,
  tag: FindTag,
): Promise<Tid | undefined> {
  const bound = await boundOf(store, moment, nowMs, tag)
  // A time between two moments that a pack has kept shows the earlier one; a named transaction is that one or none.
  const isTime = 'timeMs' in moment && bound !== undefined && bound !== TID_NONE
  const upTo = isTime && store.keptUpTo !== undefined ? await store.keptUpTo(bound) : bound
  const isKept = upTo !== undefined && upTo !== TID_NONE && (await store.isKept?.(upTo)) !== false
  return isKept ? await newestUpTo(store, upTo) : undefined
}

/** As {@link findMoment}. @throws StoreError (no-moment) if there is none. */
export async function resolveMoment(store: Store, text: string, tag: FindTag): Promise<Tid> {
  const found = await findMoment(store, text, tag)
  if (found !== undefined) return found
  throw noMoment(store, text)
}

/** The error for a text that names no moment of a store. */
export const noMoment = ({ name }: Store, text: string): StoreError =>
  new StoreError(`${name} has no moment '${text}'`, { code: 'no-moment' })

/**
 * A moment as a command sends it to a daemon, whose time zone may differ: times in UTC, anything else unchanged.
 * @param text as written, in any encoding of names: only times, which are ASCII, are rewritten.
 */
export function momentToSend(text: string, nowMs: number = Date.now()): string {
  const moment = parseMoment(text, nowMs)
  return 'timeMs' in moment && moment.isAge !== true ? new Date(moment.timeMs).toISOString() : text
}

async function boundOf(store: Store, moment: Moment, nowMs: number, tag: FindTag): Promise<Tid | undefined> {
  const lastTid = await store.lastTid()
  if ('isNow' in moment) return lastTid
  if ('timeMs' in moment) {
    if (moment.timeMs > nowMs) return undefined
    const timeline = await timelineOf(store)
    return moment.isAge === true ? timeline.ago(nowMs - moment.timeMs, nowMs) : timeline.upTo(moment.timeMs)
  }
  const wanted = 'tid' in moment ? moment.tid : await tag(moment.tag)
  return wanted === undefined || wanted > lastTid ? undefined : wanted
}

/** When the transactions of a store were made. */
export const timelineOf = async ({ capabilities }: Store): Promise<Timeline> =>
  (await capabilities.dating?.timeline()) ?? new Timeline()

async function newestUpTo(store: Store, upTo: Tid): Promise<Tid | undefined> {
  for await (const { tid } of store.transactions({ upTo, reverse: true, limit: 1 })) return tid
  return undefined
}

/** The oldest moment of the contiguous kept history; single moments kept by tags do not count. */
async function beginningOf(store: Store): Promise<Tid | undefined> {
  let first: Tid | undefined
  for await (const { tid } of store.transactions({ limit: 1 })) first = tid
  if (first === undefined || (await store.isKept?.(first)) !== false) return first
  // Everything from some tid on is kept: binary search for it.
  let [dropped, kept] = [first, await store.lastTid()]
  while (kept - dropped > 1n) {
    const middle = toTid((dropped + kept) / 2n)
    if ((await store.isKept?.(middle)) === false) dropped = middle
    else kept = middle
  }
  return await newestUpTo(store, kept)
}
