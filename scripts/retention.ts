/** Parses and describes how long history is kept, for commands and options. */
import { DURATION_FORMS } from '../store/durations.ts'
import { formatRetention, parseRetention, type Retention } from '../store/retention.ts'
import { UsageError } from './failure.ts'

/** @param option what the value was given to, for the message. @throws UsageError that lists the forms. */
export function retention(option: string, value: string): Retention {
  const found = parseRetention(value)
  if (found !== undefined) return found
  throw new UsageError(`${option} is not a duration: write ${DURATION_FORMS}, 'all', or 0`)
}

/** What a retention does, in words. */
export function describeRetention(history: Retention): string {
  if (history.keepMs === 0) return 'no history is kept, only the present'
  if (history.keepMs === Number.POSITIVE_INFINITY) return 'all history is kept, for ever'
  return `history is kept for ${formatRetention(history)}`
}
