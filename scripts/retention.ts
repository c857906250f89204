/** Parses and describes how long history is kept, for commands and options. */
import { DURATION_FORMS } from '../store/durations.ts'
import { formatRetention, parseRetention, type Period, type Retention } from '../store/retention.ts'
import { UsageError } from './failure.ts'
import { warn } from './say.ts'

/** @param option what the value was given to, for the message. @throws UsageError that lists the forms. */
export function retention(option: string, value: string): Retention {
  const found = parseRetention(value)
  if (found !== undefined) {
    if (found.tiers !== undefined && found.keepMs === 0 && !/\ball\s*=/.test(value))
      warn(
        `${option} has no all=: of the recent past, only those moments stay too; all=7d,${value} keeps every moment of a week`,
      )
    return found
  }
  throw new UsageError(
    `${option} is not a duration: write ${DURATION_FORMS}, 'all', 0, or a schedule as all=7d,daily=30d,weekly=1y`,
  )
}

/** What a retention does, in words. */
export function describeRetention(history: Retention): string {
  const { keepMs, tiers = [] } = history
  if (tiers.length > 0 && keepMs !== Number.POSITIVE_INFINITY) {
    const parts = tiers.map(
      ({ period, forMs }) => `the last moment of each ${NAMES[period]} ${spanOf(forMs)}`,
    )
    return `${keepMs === 0 ? 'of history,' : `all history is kept ${spanOf(keepMs)},`} ${parts.join(', ')}`
  }
  if (history.keepMs === 0) return 'no history is kept, only the present'
  if (history.keepMs === Number.POSITIVE_INFINITY) return 'all history is kept, for ever'
  return `history is kept for ${formatRetention(history)}`
}

const NAMES: Readonly<Record<Period, string>> = {
  hourly: 'hour',
  daily: 'day',
  weekly: 'week',
  monthly: 'month',
  yearly: 'year',
}

const spanOf = (ms: number): string =>
  ms === Number.POSITIVE_INFINITY ? 'for ever' : `for ${formatRetention({ keepMs: ms })}`
