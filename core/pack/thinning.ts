/**
 * The moments before the contiguous history that a retention keeps: the last one of each of its periods (store/retention.ts).
 *
 * Periods are those of a calendar, not of the time of the pack, so that later packs choose the same moments: the last moment of a
 * week is the last of its day. Of a period in which the contiguous history begins, the last moment before it is kept until the
 * period is over. Moments that an earlier pack has dropped stay dropped; the newest kept one stands for its period.
 */
import { TID_NONE, tid as toTid, tidFromTime, timeFromTid, type Tid } from '../../store/ids.ts'
import { newestKeptUpTo, type KeptMoments } from '../../store/kept-moments.ts'
import { periodStart, type Retention } from '../../store/retention.ts'
import type { Store } from '../../store/store.ts'
import { historyStart, newestUpTo } from './moments.ts'

/**
 * Latest first for each period; none without periods. The work is one lookup per moment.
 * @param readable the moments that can be read; absent: as a store that can be packed says.
 */
export async function thinnedMoments(
  store: Store,
  retention: Retention,
  readable?: KeptMoments,
): Promise<readonly Tid[]> {
  const { tiers = [] } = retention
  if (tiers.length === 0) return []
  const kept = readable ?? (await store.capabilities.packing?.kept())
  const start = await newestUpTo(store, await historyStart(store, { keepMs: retention.keepMs }))
  const moments = new Set<Tid>()
  for (const { period, forMs } of tiers) {
    const end = await historyStart(store, { keepMs: forMs })
    for (let upTo = start - 1n; upTo > 0n;) {
      const moment = await newestKept(store, kept, toTid(upTo))
      if (moment === TID_NONE || moment < end) break
      moments.add(moment)
      const startMs = periodStart(period, timeFromTid(moment))
      const before = startMs <= 0 ? TID_NONE : tidFromTime(startMs)
      // A tid is not more exact than its time: it may lie at the very start.
      upTo = before < moment ? before - 1n : moment - 1n
    }
  }
  return [...moments]
}

/** The newest moment up to `upTo` that can be read; TID_NONE if there is none. */
async function newestKept(store: Store, kept: KeptMoments | undefined, upTo: Tid): Promise<Tid> {
  if (kept !== undefined && upTo < kept.from) return newestKeptUpTo(kept, upTo) ?? TID_NONE
  return await newestUpTo(store, upTo)
}
