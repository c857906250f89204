/** Checks the clock periodically, so that a jump is found soon, and logs it. */
import type { Logger } from 'pino'
import type { Dating } from '../../store/capabilities.ts'
import { formatDuration } from '../../store/durations.ts'
import type { ClockJump, Timeline } from '../../store/timeline.ts'

const WATCH_INTERVAL_MS = 30_000
const SECOND_MS = 1000
/** How long status reports a jump. */
const RECENT_MS = 7 * 86_400_000

/** Watches until the process ends. */
export function watchClock(dating: Dating, log: Logger): void {
  let known: ClockJump | undefined
  const look = async (): Promise<void> => {
    const last = (await dating.timeline()).jumps.at(-1)
    if (last !== undefined && last.afterMs !== known?.afterMs) log.warn(last, describeJump(last))
    known = last
  }
  const lookQuietly = (): void => void look().catch(() => undefined)
  lookQuietly()
  setInterval(lookQuietly, WATCH_INTERVAL_MS).unref()
}

/** A jump in words. */
function describeJump({ beforeMs, afterMs }: ClockJump): string {
  const seconds = Math.round(Math.abs(afterMs - beforeMs) / SECOND_MS)
  const direction = afterMs > beforeMs ? 'ahead' : 'back'
  const [before, after] = [beforeMs, afterMs].map(timeMs => new Date(timeMs).toISOString())
  return (
    `the clock jumped ${direction} by ${formatDuration(seconds * SECOND_MS)}, from ${before} to ${after}: ` +
    'ages and packs go by the time that really passed'
  )
}

/** The last jump in words, if it is recent. */
export function recentJump({ jumps }: Timeline): string | undefined {
  const last = jumps.at(-1)
  return last === undefined || Math.abs(Date.now() - last.afterMs) > RECENT_MS
    ? undefined
    : describeJump(last)
}
