/**
 * Undoes a transaction, or several in a row: restores the previous state of every object that they changed, as a new change.
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
import { PagedBitmap } from '../../store/paged-bitmap.ts'
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
  constructor(undone: Tid, later: readonly Tid[], details: readonly string[], name: string) {
    super(
      `${name} cannot be undone: the same data was changed again by\n` +
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

/** Transactions from the first to the last one. */
export interface UndoRange {
  readonly first: Tid
  readonly last: Tid
}

const nameOf = ({ first, last }: UndoRange): string =>
  first === last
    ? `transaction ${formatTid(first)}`
    : `the range of transactions ${formatTid(first)} to ${formatTid(last)}`

/** Objects processed together: three states each, of up to a block. */
const BATCH = 16

/**
 * Computes the changes that undo transactions at the moment `at`; nothing may be pending.
 * @throws UndoClashError; StoreError if the transaction, or the state before it, is not kept.
 */
export async function* reversals(
  store: Store,
  at: Tid,
  undone: UndoRange,
  describe: (later: Tid) => Promise<string>,
): AsyncGenerator<Reversal> {
  const { first, last } = undone
  await assertUndoable(store, undone)
  const later = new Set<Tid>()
  const found: Reversal[] = []
  const seen = new PagedBitmap()
  try {
    for await (const { oids } of store.changes(toTid(first - 1n), last))
      for (let i = 0; i < oids.length; i += BATCH) {
        // Several transactions of the range may have changed an object.
        const batch = oids.slice(i, i + BATCH).filter(oid => seen.add(oid))
        for (const reversal of await reverseBatch(store, batch, undone, at))
          if ('tid' in reversal)
            for (const tid of await store.revisions(reversal.oid, { after: last })) later.add(tid)
          else found.push(reversal)
      }
  } finally {
    seen.close()
  }
  if (later.size > 0) {
    const sorted = [...later].sort((a, b) => (a < b ? -1 : 1))
    throw new UndoClashError(first, sorted, await Promise.all(sorted.map(describe)), nameOf(undone))
  }
  yield* found
}

async function assertUndoable(store: Store, undone: UndoRange): Promise<void> {
  const { first, last } = undone
  if (first > last)
    throw new StoreError(
      `${formatTid(first)} is later than ${formatTid(last)}: name the older transaction first`,
    )
  for (const each of new Set([first, last])) {
    let isThere = false
    for await (const { tid } of store.transactions({ after: toTid(each - 1n), upTo: each }))
      isThere ||= tid === each
    if (!isThere)
      throw new StoreError(`there is no transaction ${formatTid(each)}`, { code: 'no-transaction' })
  }
  const name = nameOf(undone)
  const before = toTid(first - 1n)
  let isFirst = true
  for await (const _ of store.transactions({ upTo: before, limit: 1 })) isFirst = false
  if (isFirst || (await store.isKept?.(before)) === false)
    throw new StoreError(`${name} cannot be undone: the state before it is no longer kept`)
}

/** New states of objects; a `tid` marks an object that clashes. */
async function reverseBatch(
  store: Store,
  oids: readonly Oid[],
  { first, last }: UndoRange,
  at: Tid,
): Promise<readonly (Reversal | { readonly oid: Oid; readonly tid: Tid })[]> {
  const results: (Reversal | { readonly oid: Oid; readonly tid: Tid })[] = []
  const [befores, afters, nows] = await Promise.all(
    [toTid(first - 1n), last, at].map(at => store.load(oids, at)),
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
    results.push(merged ?? { oid, tid: last })
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
