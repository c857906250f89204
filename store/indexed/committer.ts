/**
 * Writes transactions to an index and a Bulk, one after the other.
 *
 * Short records go into their rows, long bodies into the Bulk. Rows are added to the index while bulk bytes are being
 * written; the Bulk is synced before the index commits, so a committed row never points to bytes that may be lost. The
 * state after the last transaction (`#lastTid`, `#nextOid`, `#bulkEnd`) changes only when a commit has succeeded: this
 * object is the only writer, or {@link Committer.resume} is called after others have written.
 *
 * A transaction that does not fit into memory is stored in **parts**: `spill` writes the rows and bulk bytes of one part, under
 * the future tid of the transaction, and `commit` adds the last part and the transaction's own row. Until then the parts are
 * invisible to readers of other moments, and a process that opens the database after a crash removes them.
 */
import { canonicalText } from '../os-text.ts'
import type { Awaitable } from '../awaitable.ts'
import { NO_BYTES } from '../bytes.ts'
import { StoreError } from '../errors.ts'
import { formatTid, nextTid, TID_NONE, type Tid } from '../ids.ts'
import { isSlice, type ObjectChange, type RecordSource } from '../changes.ts'
import type { NewTransaction } from '../store.ts'
import type { BulkReader, BulkWriter } from './bulk.ts'
import { UNIT_BYTES } from './frame.ts'
import { draftOf, concat, INLINE_TRANSACTION_BYTES, totalLength, type Draft } from './placement.ts'
import type {
  ExpectedBase,
  IndexTransaction,
  IndexWriter,
  RevisionRow,
  TransactionRow,
} from './record-index.ts'
import { recordSize } from './record-parts.ts'
import { draftSlice } from './slices.ts'

export interface CommitterParts {
  readonly index: IndexWriter
  readonly bulk: BulkWriter
  /** Reads the bulk bytes of slices that have to be copied. */
  readonly reader: BulkReader
}

/** A row without its key. */
type Placed = Pick<RevisionRow, 'head' | 'pos' | 'len' | 'tail'>

/** Totals of the stored parts of a transaction. */
interface Parts {
  readonly tid: Tid
  /** The end of the bulk before the first part. */
  readonly bulkStart: number
  readonly objects: number
  readonly bytes: number
  readonly stored: number
}

/** Totals of one call. */
interface Written {
  /** The first unused oid after the changed ones. */
  readonly nextOid: number
  /** Number of objects without a row in an earlier part. */
  readonly objects: number
  /** The sum of the records' lengths, less those of replaced records. */
  readonly bytes: number
  readonly stored: number
}

/** The zeros after the bytes of a unit. */
const PADDING = new Uint8Array(UNIT_BYTES)

const UNCREATED: Placed = { head: null, pos: null, len: 0, tail: null }

export class Committer {
  readonly #index: IndexWriter
  readonly #bulk: BulkWriter
  readonly #reader: BulkReader
  #lastTid: Tid = TID_NONE
  /** No object with this oid or a later one has a revision. */
  #nextOid = 1
  #bulkEnd = 0
  #commits = 0
  #committedBytes = 0
  #parts: Parts | undefined
  /** Whether the parts are to be dropped before the next transaction. */
  #dropsParts = false

  /** @param last the last transaction; undefined if there is none. */
  constructor({ index, bulk, reader }: CommitterParts, last: TransactionRow | undefined) {
    this.#index = index
    this.#bulk = bulk
    this.#reader = reader
    this.#continueAfter(last)
  }

  /** Continues after the last transaction. @throws StoreError if that is damaged. */
  static async open(parts: CommitterParts): Promise<Committer> {
    await parts.index.dropParts()
    const committer = new Committer(parts, await parts.index.last())
    await parts.bulk.begin(committer.#bulkEnd)
    return committer
  }

  /** Continues after the last transaction of another writer, and drops the parts that it has left. @throws as {@link Committer.open} */
  async resume(): Promise<void> {
    await this.#index.dropParts()
    this.forgetSpilled()
    this.#continueAfter(await this.#index.last())
    await this.#bulk.begin(this.#bulkEnd)
  }

  #continueAfter(last: TransactionRow | undefined): void {
    if (last === undefined) return
    this.#lastTid = last.tid
    this.#nextOid = last.nextOid
    this.#bulkEnd = last.bulkEnd
  }

  get lastTid(): Tid {
    return this.#lastTid
  }

  get nextOid(): number {
    return this.#nextOid
  }

