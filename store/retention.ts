/**
 * How long a database keeps its history by itself. Its owner sets it, the database stores it, and a pack that names no
 * moment follows it.
 *
 * | written                           | keeps                                                              |
 * |-----------------------------------|--------------------------------------------------------------------|
 * | `7d`, `12h`, `90s`, ...           | that much of the past, and the state before it                     |
 * | `0`                               | the present                                                        |
 * | `all`                             | everything, for ever                                               |
 * | `all=7d,daily=30d,weekly=1y`      | everything for 7 days; for 30 days the last moment of each day; ... |
 *
 * Without `all=`, a schedule keeps no other moments than those of its periods, and the present.
 *
 * The periods of the last form are hourly, daily, weekly, monthly and yearly, in UTC, weeks from Monday on; one may be kept for `all`
 * time. Each period counts from the present: the moments that any of them keeps are kept.
 */
import { DURATION_MAX_MS, formatDuration, parseDurationMs } from './durations.ts'

export const PERIODS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type Period = (typeof PERIODS)[number]

/** The last moment of each period is kept for some time. */
export interface Tier {
  readonly period: Period
  /** In milliseconds; Infinity: for ever. */
  readonly forMs: number
}

export interface Retention {
  /** All moments are kept for this time, in milliseconds; Infinity: for ever. */
  readonly keepMs: number
  /** Absent if no earlier moments are kept. */
  readonly tiers?: readonly Tier[]
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const YEAR_MS = 365 * DAY_MS
/** 1970-01-05, a Monday. */
const MONDAY_MS = 4 * DAY_MS

/** Of a database whose owner has set none. */
export const DEFAULT_RETENTION: Retention = { keepMs: 7 * DAY_MS }

export const KEEP_ALL: Retention = { keepMs: Number.POSITIVE_INFINITY }

/** Undefined if the text is not a retention. */
export function parseRetention(text: string): Retention | undefined {
  const trimmed = text.trim()
  if (!trimmed.includes('=')) {
    const keepMs = parseSpan(trimmed, false)
    return keepMs === undefined ? undefined : { keepMs }
  }
  const spans = new Map<string, number>()
  for (const part of trimmed.split(',')) {
    const [name = '', span = '', ...more] = part.split('=').map(each => each.trim())
    const spanMs = parseSpan(span, true)
    const isKnown = name === 'all' || PERIODS.some(period => period === name)
    if (!isKnown || spanMs === undefined || more.length > 0 || spans.has(name)) return undefined
    spans.set(name, spanMs)
  }
  const keepMs = spans.get('all') ?? 0
  const tiers = PERIODS.flatMap((period): readonly Tier[] => {
    const forMs = spans.get(period)
    return forMs === undefined ? [] : [{ period, forMs }]
  })
  return tiers.length === 0 ? { keepMs } : { keepMs, tiers }
}

/** As {@link parseRetention} reads it. */
export const formatRetention = ({ keepMs, tiers = [] }: Retention): string =>
  tiers.length === 0
    ? formatSpan(keepMs)
    : [
        `all=${formatSpan(keepMs)}`,
        ...tiers.map(({ period, forMs }) => `${period}=${formatSpan(forMs)}`),
      ].join()

function parseSpan(text: string, hasYears: boolean): number | undefined {
  if (text === 'all') return Number.POSITIVE_INFINITY
  const years = hasYears ? /^(\d+(?:\.\d+)?)\s*y$/i.exec(text) : null
  if (years === null) return parseDurationMs(text)
  const spanMs = Math.round(Number(years[1]) * YEAR_MS)
  return spanMs > DURATION_MAX_MS ? undefined : spanMs
}

const formatSpan = (ms: number): string => (ms === Number.POSITIVE_INFINITY ? 'all' : formatDuration(ms))

/** When the period of a time began. Milliseconds since 1970. */
export function periodStart(period: Period, timeMs: number): number {
  const date = new Date(timeMs)
  if (period === 'yearly') return Date.UTC(date.getUTCFullYear(), 0)
  if (period === 'monthly') return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
  if (period === 'weekly') return timeMs - modulo(timeMs - MONDAY_MS, 7 * DAY_MS)
  return timeMs - modulo(timeMs, period === 'daily' ? DAY_MS : HOUR_MS)
}

const modulo = (value: number, by: number): number => ((value % by) + by) % by

/**
 * The retention that a database has stored. A text that this version cannot parse was written by a later one: then everything is
 * kept, because a pack cannot be undone.
 */
export const storedRetention = (text: string): Retention => parseRetention(text) ?? KEEP_ALL
