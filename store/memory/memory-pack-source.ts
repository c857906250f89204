import type { RecordStart, Space, StoredRevision } from '../capabilities.ts'
import { CorruptRecordError } from '../errors.ts'
import { oid as toOid, tid as toTid, type Oid, type Tid } from '../ids.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import type { BulkRange, PackedTransaction, PackEnd, PackSource } from '../indexed/pack/pack-source.ts'
import type { RevisionRow } from '../indexed/record-index.ts'
import type { KeptMoments } from '../kept-moments.ts'
import type { MemoryBulk } from './memory-bulk.ts'
import type { MemoryIndex } from './memory-index.ts'

/** A database in memory, as a pack reads it. */
export interface PackedMemory {
  readonly index: MemoryIndex
  readonly bulk: MemoryBulk
  kept: KeptMoments
}

/** What a pack reads of a database in memory. */
export class MemoryPackSource implements PackSource {
  readonly unitBytes = UNIT_BYTES
  readonly #database: PackedMemory

  constructor(database: PackedMemory) {
    this.#database = database
  }

  close(): void {}

  totals(): Promise<{ readonly lastTid: Tid; readonly nextOid: number }> {
    const { index } = this.#database
    return Promise.resolve({ lastTid: index.lastTid(), nextOid: index.last()?.nextOid ?? 0 })
  }

  kept(): Promise<KeptMoments> {
    return Promise.resolve(this.#database.kept)
  }

  async *oids(): AsyncGenerator<readonly Oid[]> {
    yield this.#database.index.oids()
  }

  async *revisions(oids: readonly number[], upTo: bigint): AsyncGenerator<readonly StoredRevision[]> {
    for (const oid of oids) {
      const rows = this.#database.index.rowsOf(toOid(oid)).filter(({ tid }) => tid <= upTo)
      if (rows.length > 0) yield rows.map(revisionOf)
    }
  }

  async *entries(): AsyncGenerator<readonly StoredRevision[]> {
    const { index } = this.#database
    for (const oid of index.oids()) yield index.rowsOf(oid).map(revisionOf)
  }

  exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]> {
    const rows = this.#database.index.newest(oids.map(toOid), at)
    return Promise.resolve(rows.map(row => row !== undefined && row.head !== null))
  }

  records(
    revisions: readonly { readonly oid: number; readonly tid: bigint }[],
    limit: number = Number.POSITIVE_INFINITY,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]> {
    const rows = this.#database.index.find(
      revisions.map(({ oid, tid }) => ({ oid: toOid(oid), tid: toTid(tid) })),
    )
    return Promise.resolve(rows.map(row => (row === undefined ? undefined : this.#record(row, limit))))
  }

  end(): PackEnd {
    const last = this.#database.index.last()
    return { lastTid: last?.tid ?? 0n, bulkEnd: last?.bulkEnd ?? 0 }
  }

  space(): Space {
    return { totalBytes: this.#database.index.bytes + this.#database.bulk.bytes, freeBytes: 0 }
  }

  usedSince(tid: bigint): readonly BulkRange[] {
    const { index } = this.#database
    const ranges: BulkRange[] = []
    for (const oid of index.oids())
      for (const row of index.rowsOf(oid))
        if (row.tid > tid && row.pos !== null) ranges.push([row.pos, row.pos + row.len])
    return ranges
  }

  transactions(after: bigint, before: bigint): readonly PackedTransaction[] {
    return this.#database.index
      .transactionRows()
      .filter(({ tid }) => tid > after && tid < before)
      .map(({ tid, objects }) => ({ tid, isUsed: objects > 0 }))
  }

  segments(): readonly BulkRange[] {
    return [[0, this.#database.bulk.end]]
  }

  takesRoom([lo, hi]: BulkRange): boolean {
    return this.#database.bulk.takesRoom(lo, hi)
  }

  #record(row: RevisionRow, limit: number): RecordStart | CorruptRecordError | undefined {
    const { oid, tid, head, pos, len, tail } = row
    if (head === null) return undefined
    const body = new Uint8Array(len)
    try {
      if (pos !== null) this.#database.bulk.read([{ pos, into: body }])
    } catch {
      return new CorruptRecordError(oid, tid, 'its bytes are not there')
    }
    const whole = Buffer.concat([head, body, tail ?? new Uint8Array()])
    return { size: whole.length, bytes: whole.subarray(0, Math.min(limit, whole.length)) }
  }
}

const revisionOf = ({ oid, tid, head, pos, len, tail }: RevisionRow): StoredRevision => ({
  oid,
  tid,
  isTombstone: head === null,
  ownBytes: (head?.length ?? 0) + (tail?.length ?? 0),
  unitLo: Math.floor((pos ?? 0) / UNIT_BYTES),
  unitHi: pos === null ? 0 : Math.ceil((pos + len) / UNIT_BYTES),
})
