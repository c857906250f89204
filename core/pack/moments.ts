/** The moments that a pack keeps: tagged ones, and those given by the user. */
import { CannotOpenError } from '../../store/errors.ts'
import { TID_MAX, TID_NONE, tidFromTime, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { Connection } from '../objects/connection.ts'
import { parseMoment, noMoment, timelineOf } from '../../store/moments.ts'
import { DEFAULT_RETENTION, type Retention } from '../../store/retention.ts'
import { Superblock } from '../tree/superblock.ts'

const CACHE_BYTES = 1 << 20

/** The superblock of the state at `at`; undefined if it has no filesystem. */
export async function superblockAt(store: Store, at: Tid): Promise<Superblock | undefined> {
  if (at === TID_NONE) return undefined
  try {
    return await Superblock.open(await Connection.open(store, { at, cacheSizeBytes: CACHE_BYTES }))
  } catch (error) {
    if (error instanceof CannotOpenError) return undefined
    throw error
  }
}

/** The newest transaction at or before a moment; TID_NONE before the first. */
export async function newestUpTo(store: Store, moment: Tid): Promise<Tid> {
  for await (const { tid } of store.transactions({ upTo: moment, reverse: true, limit: 1 })) return tid
  return TID_NONE
}

/** The moments of stored tags. @throws CorruptRecordError for a tag that is not a transaction. */
export async function taggedMoments(store: Store): Promise<readonly Tid[]> {
  const superblock = await superblockAt(store, await store.lastTid())
  const tags: Tid[] = []
  if (superblock === undefined) return tags
  for await (const { tid } of superblock.allTags()) tags.push(tid)
  return tags
}

/** How long a database keeps its history. */
export const retentionOf = async ({ capabilities }: Store): Promise<Retention> =>
  (await capabilities.retaining?.retention()) ?? DEFAULT_RETENTION

/** The moment from which history is kept: TID_NONE keeps all, TID_MAX none. */
export async function historyStart(store: Store, { keepMs }: Retention): Promise<Tid> {
  if (keepMs === 0) return TID_MAX
  if (keepMs === Number.POSITIVE_INFINITY) return TID_NONE
  const nowMs = Date.now()
  const timeline = await timelineOf(store)
  const [real, atWorst, shown] = [
    timeline.ago(keepMs, nowMs),
    timeline.atWorst.ago(keepMs, nowMs),
    tidFromTime(Math.max(0, nowMs - keepMs)),
  ]
  // A jump of the clock drops nothing that any way of counting keeps.
  return [atWorst, shown].reduce((least, tid) => (tid < least ? tid : least), real)
}

/**
 * The moment from which history is kept, as written on a command line (store/moments.ts).
 * @throws StoreError for a tag that does not exist.
 */
export async function momentNamed(store: Store, text: string): Promise<Tid> {
  const nowMs = Date.now()
  const moment = parseMoment(text, nowMs)
  if ('isNow' in moment) return await store.lastTid()
  if ('tid' in moment) return moment.tid
  if ('timeMs' in moment) {
    if (moment.timeMs >= nowMs) return TID_MAX
    if (moment.isAge === true) return await historyStart(store, { keepMs: nowMs - moment.timeMs })
    return (await timelineOf(store)).upTo(moment.timeMs)
  }
  const superblock = await superblockAt(store, await store.lastTid())
  const tagged = await superblock?.tag(moment.tag)
  if (tagged !== undefined) return tagged
  throw noMoment(store, text)
}
