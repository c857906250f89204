/** Reads the revisions of many objects over an index and a Bulk, in bounded pages. */
import type { Awaitable } from '../awaitable.ts'
import type { Added, Space } from '../capabilities.ts'
import type { RecordStart, StoredRevision, StoredState } from '../stored-revisions.ts'
import { CorruptRecordError } from '../errors.ts'
import { oid as toOid, tid as toTid, type Oid, type Tid } from '../ids.ts'
import type { KeptMoments } from '../kept-moments.ts'
import { BulkDamageError, type BulkRange, type BulkScan } from './bulk.ts'
import { damagedRows } from './bulk-damage.ts'
import { UNIT_BYTES, unitsOf } from './frame.ts'
import type { EntryKey, IndexEnd, IndexScan, PackedTransaction, ScannedRow } from './index-scan.ts'
import { KEPT_MOMENTS, parseKeptMoments } from './kept-moments-note.ts'
import type { FoundRevision, PackSource } from './pack/pack-source.ts'
import type { Index, RevisionKey, RevisionRow } from './record-index.ts'
import { newBytes, partLength, planRead, recordSize, type RecordRead } from './record-parts.ts'

/** Rows per page: small enough that a read does not prevent a checkpoint of the WAL (SQLite). */
const PAGE_ROWS = 1024

export interface RevisionReaderParts {
  readonly index: Pick<Index, 'find' | 'changes'>
  readonly scan: IndexScan
  readonly bulk: BulkScan
  /** As ReaderParts.explain (reader.ts). */
  readonly explain: (error: unknown) => unknown
  readonly close: () => void
}

type Found = RevisionRow | CorruptRecordError | undefined

export class IndexedRevisionReader implements PackSource {
  readonly unitBytes = UNIT_BYTES
  readonly #parts: RevisionReaderParts

  constructor(parts: RevisionReaderParts) {
    this.#parts = parts
  }

  close(): void {
    this.#parts.close()
  }

  async totals(): Promise<{ readonly lastTid: Tid; readonly nextOid: number }> {
    const { lastTid, nextOid } = await this.end()
    return { lastTid: toTid(lastTid), nextOid }
  }

  end(): Promise<IndexEnd> {
    return this.#ask(scan => scan.end())
  }

  async kept(): Promise<KeptMoments> {
    return parseKeptMoments(await this.#ask(scan => scan.note(KEPT_MOMENTS)))
  }

  async *oids(): AsyncGenerator<readonly Oid[]> {
    for (let last = -1; ;) {
      const after = last
      const batch: Oid[] = []
      for (const found of await this.#ask(scan => scan.oids(after, PAGE_ROWS))) {
        // A damaged index may return earlier keys, or values that are not oids.
        if (!Number.isSafeInteger(found) || found <= last) break
        batch.push(toOid(found))
        last = found
      }
      if (batch.length === 0) return
      yield batch
    }
  }

  async *revisions(oids: readonly number[], upTo: bigint): AsyncGenerator<readonly StoredRevision[]> {
    for (let left = oids; left.length > 0;) {
      const asked = left
      let page = await this.#ask(scan => scan.revisionsOf(asked, upTo, PAGE_ROWS))
      if (page.length > 0) yield page
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ROWS) return
      // The rest of the object at which the page ends, then the objects after it.
      for (let { tid } = last; page.length === PAGE_ROWS; tid = page.at(-1)?.tid ?? 0n) {
        const before = tid
        page = await this.#ask(scan => scan.revisionsOf([last.oid], before - 1n, PAGE_ROWS))
        if (page.length > 0) yield page
      }
      const next = left.indexOf(last.oid) + 1
      left = next === 0 ? [] : left.slice(next)
    }
  }

  async *states(lo: number, hi: number, upTo: bigint): AsyncGenerator<readonly StoredState[]> {
    for (let after: EntryKey | undefined = { oid: lo - 1, tid: 0n }; after !== undefined;) {
      const from: EntryKey = after
      const rows = await this.#ask(scan => scan.rows(from, hi, upTo, PAGE_ROWS))
      if (rows.length > 0) yield rows.map(stateOf)
      after = rows.length < PAGE_ROWS ? undefined : rows.at(-1)
    }
  }

  async *entries(from = 0): AsyncGenerator<readonly StoredRevision[]> {
    for (let last: EntryKey | undefined = from === 0 ? undefined : { oid: from - 1, tid: 0n }; ;) {
      const after = last
      const page = await this.#ask(scan => scan.entries(after, PAGE_ROWS))
      last = page.at(-1)
      if (last === undefined) return
      yield page
    }
  }

  async *changes(after: Tid, upTo: Tid): AsyncGenerator<readonly RevisionKey[]> {
    const { index } = this.#parts
    for (let last: RevisionKey = { oid: toOid(Number.MAX_SAFE_INTEGER), tid: after }; ;) {
      const from = last
      const page: readonly RevisionKey[] = await this.#ask(() => index.changes(from, upTo, PAGE_ROWS))
      const next = page.at(-1)
      if (next === undefined) return
      yield page
      last = next
    }
  }

