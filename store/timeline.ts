/**
 * When transactions were made, by a clock that may have jumped.
 *
 * A tid tells a time, and tids ascend. While the clock stands before the last tid (it was ahead, and was set back) tids run at half
 * the clock's rate until the clock has caught up with them, so that each still tells when it was made:
 *
 *     tids    ___/ <- the clock is 30 days ahead
 *            /      ____----====  half the rate, until both meet
 *     clock /  \___/
 *
 * An **age** is time that has really passed: across a jump, what the clock gained or lost does not count. A **time** is what the
 * clock showed; of two moments at which it showed the same, the later one is meant.
 *
 * Jumps are found, and recorded, by store/indexed/database-clock.ts.
 */
import { tid as toTid, tidFromTime, timeFromTid, TID_MAX, TID_NONE, type Tid } from './ids.ts'

/** Times in milliseconds since 1970. */
export interface ClockJump {
  /** The last transaction before it. */
  readonly tid: Tid
  /** What the clock would have shown without the jump, and what it showed. */
  readonly beforeMs: number
  readonly afterMs: number
}

/** How much faster than tids the clock runs while it catches up. */
const CATCH_UP = 2

const FIRST_MS = Date.UTC(1900, 0, 1)

export class Timeline {
  /** Oldest first. */
  readonly jumps: readonly ClockJump[]

  constructor(jumps: readonly ClockJump[] = []) {
    this.jumps = jumps
  }

  /** What the clock showed when a transaction was made. */
  timeOf(tid: Tid): number {
    const timeMs = timeFromTid(tid)
    const jump = this.jumps.findLast(each => tid > each.tid)
    if (jump === undefined) return timeMs
    return Math.min(timeMs, jump.afterMs + CATCH_UP * (timeMs - timeFromTid(jump.tid)))
  }

  /** The tid of a transaction that is made now, after `last`. */
  nextTid(nowMs: number, last: Tid): Tid {
    const now = tidAt(nowMs, this.jumps.at(-1))
    return now > last ? now : toTid(last + 1n)
  }

  /** No transaction that was made earlier than `ageMs` ago has a later tid. */
  ago(ageMs: number, nowMs: number): Tid {
    let timeMs = nowMs - ageMs
    let end = TID_MAX
    for (const jump of this.jumps.toReversed()) {
      if (timeMs >= jump.afterMs) return within(jump.tid, tidAt(timeMs, jump), end)
      timeMs += jump.beforeMs - jump.afterMs
      end = jump.tid
    }
    return within(TID_NONE, tidAt(timeMs, undefined), end)
  }

  /** The same for a time that the clock showed. */
  upTo(timeMs: number): Tid {
    let end = TID_MAX
    for (const jump of this.jumps.toReversed()) {
      if (timeMs >= jump.afterMs) return within(jump.tid, tidAt(timeMs, jump), end)
      end = jump.tid
    }
    return within(TID_NONE, tidAt(timeMs, undefined), end)
  }
}

/** The tid of a time after a jump. */
function tidAt(timeMs: number, jump: ClockJump | undefined): Tid {
  const caughtUpMs = jump === undefined ? timeMs : timeFromTid(jump.tid) + (timeMs - jump.afterMs) / CATCH_UP
  const tidMs = Math.max(timeMs, caughtUpMs)
  return tidMs < FIRST_MS ? TID_NONE : tidFromTime(tidMs)
}

function within(lo: Tid, value: Tid, hi: Tid): Tid {
  if (value > hi) return hi
  return value < lo ? lo : value
}
