/**
 * The space usage of a database, from sums that the store maintains, in time in proportion to the number of kept moments. Two
 * figures are bounds:
 *
 * - Objects of removed files count as present until a pack finds them unreachable. Their bulk data is excluded by means of
 *   the superblock's sum of stored bytes; the small rest, their rows, is not.
 * - Bytes that files share are stored once, but count for each revision that points to them; the log's size on disk is
 *   the upper bound.
 *
 * {@link measuredUsage} marks all objects instead, in time in proportion to their number.
 */
import type { Measured, Measuring, OnMeasured, RevisionSums, Space, Sums } from '../../store/capabilities.ts'
import type { Tid } from '../../store/ids.ts'
import { isKept, keptMoments } from '../../store/kept-moments.ts'
import type { Store } from '../../store/store.ts'
import { mark } from './mark.ts'
import { superblockAt } from './moments.ts'
import type { PackPlan } from './plan.ts'

/** In bytes. The rest of the database is its indexes and the ends of pages. */
export interface Usage {
  readonly fileBytes: number
  /** Unused pages. */
  readonly freeBytes: number
  /** Referenced by the present state. */
  readonly liveBytes: number
  /** Referenced by past states alone, or by none. */
  readonly historyBytes: number
  readonly packFreesBytes: number
}

/** What a pack by the plan would free is estimated from sums of each stretch between two kept moments. */
export async function summedUsage(store: Store, measuring: Measuring, plan: PackPlan): Promise<Usage> {
  const [sums, space] = [await measuring.sums(), await measuring.space()]
  const stored = await storedAt(store, await store.lastTid())
  const shrink = shrinkOf(space)
  const { live, history } = split(scaled(sums, shrink), stored * shrink, space.bulkBytes)
  const { before, after } = plan
  const between = after.earlier.filter(moment => moment > before.from).toReversed()
  const moments = [before.from, ...between, after.from]
  let dropped = 0
  for (const [index, moment] of moments.entries()) {
    const next = moments[index + 1]
    if (next !== undefined && moment < next)
      dropped += await droppedBetween(store, measuring, plan, [moment, next])
  }
  const { totalBytes: fileBytes, freeBytes } = space
  return {
    fileBytes,
    freeBytes,
    liveBytes: Math.round(live),
    historyBytes: Math.round(history),
    packFreesBytes: Math.round(freeBytes + Math.min(history, dropped * shrink)),
  }
}

/** The usage by sums alone, for a database whose records cannot be read: objects of removed files count as present. */
export async function legibleUsage(measuring: Measuring): Promise<Omit<Usage, 'packFreesBytes'>> {
  const space = await measuring.space()
  const { live, history } = split(scaled(await measuring.sums(), shrinkOf(space)), Infinity, space.bulkBytes)
  const { totalBytes: fileBytes, freeBytes } = space
  return { fileBytes, freeBytes, liveBytes: Math.round(live), historyBytes: Math.round(history) }
}

/** About the bytes of states between two moments, of which the pack keeps the later one. */
async function droppedBetween(
  store: Store,
  measuring: Measuring,
  { after }: PackPlan,
  [begin, end]: readonly [Tid, Tid],
): Promise<number> {
  const { storedBytes, replacedBytes } = await measuring.added(begin, end)
  const beginBytes = await storedAt(store, begin)
  // The replaced bytes are a lower bound, without removed files. The added bytes, less the growth of files, include them.
  const gone = Math.max(replacedBytes, storedBytes - (await storedAt(store, end)) + beginBytes)
  // What the earlier moment shows may be a part of this, and stays with it: a lower bound.
  return isKept(after, begin) ? Math.max(0, gone - beginBytes) : gone
}

/** Bytes on disk per byte of bulk data: less than 1 if it is compressed. */
export function shrinkOf({ bulkBytes, framed }: Space): number {
  if (framed === undefined) return 1
  const groupBytes = Math.max(0, bulkBytes - framed.storedBytes)
  return (groupBytes + framed.storedBytes) / (groupBytes + framed.unitBytes)
}

/** The sums with the bulk bytes that they take on disk. */
function scaled({ objects, all, past }: Sums, shrink: number): Sums {
  const scale = (sums: RevisionSums): RevisionSums => ({ ...sums, bulkBytes: sums.bulkBytes * shrink })
  return { objects, all: scale(all), past: scale(past) }
}

function split(
  { all, past }: Sums,
  storedBytes: number,
  bulkOnDisk: number,
): { readonly live: number; readonly history: number } {
  const current = all.bulkBytes - past.bulkBytes
  const liveBulk = Math.min(current, storedBytes, bulkOnDisk)
  const pastBulk = Math.min(all.bulkBytes - liveBulk, bulkOnDisk - liveBulk)
  return {
    live: all.rowBytes - past.rowBytes + liveBulk,
    history: past.rowBytes + pastBulk,
  }
}

/** Sum of the stored bytes of a moment's files, with shared bytes counted for each file. */
async function storedAt(store: Store, at: Tid): Promise<number> {
  const superblock = await superblockAt(store, at)
  return superblock === undefined ? 0 : (await superblock.usage()).bytes
}

/** As {@link summedUsage}, by marking every object. @throws CorruptRecordError */
export async function measuredUsage(
  store: Store,
  measuring: Measuring,
  plan: PackPlan,
  onProgress: (what: string) => OnMeasured,
): Promise<Usage> {
  const all: Measured = await measuring.all()
  const present = keptMoments(await store.lastTid(), [])
  const live = await measuring.left(present, mark, onProgress('objects, the present'))
  const left = await measuring.left(plan.after, mark, onProgress('objects, the past'))
  const space = await measuring.space()
  const { totalBytes: fileBytes, freeBytes } = space
  const shrink = shrinkOf(space)
  const onDisk = (bytes: number): number => Math.round(Math.max(0, bytes) * shrink)
  return {
    fileBytes,
    freeBytes,
    liveBytes: onDisk(live.bytes),
    historyBytes: onDisk(all.bytes - live.bytes),
    packFreesBytes: freeBytes + onDisk(all.bytes - left.bytes),
  }
}
