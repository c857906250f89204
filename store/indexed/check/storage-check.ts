/**
 * Detects damage below the level of objects, in any index and Bulk:
 *
 * | damage                                 | is detected by                                                |
 * |----------------------------------------|---------------------------------------------------------------|
 * | a changed row                          | its checksum, which covers its key                            |
 * | a missing row                          | the sums of its transaction, compared with its rows           |
 * | a missing transaction                  | its revisions                                                 |
 * | changed or missing bulk bytes          | their checksums, or a check of their presence                 |
 *
 * Revisions and transactions are read side by side in the order of tids, so memory is bounded. Pages may show different
 * states: new commits are after `upTo`, and apparent damage is looked up again, since a pack may have dropped the row meanwhile.
 */
import type { StorageCheckOptions, StorageDamage } from '../../capabilities.ts'
import { CorruptRecordError, StoreError } from '../../errors.ts'
import { legibleIds, type Oid, type Tid } from '../../ids.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import type { BulkScan } from '../bulk.ts'
import { UNIT_BYTES } from '../frame.ts'
import type { CheckedIndex, CheckedRevision, CheckedTransaction, EntryKey } from '../index-scan.ts'
import { ROW_DIFFERS } from '../row-sums.ts'
import { BulkGaps, lostBytes, POSITIONS_MAX } from './bulk-gaps.ts'

const PAGE_ROWS = 1024
/** Maximum attempts to read a transaction and its rows until two consecutive reads agree. */
const LOOKS_MAX = 5
const FIRST: EntryKey = { oid: -1, tid: 0n }

interface Sums {
  readonly objects: number
  readonly bytes: number
}

const NOTHING: Sums = { objects: 0, bytes: 0 }

/** An index and a Bulk, over separate connections. */
export interface CheckedParts {
  readonly index: CheckedIndex
  readonly bulk: BulkScan
}

/** Runs the whole check. */
export async function* checkStorage(
  parts: CheckedParts,
  options: StorageCheckOptions,
): AsyncGenerator<StorageDamage> {
  const gaps = new BulkGaps()
  try {
    yield* new Check(parts, options, gaps).run()
  } finally {
    gaps.close()
  }
}

class Check {
  readonly #index: CheckedIndex
  readonly #bulk: BulkScan
  readonly #options: StorageCheckOptions
  readonly #gaps: BulkGaps
  /** The transactions read so far, from the current one on. */
  #transactions: readonly CheckedTransaction[] = []
  #transactionsReadTo = 0n
  /** Known once {@link Check.#usedUnits} has read all revisions. */
  #revisionCount = 0

  constructor({ index, bulk }: CheckedParts, options: StorageCheckOptions, gaps: BulkGaps) {
    this.#index = index
    this.#bulk = bulk
    this.#options = options
    this.#gaps = gaps
  }

  async *run(): AsyncGenerator<StorageDamage> {
    const { everyByte, progress, verified } = this.#options
    const { bulkEnd } = await this.#index.end()
    const used = await this.#usedUnits()
    try {
      const report = (pos: number): void => progress('the bulk', pos, Math.max(bulkEnd, pos))
      await this.#gaps.find(this.#bulk, used, everyByte, report, verified)
    } finally {
      used.close()
    }
    yield* this.#rows()
  }

