/**
 * Writes transactions to an index and a Bulk, one after the other.
 *
 * Short records go into their rows, long bodies into the Bulk. Rows are added to the index while bulk bytes are being
 * written; the Bulk is synced before the index commits, so a committed row never points to bytes that may be lost. The
 * state after the last transaction (`#lastTid`, `#nextOid`, `#bulkEnd`) changes only when a commit has succeeded; there
 * is no other writer.
 */
import { NO_BYTES } from '../bytes.ts'
import { ConflictError, StoreError } from '../errors.ts'
import { formatTid, nextTid, TID_NONE, type Oid, type Tid } from '../ids.ts'
import { isSlice, type NewTransaction, type ObjectChange, type RecordSource } from '../store.ts'
import type { BulkReader, BulkWriter } from './bulk.ts'
import { draftOf, concat, INLINE_TRANSACTION_BYTES, totalLength, type Draft } from './placement.ts'
import type { IndexTransaction, IndexWriter, RevisionRow, TransactionRow } from './record-index.ts'
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

  /** @param last the last transaction; undefined if there is none. */
  constructor({ index, bulk, reader }: CommitterParts, last: TransactionRow | undefined) {
    this.#index = index
    this.#bulk = bulk
    this.#reader = reader
    if (last === undefined) return
    this.#lastTid = last.tid
    this.#nextOid = last.nextOid
    this.#bulkEnd = last.bulkEnd
  }

  /** Continues after the last transaction. @throws StoreError if that is damaged. */
  static async open(parts: CommitterParts): Promise<Committer> {
    const committer = new Committer(parts, await parts.index.last())
    await parts.bulk.begin(committer.#bulkEnd)
    return committer
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
    if (transaction.changes.length === 0) return this.#lastTid
    const tid = this.#chooseTid(transaction.tid)
    const rows = await this.#index.begin()
    try {
      const { nextOid, bytes, stored } = await this.#write(transaction, tid, rows)
      await this.#bulk.sync()
      const { user = '', description = '', extension = NO_BYTES } = transaction
      const next = Math.max(this.#nextOid, allocated, nextOid)
      const bulkEnd = this.#bulk.end
      const objects = transaction.changes.length
      const row = { tid, user, description, extension, objects, bytes, nextOid: next, bulkEnd, stored }
      await rows.commit(row)
      this.#commits++
      this.#committedBytes += bytes
      this.#lastTid = tid
      this.#nextOid = next
      this.#bulkEnd = bulkEnd
      return tid
    } catch (error) {
      await this.#giveUp(rows)
      throw error
    }
  }

  async #giveUp(rows: IndexTransaction): Promise<void> {
    await this.#bulk.settle()
    await rows.rollback()
    // A later process may find the transaction nevertheless: its positions must not be written again.
    if (rows.isInDoubt) this.#bulkEnd = this.#bulk.end
    try {
      // Frees the space at once where the disk is full.
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

  /** Returns the first unused oid after those changed, the sum of the records' lengths, and the bytes added. */
  async #write(
    { changes }: NewTransaction,
    tid: Tid,
    rows: IndexTransaction,
  ): Promise<{ readonly nextOid: number; readonly bytes: number; readonly stored: number }> {
    await this.#bulk.begin(this.#bulkEnd)
    await this.#checkConflicts(changes)
    const drafts: (Draft | undefined)[] = []
    for (const { record } of changes) {
      const draft = record === null ? undefined : this.#draft(record)
      drafts.push(draft instanceof Promise ? await draft : draft)
    }
    const unitBytes = drafts.reduce((sum, draft) => sum + (draft ? totalLength(draft.units) : 0), 0)
    const isInRows = unitBytes < INLINE_TRANSACTION_BYTES
    let nextOid = 0
    let bytes = 0
    let stored = unitBytes
    for (const [index, { oid }] of changes.entries()) {
      const draft = drafts[index]
      const row = { oid, tid, ...(await this.#place(draft, isInRows)) }
      rows.add(row)
      bytes += recordSize(row)
      stored += (draft?.head.length ?? 0) + (draft?.tail.length ?? 0)
      if (oid >= nextOid) nextOid = oid + 1
    }
    return { nextOid, bytes, stored }
  }

  async #checkConflicts(changes: readonly ObjectChange[]): Promise<void> {
    const oids: Oid[] = []
    for (const { oid } of changes) if (oid < this.#nextOid) oids.push(oid)
    const found = oids.length === 0 ? [] : await this.#index.newestTids(oids)
    let known = 0
    for (const { oid, base } of changes) {
      const current = oid < this.#nextOid ? (found[known++] ?? TID_NONE) : TID_NONE
      if (current !== base) throw new ConflictError(oid, base, current)
    }
  }

  #draft({ head, body = [], tail = NO_BYTES }: RecordSource): Draft | Promise<Draft> {
    return isSlice(body) ? draftSlice(this.#index, this.#reader, head, body, tail) : draftOf(head, body, tail)
  }

  async #place(draft: Draft | undefined, isInRow: boolean): Promise<Placed> {
    if (draft === undefined) return UNCREATED
    const { head, tail, units } = draft
    if (isInRow || units.length === 0) return placeInRow(draft)
    const pos = this.#bulk.end
    await this.#bulk.append(units)
    return { head, pos, len: this.#bulk.end - pos, tail: tail.length > 0 ? tail : null }
  }
}

function placeInRow({ head, tail, units, shared }: Draft): Placed {
  if (shared === undefined) return { head: concat(head, ...units, tail), pos: null, len: 0, tail: null }
  return { head, ...shared, tail: tail.length > 0 ? tail : null }
}