  async found(
    keys: readonly RevisionKey[],
  ): Promise<readonly (FoundRevision | CorruptRecordError | undefined)[]> {
    try {
      return (await this.#find(keys)).map(row =>
        row === undefined || row instanceof CorruptRecordError
          ? row
          : { revision: revisionOf(row), start: startOf(row) },
      )
    } catch (error) {
      throw this.#parts.explain(error)
    }
  }

  exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]> {
    return this.#ask(scan => scan.exist(oids, at))
  }

  async records(
    revisions: readonly EntryKey[],
    limit: number = Number.POSITIVE_INFINITY,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]> {
    try {
      return await this.#records(revisions, limit)
    } catch (error) {
      throw this.#parts.explain(error)
    }
  }

  async #records(
    revisions: readonly EntryKey[],
    limit: number,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]> {
    const reads: RecordRead[] = []
    const found = (await this.#find(revisions)).map(row => {
      if (row === undefined || row instanceof CorruptRecordError) return row
      if (row.head === null) return undefined
      const bytes = newBytes(partLength(row, 0, limit))
      planRead(row, 0, bytes, reads)
      return { row, start: { size: recordSize(row), bytes } }
    })
    const damaged = await this.#read(reads)
    return found.map(row =>
      row === undefined || row instanceof CorruptRecordError ? row : (damaged.get(row.row) ?? row.start),
    )
  }

  /** Looks each row up separately, to find the damaged ones. */
  async #find(revisions: readonly EntryKey[]): Promise<readonly Found[]> {
    const { index } = this.#parts
    const keys = revisions.map(({ oid, tid }) => ({ oid: toOid(oid), tid: toTid(tid) }))
    try {
      return await index.find(keys)
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
    }
    const found: Found[] = []
    for (const key of keys) {
      try {
        found.push((await index.find([key]))[0])
      } catch (error) {
        if (!(error instanceof CorruptRecordError)) throw error
        found.push(error)
      }
    }
    return found
  }

  /** Reads bulk bytes; returns the errors of rows that cannot be read. */
  async #read(reads: readonly RecordRead[]): Promise<ReadonlyMap<RevisionRow, CorruptRecordError>> {
    const { bulk } = this.#parts
    try {
      if (reads.length > 0) await bulk.read(reads)
      return new Map()
    } catch (error) {
      if (!(error instanceof BulkDamageError)) throw error
      return await damagedRows(bulk, reads)
    }
  }

  space(): Promise<Space> {
    return this.#ask(() => spaceOf(this.#parts))
  }

  added(after: Tid, upTo: Tid): Promise<Added> {
    return this.#ask(scan => scan.added(after, upTo))
  }

  note(name: string): Promise<string | undefined> {
    return this.#ask(scan => scan.note(name))
  }

  usedSince(tid: bigint): Promise<readonly BulkRange[]> {
    return this.#ask(scan => scan.usedSince(tid))
  }

  transactions(after: bigint, before: bigint): Promise<readonly PackedTransaction[]> {
    return this.#ask(scan => scan.packedTransactions(after, before, PAGE_ROWS))
  }

  segments(): Awaitable<readonly BulkRange[]> {
    return this.#parts.bulk.segments()
  }

  isAllocated(range: BulkRange): Awaitable<boolean> {
    return this.#parts.bulk.isAllocated(range)
  }

  /** Converts errors into the store's. */
  async #ask<T>(ask: (scan: IndexScan) => Awaitable<T>): Promise<T> {
    try {
      return await ask(this.#parts.scan)
    } catch (error) {
      throw this.#parts.explain(error)
    }
  }
}

/** Size of a database in its storage. */
export async function spaceOf({ scan, bulk }: Pick<RevisionReaderParts, 'scan' | 'bulk'>): Promise<Space> {
  const { totalBytes, freeBytes } = await scan.space()
  const bulkBytes = await bulk.bytes()
  const framed = await bulk.framed?.()
  return {
    totalBytes: totalBytes + bulkBytes,
    bulkBytes,
    freeBytes,
    ...(framed !== undefined && framed.unitBytes > 0 && { framed }),
  }
}

function stateOf(row: ScannedRow): StoredState {
  const { oid, tid } = row
  return { oid, tid, start: row instanceof CorruptRecordError ? row : startOf(row) }
}

function startOf(row: RevisionRow): RecordStart | undefined {
  const { head, pos, tail } = row
  if (head === null) return undefined
  // What follows bulk bytes is not the beginning.
  const bytes = pos === null && tail !== null ? Buffer.concat([head, tail]) : head
  return { size: recordSize(row), bytes }
}

function revisionOf({ oid, tid, head, pos, len, tail }: RevisionRow): StoredRevision {
  const ownBytes = (head?.length ?? 0) + (tail?.length ?? 0)
  return { oid, tid, isTombstone: head === null, ownBytes, ...unitsOf(pos, len) }
}
