/**
 * Undoes a transaction: restores the previous state of every object that it changed, as a new change.
 *
 * | the object's present state is      | it becomes                                                   |
 * |------------------------------------|--------------------------------------------------------------|
 * | its state before the transaction   | unchanged                                                    |
 * | its state after the transaction    | its state before it; data is shared with that record         |
 * | something else                     | the result of {@link mergeBack}, or there is a clash          |
 *
 * A ZBlk1's record only shows that one of its chunks has changed, so it is always rewritten.
 *
 * Objects that the transaction created remain, but nothing refers to them. If there is a clash, nothing is undone.
 */
import {
  classOfRecord,
  dataPosition,
  decodeRecord,
  encodeRecord,
  ZBLK0,
  ZDATA,
  type DataClass,
} from '../objects/record.ts'
import { dataRecord } from '../zblk/data.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { formatTid, tid as toTid, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { StoreError } from '../../store/errors.ts'
import type { RecordSource } from '../../store/changes.ts'
import type { Revision, Store } from '../../store/store.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { differsInTimesOnly, mergeBack } from './merge.ts'

/** Later transactions have changed objects that would be restored. */
export class UndoClashError extends StoreError {
  override readonly name = 'UndoClashError'
  readonly undone: Tid
  /** The later transactions, oldest first. */
  readonly later: readonly Tid[]
  constructor(undone: Tid, later: readonly Tid[], details: readonly string[]) {
    super(
      `transaction ${formatTid(undone)} cannot be undone: its changes were changed again by\n` +
        `${details.map(line => `  ${line}`).join('\n')}\nundo these first, the newest first, or restore single files`,
      { code: 'undo-clash' },
    )
    this.undone = undone
    this.later = later
  }
}

/** The restored state of one object. */
export interface Reversal {
  readonly oid: Oid
  readonly className: string
  readonly source: RecordSource
  /** The state that it replaces. */
  readonly base: Tid
}

/** Objects processed together: three states each, of up to a block. */
const BATCH = 16

/**
 * Computes the changes that undo a transaction at the moment `at`; nothing may be pending.
 * @throws UndoClashError; StoreError if the transaction, or the state before it, is not kept.
 */
export async function* reversals(
  store: Store,
  at: Tid,
  undone: Tid,
  describe: (later: Tid) => Promise<string>,
): AsyncGenerator<Reversal> {
  await assertUndoable(store, undone)
  const later = new Set<Tid>()
  const found: Reversal[] = []
  for await (const { oids } of store.changes(toTid(undone - 1n), undone))
    for (let i = 0; i < oids.length; i += BATCH) {
      const batch = oids.slice(i, i + BATCH)
      for (const reversal of await reverseBatch(store, batch, undone, at))
        if ('tid' in reversal)
          for (const tid of await store.revisions(reversal.oid, { after: undone })) later.add(tid)
        else found.push(reversal)
    }
  if (later.size > 0) {
    const sorted = [...later].sort((a, b) => (a < b ? -1 : 1))
    throw new UndoClashError(undone, sorted, await Promise.all(sorted.map(describe)))
  }
  yield* found
}

async function assertUndoable(store: Store, undone: Tid): Promise<void> {
  const name = `transaction ${formatTid(undone)}`
  let isThere = false
  for await (const { tid } of store.transactions({ after: toTid(undone - 1n), upTo: undone }))
    isThere ||= tid === undone
  if (!isThere) throw new StoreError(`there is no ${name}`, { code: 'no-transaction' })
  const before = toTid(undone - 1n)
  let isFirst = true
  for await (const _ of store.transactions({ upTo: before, limit: 1 })) isFirst = false
  if (isFirst || (await store.isKept?.(before)) === false)
    throw new StoreError(`${name} cannot be undone: the state before it is no longer kept`)
}

/** New states of objects; a `tid` marks an object that clashes. */
async function reverseBatch(
  store: Store,
  oids: readonly Oid[],
  undone: Tid,
  at: Tid,
): Promise<readonly (Reversal | { readonly oid: Oid; readonly tid: Tid })[]> {
  const results: (Reversal | { readonly oid: Oid; readonly tid: Tid })[] = []
  const [befores, afters, nows] = await Promise.all(
    [toTid(undone - 1n), undone, at].map(at => store.load(oids, at)),
  )
  for (const [i, oid] of oids.entries()) {
    const [before, after, now] = [befores?.[i], afters?.[i], nows?.[i]]
    const isSignal = before !== undefined && classOfRecord(before.record) === ZBlk1.CLASS_NAME
    if (isSame(now, before) && !isSignal) continue
    if (isSame(now, after)) {
      // A created object remains, but nothing refers to it.
      if (before === undefined) continue
      const className = classOfRecord(before.record)
      results.push({ oid, className, source: sourceOf(oid, className, before), base: now?.tid ?? TID_NONE })
      continue
    }
    if (before === undefined && isOnlyUsed(oid, after, now)) continue
    const merged = merge(oid, before, after, now)
    results.push(merged ?? { oid, tid: undone })
  }
  return results
}

function merge(
  oid: Oid,
  before: Revision | undefined,
  after: Revision | undefined,
  now: Revision | undefined,
): Reversal | undefined {
  if (before === undefined || after === undefined || now === undefined) return undefined
  const className = classOfRecord(now.record)
  if (className === ZDATA || className === ZBLK0) return undefined
  const [was, became, is] = [before, after, now].map(({ record, tid }) => decodeRecord(record, oid, tid))
  if (was === undefined || became === undefined || is === undefined) return undefined
  const state = mergeBack(was, became, is)
  if (state === undefined) return undefined
  return { oid, className, source: { head: encodeRecord(className, state) }, base: now.tid }
}

/** Whether an object is unchanged since its creation, except for access times. */
function isOnlyUsed(oid: Oid, after: Revision | undefined, now: Revision | undefined): boolean {
  if (after === undefined || now === undefined) return false
  if (classOfRecord(now.record) !== PersistentMapping.CLASS_NAME) return false
  return differsInTimesOnly(
    decodeRecord(after.record, oid, after.tid),
    decodeRecord(now.record, oid, now.tid),
  )
}

/** The source of an earlier record; for data, a slice of it. */
function sourceOf(oid: Oid, className: string, { record, tid }: Revision): RecordSource {
  if (className !== ZDATA && className !== ZBLK0) return { head: record }
  const { off, len } = dataPosition(record, record.length, oid, tid)
  return dataRecord(className satisfies DataClass, { oid, tid, off, len })
}

function isSame(a: Revision | undefined, b: Revision | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.tid === b.tid || Buffer.compare(a.record, b.record) === 0
}
