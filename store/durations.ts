/** Durations in text. A number without a unit is not a duration. */

/** How a duration may be written, for messages. */
export const DURATION_FORMS = '500ms, 30s, 5m, 12h, 7d or 1w'

/** 285,616 years: a number that is formatted without an exponent. */
export const DURATION_MAX_MS = Number.MAX_SAFE_INTEGER

const SECOND_MS = 1000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000
const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND_MS,
  m: MINUTE_MS,
  min: MINUTE_MS,
  h: HOUR_MS,
  d: DAY_MS,
  w: 7 * DAY_MS,
}
/** Descending; a week is written as 7d. */
const FORMAT_UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['d', DAY_MS],
  ['h', HOUR_MS],
  ['m', MINUTE_MS],
  ['s', SECOND_MS],
]
const DURATION = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/i

/**
 * `500ms`, `5s`, `2m`, `2min`, `1h`, `7d`, `1w`, and `0`: in milliseconds; undefined for any other text, and for a duration of more than
 * {@link DURATION_MAX_MS}.
 */
export function parseDurationMs(text: string): number | undefined {
  const trimmed = text.trim()
  if (trimmed === '0') return 0
  const [, amount, unit] = DURATION.exec(trimmed) ?? []
  const name = unit?.toLowerCase() ?? ''
  const unitMs = Object.hasOwn(UNITS_MS, name) ? UNITS_MS[name] : undefined
  if (amount === undefined || unitMs === undefined) return undefined
  const durationMs = Math.round(Number(amount) * unitMs)
  return durationMs > DURATION_MAX_MS ? undefined : durationMs
}

/** A duration in its largest whole unit, as {@link parseDurationMs} reads it. */
export function formatDuration(durationMs: number): string {
  if (durationMs === 0) return '0'
  const [unit, unitMs] = FORMAT_UNITS.find(([, ms]) => durationMs % ms === 0) ?? ['ms', 1]
  return `${durationMs / unitMs}${unit}`
}
