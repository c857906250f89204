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
 *
 * Objects are restored independently of each other: counts, and whether named objects are reached from the root, are settled once all
 * are restored (core/file-system/history/undone-names.ts).
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
import type { PickleValue } from '../objects/pickle/value.ts'
import { differsInTimesOnly, mappingOf, mergeBack } from './merge.ts'

/** Later transactions have changed objects that would be restored. */
export class UndoClashError extends StoreError {
  override readonly name = 'UndoClashError'
  readonly undone: Tid
  /** The later transactions, oldest first. */
  readonly later: readonly Tid[]
  constructor(undone: Tid, later: readonly Tid[], details: readonly string[], name: string) {
    super(
      details.length === 0
        ? `${name} cannot be undone: its files have other names since, or their directories were removed; restore single files`
        : `${name} cannot be undone: the same data was changed again by\n` +
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

/** Memory of a reversal besides its bytes. */
const REVERSAL_BYTES = 300

export const memoryOf = ({ source: { head, tail } }: Reversal): number =>
  REVERSAL_BYTES + head.length + (tail?.length ?? 0)

/** An inode that the undone transactions changed. */
export interface UndoneInode {
  readonly oid: Oid
  /** Its link count before them and after them; 0 if it did not exist. */
  readonly linksBefore: number
  readonly linksAfter: number
  /** Whether neither its counts nor its entries can have changed. */
  readonly isQuiet: boolean
  /** Whether later changes stay. */
  readonly isMerged: boolean
}

/** A part of what is restored. */
export interface Reversals {
  readonly objects: readonly Reversal[]
  readonly inodes: readonly UndoneInode[]
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
 * Computes the changes that undo transactions at the moment `at`, part by part; nothing may be pending.
 * @throws UndoClashError, also after some parts; StoreError if the transaction, or the state before it, is not kept.
 */
export async function* reversals(
  store: Store,
  at: Tid,
  undone: UndoRange,
  describe: (later: Tid) => Promise<string>,
): AsyncGenerator<Reversals> {
  const { first, last } = undone
  await assertUndoable(store, undone)
  const clashing = new Clashes(store, undone)
  const seen = new PagedBitmap()
  try {
    for await (const { oids } of store.changes(toTid(first - 1n), last))
      for (let i = 0; i < oids.length; i += BATCH) {
        // Several transactions of the range may have changed an object.
        const batch = oids.slice(i, i + BATCH).filter(oid => seen.add(oid))
        const objects: Reversal[] = []
        const inodes: UndoneInode[] = []
        for (const { oid, reversal, inode } of await reverseBatch(store, batch, undone, at)) {
          if (reversal === 'clash') await clashing.add(oid)
          else if (reversal !== undefined) objects.push(reversal)
          if (inode !== undefined) inodes.push(inode)
        }
        if (!clashing.isThere) yield { objects, inodes }
      }
  } finally {
    seen.close()
  }
  if (clashing.isThere) throw await clashing.error(describe)
}

/** Objects that later transactions have changed, by these transactions. */
class Clashes {
  readonly #store: Store
  readonly #undone: UndoRange
  readonly #later = new Set<Tid>()
  #isThere = false

  constructor(store: Store, undone: UndoRange) {
    this.#store = store
    this.#undone = undone
  }

  get isThere(): boolean {
    return this.#isThere
  }

  async add(oid: Oid): Promise<void> {
    this.#isThere = true
    for (const tid of await this.#store.revisions(oid, { after: this.#undone.last })) this.#later.add(tid)
  }

  async error(describe: (later: Tid) => Promise<string>): Promise<UndoClashError> {
    const sorted = [...this.#later].sort((a, b) => (a < b ? -1 : 1))
    const details = await Promise.all(sorted.map(describe))
    return new UndoClashError(this.#undone.first, sorted, details, nameOf(this.#undone))
  }
}

/** The error for objects that later transactions have changed. */
export async function clash(
  store: Store,
  undone: UndoRange,
  oids: Iterable<Oid>,
  describe: (later: Tid) => Promise<string>,
): Promise<UndoClashError> {
  const clashing = new Clashes(store, undone)
  for (const oid of oids) await clashing.add(oid)
  return await clashing.error(describe)
}

async function assertUndoable(store: Store, undone: UndoRange): Promise<void> {
  const { first, last } = undone
  if (first > last)
    throw new StoreError(
      `${formatTid(first)} is later than ${formatTid(last)}: name the older transaction first`,
      { code: 'usage' },
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
    throw new StoreError(`${name} cannot be undone: the state before it is no longer kept`, {
      code: 'history-dropped',
    })
}

interface Reversed {
  readonly oid: Oid
  /** Absent: the object stays as it is. */
  readonly reversal: Reversal | 'clash' | undefined
  /** Absent if it is not an inode. */
  readonly inode: UndoneInode | undefined
}

/** New states of objects. */
async function reverseBatch(
  store: Store,
  oids: readonly Oid[],
  { first, last }: UndoRange,
  at: Tid,
): Promise<readonly Reversed[]> {
  const [befores, afters, nows] = await Promise.all(
    [toTid(first - 1n), last, at].map(at => store.load(oids, at)),
  )
  return oids.map((oid, i) => {
    const [before, after, now] = [befores?.[i], afters?.[i], nows?.[i]]
    const reversal = reverse(oid, before, after, now)
    const [was, became] = [countsOf(oid, before), countsOf(oid, after)]
    if (was === undefined && became === undefined) return { oid, reversal, inode: undefined }
    const isMerged = !isSame(now, before) && !isSame(now, after)
    const isEqual = was?.links === became?.links && was?.stored === became?.stored
    const isQuiet = isEqual && !isMerged && was?.hasEntries === false
    const [linksBefore, linksAfter] = [was?.links ?? 0, became?.links ?? 0]
    return { oid, reversal, inode: { oid, linksBefore, linksAfter, isQuiet, isMerged } }
  })
}

function reverse(
  oid: Oid,
  before: Revision | undefined,
  after: Revision | undefined,
  now: Revision | undefined,
): Reversed['reversal'] {
  const isSignal = before !== undefined && classOfRecord(before.record) === ZBlk1.CLASS_NAME
  if (isSame(now, before) && !isSignal) return undefined
  if (isSame(now, after)) {
    // A created object remains, but nothing refers to it.
    if (before === undefined) return undefined
    const className = classOfRecord(before.record)
    return { oid, className, source: sourceOf(oid, className, before), base: now?.tid ?? TID_NONE }
  }
  if (before === undefined && isOnlyUsed(oid, after, now)) return undefined
  return merge(oid, before, after, now) ?? 'clash'
}

interface Counts {
  readonly links: number
  readonly stored: PickleValue | undefined
  readonly hasEntries: boolean
}

/** The counts of an inode; undefined for other objects. */
function countsOf(oid: Oid, revision: Revision | undefined): Counts | undefined {
  if (revision === undefined || classOfRecord(revision.record) !== PersistentMapping.CLASS_NAME)
    return undefined
  const mapping = mappingOf(decodeRecord(revision.record, oid, revision.tid).state)
  const links = mapping?.get('nlink')
  if (mapping === undefined || typeof links !== 'number') return undefined
  return { links, stored: mapping.get('stored'), hasEntries: mapping.has('entries') }
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
