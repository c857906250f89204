/** What a pack would do, without doing it: the moments and files that would be dropped, and the space that would be freed. */
import type { Measuring, OnMeasured } from '../../store/capabilities.ts'
import { TID_NONE, tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import { isKept, newestKeptUpTo } from '../../store/kept-moments.ts'
import { ScratchSet } from '../../store/scratch-list.ts'
import type { Store } from '../../store/store.ts'
import { differences } from '../history/difference.ts'
import { inodeAt } from '../history/inode-difference.ts'
import { log } from '../history/log.ts'
import { MomentView } from '../history/moment-view.ts'
import { mark } from './mark.ts'
import type { PackPlan } from './plan.ts'
import { shrinkOf } from './usage.ts'

/** A moment that would be dropped. */
export interface DroppedMoment {
  readonly tid: Tid
  /** Empty if the transaction is not kept. */
  readonly description: string
}

/** A file, directory or link that only dropped moments show. */
export interface DroppedFile {
  /** Its last path, one character per byte. */
  readonly path: string
  readonly mode: number
  readonly sizeBytes: bigint
}

/** The moments that would be dropped, oldest first. */
export async function* droppedMoments(
  store: Store,
  { before, after }: PackPlan,
): AsyncGenerator<DroppedMoment> {
  for (const moment of before.earlier.toReversed()) {
    if (isKept(after, moment)) continue
    let description = ''
    for await (const info of store.transactions({ after: toTid(moment - 1n), upTo: moment }))
      description = info.description
    yield { tid: moment, description }
  }
  for await (const { tid, description } of store.transactions({
    after: justBefore(before.from),
    upTo: after.from,
  }))
    if (!isKept(after, tid)) yield { tid, description }
}

/**
 * The files that would be dropped, in no particular order. Each path is listed once, also if several files had it one after the
 * other, with the size of the last one. @throws CannotOpenError, StoreError, CorruptRecordError
 */
export async function* droppedFiles(store: Store, plan: PackPlan): AsyncGenerator<DroppedFile> {
  const listed = new ScratchSet()
  try {
    for await (const file of everyDropped(store, plan)) if (listed.add(file.path)) yield file
  } finally {
    listed.close()
  }
}

/** Newest first. A file that was removed and brought back has several removals. */
async function* everyDropped(store: Store, plan: PackPlan): AsyncGenerator<DroppedFile> {
  const { before, after } = plan
  const range = { after: before.from, upTo: after.from, removed: true }
  for await (const { info, changes } of log(store, range))
    for (const { oid, path, mode, sizeBefore = 0n } of changes)
      if (!(await existsAt(store, newestKeptUpTo(after, toTid(info.tid - 1n)), oid)))
        yield { path, mode, sizeBytes: sizeBefore }
  yield* fromEarlierMoments(store, plan)
}

/** The files of moments before the contiguous history that the next readable moment no longer has. */
async function* fromEarlierMoments(store: Store, { before, after }: PackPlan): AsyncGenerator<DroppedFile> {
  const moments = [before.from, ...before.earlier]
  for (const [index, moment] of moments.entries()) {
    const next = moments[index - 1]
    if (next === undefined || isKept(after, moment)) continue
    const view = await MomentView.open(store, moment)
    for await (const { kind, path, mode, sizeBefore = 0n } of differences(store, moment, next)) {
      if (kind !== 'removed') continue
      const inode = await view.find(path)
      if (inode !== undefined && !(await existsAt(store, newestKeptUpTo(after, moment), inode.oid)))
        yield { path, mode, sizeBytes: sizeBefore }
    }
  }
}

async function existsAt(store: Store, at: Tid | undefined, oid: Oid): Promise<boolean> {
  if (at === undefined || at === TID_NONE) return false
  return (await inodeAt(await MomentView.open(store, at), oid)) !== undefined
}

/** The bytes that a pack would free, by marking every object. @throws CorruptRecordError */
export async function packFrees(
  measuring: Measuring,
  { after }: PackPlan,
  onProgress?: OnMeasured,
): Promise<number> {
  const space = await measuring.space()
  const [all, left] = [await measuring.all(), await measuring.left(after, mark, onProgress)]
  return space.freeBytes + Math.round(Math.max(0, all.bytes - left.bytes) * shrinkOf(space))
}

const justBefore = (moment: Tid): Tid => (moment === TID_NONE ? TID_NONE : toTid(moment - 1n))