  /** The number of transactions committed by this object. */
  get commits(): number {
    return this.#commits
  }

  /** The sum of their records' lengths. */
  get committedBytes(): number {
    return this.#committedBytes
  }

  /**
   * Stores a transaction; it is durable when this resolves, and absent when this rejects. Only one call may be in progress.
   * @param allocated the first oid that has not been allocated.
   * @throws ConflictError, ObjectNotFoundError, StoreError, and what index and Bulk throw.
   */
  async commit(transaction: NewTransaction, allocated: number): Promise<Tid> {
    const { changes } = transaction
    if (this.#dropsParts) await this.#drop()
    if (changes.length === 0 && this.#parts === undefined) return this.#lastTid
    const parts = this.#parts ?? this.#noParts(transaction.tid)
    const { tid } = parts
    const rows = await this.#index.begin()
    try {
      const written = await this.#write(changes, tid, rows)
      await this.#bulk.sync()
      const { user = '', description = '', extension = NO_BYTES } = transaction
      const { nextOid, objects, bytes, stored } = this.#sum(parts, written, allocated)
      const bulkEnd = this.#bulk.end
      const texts = { user: canonicalText(user), description: canonicalText(description) }
      await rows.commit({ tid, ...texts, extension, objects, bytes, nextOid, bulkEnd, stored })
      this.#commits++
      this.#committedBytes += bytes
      this.#lastTid = tid
      this.#nextOid = nextOid
      this.#bulkEnd = bulkEnd
      this.#parts = undefined
      return tid
    } catch (error) {
      await this.#giveUp(rows)
      throw error
    }
  }

  /**
   * Writes a part of the transaction that the next commit completes; resolves to its tid, at which the part can be read. If it
   * rejects, earlier parts stay. @throws as {@link Committer.commit}
   * @param newTid returns the tid of the transaction; used for the first part only.
   */
  async spill(changes: readonly ObjectChange[], allocated: number, newTid?: Tid): Promise<Tid> {
    if (this.#dropsParts) await this.#drop()
    const parts = this.#parts ?? this.#noParts(newTid)
    const { tid, bulkStart } = parts
    const rows = await this.#index.begin(true)
    try {
      this.#parts = parts
      const written = await this.#write(changes, tid, rows)
      await this.#bulk.sync()
      await rows.keep(tid)
      const { nextOid, ...sums } = this.#sum(parts, written, allocated)
      this.#parts = { tid, bulkStart, ...sums }
      this.#nextOid = nextOid
      this.#bulkEnd = this.#bulk.end
      return tid
    } catch (error) {
      await this.#giveUp(rows)
      throw error
    }
  }

  /** Removes the parts spilled since the last commit, and frees their space. If this rejects, the next transaction does it first. */
  async dropSpilled(): Promise<void> {
    if (this.#parts === undefined) return
    this.#dropsParts = true
    await this.#drop()
  }

  /** Forgets the parts: this writer has lost the right to write, and the next one drops them. */
  forgetSpilled(): void {
    this.#parts = undefined
    this.#dropsParts = false
  }

  async #drop(): Promise<void> {
    await this.#index.dropParts()
    this.#bulkEnd = this.#parts?.bulkStart ?? this.#bulkEnd
    this.forgetSpilled()
    await this.#bulk.settle()
    await this.#bulk.begin(this.#bulkEnd)
  }

  #noParts(tid: Tid | undefined): Parts {
    return { tid: this.#chooseTid(tid), bulkStart: this.#bulkEnd, objects: 0, bytes: 0, stored: 0 }
  }

  #sum(parts: Parts, written: Written, allocated: number): Written {
    return {
      nextOid: Math.max(this.#nextOid, allocated, written.nextOid),
      objects: parts.objects + written.objects,
      bytes: parts.bytes + written.bytes,
      stored: parts.stored + written.stored,
    }
  }

  async #giveUp(rows: IndexTransaction): Promise<void> {
    await this.#bulk.settle()
    await rows.rollback()
    // A later process may find the transaction nevertheless: its positions must not be written again.
    if (rows.isInDoubt) this.#bulkEnd = this.#bulk.end
    try {
      // On a full disk, frees the space at once.
      await this.#bulk.begin(this.#bulkEnd)
    } catch {
      // The next transaction tries again.
    }
  }

  #chooseTid(wanted: Tid | undefined): Tid {
    if (wanted === undefined) return nextTid(Date.now(), this.#lastTid)
    if (wanted > this.#lastTid) return wanted
    throw new StoreError(
      `transaction ${formatTid(wanted)} is not later than the last one, ${formatTid(this.#lastTid)}: ` +
        'copy transactions in order, into a database without later ones',
    )
  }

  async #write(changes: readonly ObjectChange[], tid: Tid, rows: IndexTransaction): Promise<Written> {
    await this.#bulk.begin(this.#bulkEnd)
    const expecting = this.#expect(changes, rows)
    if (expecting !== undefined) await expecting
    const drafts: (Draft | undefined)[] = []
    for (const { record } of changes) {
      const draft = record === null ? undefined : this.#draft(record)
      drafts.push(draft instanceof Promise ? await draft : draft)
    }
    const oids = this.#parts === undefined ? [] : changes.map(({ oid }) => oid)
    const removed = oids.length === 0 ? [] : await rows.removeParts(oids, tid)
    const unitBytes = drafts.reduce((sum, draft) => sum + (draft ? totalLength(draft.units) : 0), 0)
    const places = unitBytes < INLINE_TRANSACTION_BYTES ? undefined : await this.#append(drafts)
    let nextOid = 0
    let objects = changes.length
    let bytes = 0
    let stored = unitBytes
    for (const [index, { oid }] of changes.entries()) {
      const draft = drafts[index]
      const row = { oid, tid, ...placed(draft, places?.[index]) }
      bytes += recordSize(row) + (row.head === null ? 0 : this.#index.extraRowBytes)
      rows.add(row)
      const replaced = removed[index]
      if (replaced !== undefined) {
        objects--
        bytes -= replaced
      }
      stored += (draft?.head.length ?? 0) + (draft?.tail.length ?? 0)
      if (oid >= nextOid) nextOid = oid + 1
    }
    return { nextOid, objects, bytes, stored }
  }

  /** Objects with an oid that was never used need no look-up, unless there are other writers. */
  #expect(changes: readonly ObjectChange[], rows: IndexTransaction): Awaitable<void> {
    const bases: ExpectedBase[] = []
    const { looksUpNew = false } = this.#index
    for (const { oid, base } of changes) if (looksUpNew || oid < this.#nextOid) bases.push({ oid, base })
    if (bases.length > 0) return rows.expect(bases)
  }

  #draft({ head, body = [], tail = NO_BYTES }: RecordSource): Awaitable<Draft> {
    return isSlice(body) ? draftSlice(this.#index, this.#reader, head, body, tail) : draftOf(head, body, tail)
  }

  /**
   * Appends the bulk bytes of all drafts; returns their positions, undefined for a draft without any. Long ones begin at a unit;
   * short ones follow, as many in a unit as fit.
   */
  async #append(drafts: readonly (Draft | undefined)[]): Promise<readonly (number | undefined)[]> {
    const places: (number | undefined)[] = []
    const short: number[] = []
    for (const [index, draft] of drafts.entries()) {
      if (draft === undefined || draft.units.length === 0) continue
      const length = totalLength(draft.units)
      if (length < UNIT_BYTES) short.push(index)
      else places[index] = await this.#appendUnits(draft.units, length)
    }
    let unit: Uint8Array[] = []
    let fill = 0
    for (const index of short) {
      const parts = drafts[index]?.units ?? []
      const length = totalLength(parts)
      if (fill + length > UNIT_BYTES) {
        await this.#appendUnits(unit, fill)
        unit = []
        fill = 0
      }
      places[index] = this.#bulk.end + fill
      unit.push(...parts)
      fill += length
    }
    if (fill > 0) await this.#appendUnits(unit, fill)
    return places
  }

  /** Appends bytes, and zeros up to the next unit; returns their position. */
  async #appendUnits(parts: readonly Uint8Array[], length: number): Promise<number> {
    const pos = this.#bulk.end
    const rest = length % UNIT_BYTES
    await this.#bulk.append(rest === 0 ? parts : [...parts, PADDING.subarray(rest)])
    return pos
  }
}

function placed(draft: Draft | undefined, pos: number | undefined): Placed {
  if (draft === undefined) return UNCREATED
  if (pos === undefined) return placeInRow(draft)
  const { head, tail, units } = draft
  return { head, pos, len: totalLength(units), tail: tail.length > 0 ? tail : null }
}

function placeInRow({ head, tail, units, shared }: Draft): Placed {
  if (shared === undefined) return { head: concat(head, ...units, tail), pos: null, len: 0, tail: null }
  return { head, ...shared, tail: tail.length > 0 ? tail : null }
}