  /** The units to which revisions point. */
  async #usedUnits(): Promise<PagedBitmap> {
    const used = new PagedBitmap()
    for await (const row of this.#revisions(FIRST, this.#options.upTo)) {
      this.#revisionCount++
      const { isIntact, pos, len } = row
      if (isIntact && pos !== null && pos + len <= POSITIONS_MAX)
        used.addRange(Math.floor(pos / UNIT_BYTES), Math.ceil((pos + len) / UNIT_BYTES))
    }
    return used
  }

  async *#rows(): AsyncGenerator<StorageDamage> {
    const { upTo, progress } = this.#options
    let done = 0
    let tid = 0n
    let sums = NOTHING
    for await (const row of this.#revisions(FIRST, upTo)) {
      if (row.tid !== tid) {
        yield* this.#transaction(tid, sums)
        progress('revisions', done, this.#revisionCount)
        tid = row.tid
        sums = NOTHING
      }
      done++
      if (row.isIntact) {
        sums = added(sums, row)
        yield* this.#missing(row)
      } else
        yield {
          kind: 'revision',
          ...(await this.#named(row)),
          reason: ROW_DIFFERS,
        }
    }
    yield* this.#transaction(tid, sums)
    yield* this.#transaction(upTo + 1n, NOTHING)
  }

  /** The bytes of a record that are missing or damaged in the Bulk. */
  async *#missing(row: CheckedRevision): AsyncGenerator<StorageDamage> {
    const { headBytes, pos, len } = row
    const gaps = pos === null ? [] : this.#gaps.within(pos, len)
    if (pos === null || gaps.length === 0 || !(await this.#isThere(row))) return
    for (const gap of gaps)
      yield { kind: 'data', ...(await this.#named(row)), ...lostBytes(gap, headBytes, pos, len) }
  }

  /** Whether a revision still exists: a pack may have dropped it since its row was read. */
  async #isThere({ oid, tid, pos }: CheckedRevision): Promise<boolean> {
    try {
      const [row] = await this.#index.find([legibleIds(oid, tid)])
      return row?.pos === pos
    } catch (error) {
      if (error instanceof CorruptRecordError) return true
      if (error instanceof StoreError && error.code === 'key-needed') return true
      throw error
    }
  }

  /** Compares the transactions up to `tid`, whose revisions have all been read, with their revisions. @param found the revisions of `tid`. */
  async *#transaction(tid: bigint, found: Sums): AsyncGenerator<StorageDamage> {
    for (let next = await this.#next(); next !== undefined && next.tid <= tid; next = await this.#next()) {
      this.#transactions = this.#transactions.slice(1)
      if (!next.isIntact)
        yield { kind: 'transaction', tid: tidOf(next.tid), reason: 'the checksum of its entry differs' }
      const sums = next.tid === tid ? found : NOTHING
      if (!isSame(next, sums)) yield* this.#recount(next.tid)
      if (next.tid === tid) return
    }
    if (found.objects > 0) yield* this.#recount(tid)
  }

  /** The current transaction; undefined after the last one. */
  async #next(): Promise<CheckedTransaction | undefined> {
    if (this.#transactions.length === 0) {
      this.#transactions = await this.#index.checkedTransactions(
        this.#transactionsReadTo,
        this.#options.upTo,
        PAGE_ROWS,
      )
      this.#transactionsReadTo = this.#transactions.at(-1)?.tid ?? this.#transactionsReadTo
    }
    return this.#transactions[0]
  }

  /** Compares a transaction with its revisions again: a pack changes both together. */
  async *#recount(tid: bigint): AsyncGenerator<StorageDamage> {
    let before = await this.#transactionAt(tid)
    for (let look = 0; look < LOOKS_MAX; look++) {
      let found = NOTHING
      for await (const row of this.#revisions({ tid, oid: -1 }, tid))
        if (row.isIntact) found = added(found, row)
      const after = await this.#transactionAt(tid)
      if (isSame(after ?? NOTHING, found)) return
      if (isSame(before ?? NOTHING, after ?? NOTHING)) {
        const reason =
          after === undefined
            ? 'its entry is missing, its objects are present'
            : `it has ${found.objects} objects with ${found.bytes} bytes, but should have ${after.objects} with ${after.bytes}`
        yield { kind: 'transaction', tid: tidOf(tid), reason }
        return
      }
      before = after
    }
  }

  async #transactionAt(tid: bigint): Promise<CheckedTransaction | undefined> {
    return (await this.#index.checkedTransactions(tid - 1n, tid, 1))[0]
  }

  async *#revisions(from: EntryKey, upTo: bigint): AsyncGenerator<CheckedRevision> {
    for (let after: EntryKey | undefined = from; after !== undefined;) {
      const page: readonly CheckedRevision[] = await this.#index.checkedRevisions(after, upTo, PAGE_ROWS)
      yield* page
      after = page.length < PAGE_ROWS ? undefined : page.at(-1)
    }
  }

  async #named({ oid, tid }: EntryKey): Promise<{ oid: Oid; tid: Tid; isCurrent: boolean }> {
    const [newest] = await this.#index.revisionsOf([oid], this.#options.upTo, 1)
    return { ...legibleIds(oid, tid), isCurrent: newest === undefined || newest.tid <= tid }
  }
}

const tidOf = (tid: bigint): Tid => legibleIds(0, tid).tid

const added = (sums: Sums, { headBytes, len, tailBytes }: CheckedRevision): Sums => ({
  objects: sums.objects + 1,
  bytes: sums.bytes + headBytes + len + tailBytes,
})

const isSame = (a: Sums, b: Sums): boolean => a.objects === b.objects && a.bytes === b.bytes
