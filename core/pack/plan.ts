/** Which moments a pack would keep. */
import type { Measuring } from '../../store/capabilities.ts'
import type { Tid } from '../../store/ids.ts'
import { isKept, keptMoments, type KeptMoments } from '../../store/kept-moments.ts'
import type { Retention } from '../../store/retention.ts'
import type { Store } from '../../store/store.ts'
import { historyStart, newestUpTo, taggedMoments } from './moments.ts'
import { thinnedMoments } from './thinning.ts'

/** Which moments can be read before and after a pack. */
export interface PackPlan {
  readonly before: KeptMoments
  readonly after: KeptMoments
}

/** The plan of a pack that keeps what a retention says, and tags. */
export async function planOfRetention(
  store: Store,
  measuring: Measuring,
  retention: Retention,
): Promise<PackPlan> {
  const thinned = await thinnedMoments(store, retention, await keptNow(measuring))
  return await packPlan(store, measuring, await historyStart(store, retention), thinned)
}

/**
 * The plan of a pack, as pack.ts makes it.
 * @param from the states at this moment and later are kept.
 * @param moments earlier moments that are kept as well, besides tags and those that other processes read.
 */
export async function packPlan(
  store: Store,
  measuring: Measuring,
  from: Tid,
  moments: readonly Tid[] = [],
): Promise<PackPlan> {
  const before = await keptNow(measuring)
  const newest = await newestUpTo(store, from)
  const pinned = (await store.capabilities.pinning?.pinned()) ?? []
  const wanted = [...moments, ...(await taggedMoments(store)), ...pinned].filter(moment =>
    isKept(before, moment),
  )
  return { before, after: keptMoments(newest > before.from ? newest : before.from, wanted) }
}

/** The moments that the last pack kept. */
async function keptNow(measuring: Measuring): Promise<KeptMoments> {
  const reader = measuring.reader()
  try {
    return await reader.kept()
  } finally {
    reader.close()
  }
}
