/** The time that a pack releases. */
import type { Tid } from '../../ids.ts'
import { isKept, type KeptMoments } from '../../kept-moments.ts'

/** The time after `after` up to `upTo`. */
export interface Span {
  readonly after: Tid
  readonly upTo: Tid
}

/** The spans in which a revision can have replaced one that is not kept any more. */
export function releasedSpans(before: KeptMoments, now: KeptMoments): readonly Span[] {
  const spans: Span[] = []
  if (before.from < now.from) spans.push({ after: before.from, upTo: now.from })
  for (const moment of before.earlier) {
    if (isKept(now, moment)) continue
    const next = now.earlier.findLast(kept => kept > moment) ?? now.from
    const upTo = next < before.from ? next : before.from
    spans.push({ after: moment, upTo })
  }
  return spans
}
