/**
 * When transactions were made, by a clock that may have jumped.
 *
 * A tid encodes a time, and tids ascend. While the clock is behind the last tid (it was ahead, and was set back) tids run at half
 * the clock's rate until the clock has caught up, so that each tid still identifies its time:
 *
 *     tids    ___/ <- the clock is 30 days ahead
 *            /      ____----====  half the rate, until they agree
 *     clock /  \___/
 *
 * An **age** is elapsed time, corrected for clock jumps. A **time** is the clock's reading; if it occurred twice, it refers to
 * the later moment.
 *
 * Jumps are detected and recorded by store/indexed/database-clock.ts.
 */
import { tid as toTid, tidFromTime, timeFromTid, TID_MAX, TID_NONE, type Tid } from './ids.ts'

/** Times in milliseconds since 1970. */
export interface ClockJump {
  /** The last transaction before it. */
  readonly tid: Tid
  /** The clock's reading without the jump, and with it. */
  readonly beforeMs: number
  readonly afterMs: number
}

/** Ratio of the clock's rate to that of tids while it catches up. */
const CATCH_UP = 2

const FIRST_MS = Date.UTC(1900, 0, 1)

export class Timeline {
  /** Oldest first. */
  readonly jumps: readonly ClockJump[]
  /** A last jump that may have happened. */
  readonly doubt: ClockJump | undefined

  constructor(jumps: readonly ClockJump[] = [], doubt?: ClockJump) {
    this.jumps = jumps
    this.doubt = doubt
  }

  /** The timeline if the jump in doubt occurred. */
  get atWorst(): Timeline {
    return this.doubt === undefined ? this : new Timeline([...this.jumps, this.doubt])
  }

  /** The clock's reading when a transaction was made. */
  timeOf(tid: Tid): number {
    const timeMs = timeFromTid(tid)
    const jump = this.jumps.findLast(each => tid > each.tid)
    if (jump === undefined) return timeMs
    return Math.min(timeMs, jump.afterMs + CATCH_UP * (timeMs - timeFromTid(jump.tid)))
  }

  /** The tid of a new transaction after `last`, at the present time. */
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

  /** The same for a reading of the clock. */
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
