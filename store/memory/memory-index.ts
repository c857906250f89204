import type { Added, RevisionSums, Sums } from '../capabilities.ts'
import type { StoredRevision } from '../stored-revisions.ts'
import { ConflictError, CorruptRecordError } from '../errors.ts'
import { oid as toOid, TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type { BulkRange } from '../indexed/bulk.ts'
import { unitsOf } from '../indexed/frame.ts'
import type {
  CheckedIndex,
  CheckedRevision,
  CheckedTransaction,
  EntryKey,
  IndexEnd,
  IndexPacker,
  IndexSpace,
  PackedTransaction,
  ScannedRow,
} from '../indexed/index-scan.ts'
import type {
  Index,
  IndexTransaction,
  IndexWriter,
  RevisionKey,
  RevisionRow,
  TransactionRow,
} from '../indexed/record-index.ts'
import { recordSize, rowOrDamage } from '../indexed/record-parts.ts'
import { ROW_DIFFERS, rowSum } from '../indexed/row-sums.ts'
import type { TransactionInfo } from '../store.ts'

/** A row with its checksum. */
interface StoredRow extends RevisionRow {
  readonly sum: number
}

interface Rows {
  /** Each object's rows, oldest first. */
  readonly revisions: ReadonlyMap<Oid, readonly StoredRow[]>
  /** Oldest first, with the oids that each changed, ascending. */
  readonly transactions: readonly { readonly row: TransactionRow; readonly oids: readonly Oid[] }[]
  readonly notes: ReadonlyMap<string, string>
  /** The transaction of rows that no transaction has completed. */
  readonly unfinished?: Tid | undefined
}

const NO_ROWS: Rows = { revisions: new Map(), transactions: [], notes: new Map() }

/** An index in memory. */
export class MemoryIndex implements Index, IndexWriter, IndexPacker, CheckedIndex {
  readonly extraRowBytes = 0
  readonly #revisions: Map<Oid, StoredRow[]>
  readonly #transactions: { readonly row: TransactionRow; readonly oids: readonly Oid[] }[]
  readonly #notes: Map<string, string>
  #unfinished: Tid | undefined

  constructor({ revisions, transactions, notes, unfinished }: Rows = NO_ROWS) {
    this.#unfinished = unfinished
    this.#revisions = new Map([...revisions].map(([oid, rows]) => [oid, [...rows]]))
    this.#transactions = [...transactions]
    this.#notes = new Map(notes)
  }

  /** An independent copy. */
  copy(): MemoryIndex {
    return new MemoryIndex({
      revisions: this.#revisions,
      transactions: this.#transactions,
      notes: this.#notes,
      unfinished: this.#unfinished,
    })
  }

  newest(oids: readonly Oid[], at: Tid): readonly (RevisionRow | undefined)[] {
    return oids.map(oid => verified(this.#revisions.get(oid)?.findLast(({ tid }) => tid <= at)))
  }

  find(keys: readonly RevisionKey[]): readonly (RevisionRow | undefined)[] {
    return keys.map(key => verified(this.#revisions.get(key.oid)?.findLast(({ tid }) => tid === key.tid)))
  }

  revisions(oid: Oid, after: Tid, upTo: Tid): readonly Tid[] {
    const tids = (this.#revisions.get(oid) ?? []).map(({ tid }) => tid)
    return tids.filter(tid => tid > after && tid <= upTo && tid !== this.#unfinished).toReversed()
  }

  lastTid(): Tid {
    return this.#transactions.at(-1)?.row.tid ?? TID_NONE
  }

  transactions(after: Tid, upTo: Tid, reverse: boolean, limit: number): readonly TransactionInfo[] {
    const found = this.#transactions.filter(({ row }) => row.tid > after && row.tid <= upTo)
    const infos = found.map(({ row: { tid, user, description, extension, objects, bytes } }) => ({
      tid,
      user,
      description,
      extension,
      objects,
      bytes,
    }))
    return (reverse ? infos.toReversed() : infos).slice(0, limit)
  }

  changes(after: RevisionKey, upTo: Tid, limit: number): readonly RevisionKey[] {
    const keys: RevisionKey[] = []
    for (const { row, oids } of this.#transactions) {
      if (row.tid < after.tid || row.tid > upTo) continue
      for (const oid of oids) if (row.tid > after.tid || oid > after.oid) keys.push({ tid: row.tid, oid })
      if (keys.length >= limit) break
    }
    return keys.slice(0, limit)
  }

  last(): TransactionRow | undefined {
    return this.#transactions.at(-1)?.row
  }

  begin(): IndexTransaction {
    const added: StoredRow[] = []
    return {
      expect: bases => {
        for (const { oid, base } of bases) {
          const current = this.#revisions.get(oid)?.at(-1)?.tid ?? TID_NONE
          if (current > base) throw new ConflictError(oid, base, current)
        }
      },
      // The caller may reuse the memory of its rows.
      add: row => void added.push(summed({ ...row, head: copied(row.head), tail: copied(row.tail) })),
      // What is added takes their place.
      removeParts: (oids, tid) =>
        this.find(oids.map(oid => ({ oid, tid }))).map(before => before && recordSize(before)),
      keep: tid => {
        this.#unfinished = tid
        this.#put(added)
      },
      commit: row => this.#commit(row, added),
      isInDoubt: false,
      rollback: () => undefined,
    }
  }

  #commit(row: TransactionRow, added: readonly StoredRow[]): void {
    this.#put(added)
    const parts =
      this.#unfinished === undefined ? [] : [...this.#revisions.values()].map(rows => rows.slice(-1)).flat()
    const changed = [...parts.filter(({ tid }) => tid === row.tid), ...added].map(({ oid }) => oid)
    const oids = [...new Set(changed)].toSorted((a, b) => a - b)
    this.#unfinished = undefined
    this.#transactions.push({ row: { ...row, extension: Uint8Array.from(row.extension) }, oids })
  }

  #put(added: readonly StoredRow[]): void {
    for (const revision of added) {
      const rows = this.#revisions.get(revision.oid)
      if (rows === undefined) this.#revisions.set(revision.oid, [revision])
      else if (rows.at(-1)?.tid === revision.tid) rows.splice(-1, 1, revision)
      else rows.push(revision)
    }
  }

  dropParts(): void {
    const tid = this.#unfinished
    this.#unfinished = undefined
    if (tid === undefined) return
    for (const [oid, rows] of this.#revisions) {
      if (rows.at(-1)?.tid === tid) rows.pop()
      if (rows.length === 0) this.#revisions.delete(oid)
    }
  }

  end(): IndexEnd {
    const { tid, nextOid, bulkEnd } = this.last() ?? { tid: TID_NONE, nextOid: 0, bulkEnd: 0 }
    return { lastTid: tid, nextOid, bulkEnd }
  }

  bulkEndAt(upTo: Tid): number {
    return this.#transactions.findLast(({ row }) => row.tid <= upTo)?.row.bulkEnd ?? 0
  }

  note(name: string): string | undefined {
    return this.#notes.get(name)
  }

  setNote(name: string, value: string): void {
    this.#notes.set(name, value)
  }

  oids(after: number, limit: number): readonly Oid[] {
    const oids = [...this.#revisions.keys()].filter(oid => oid > after)
    return oids.toSorted((a, b) => a - b).slice(0, limit)
  }

  revisionsOf(oids: readonly number[], upTo: bigint, limit: number): readonly StoredRevision[] {
    return oids
      .flatMap(oid => this.#rowsOf(oid).filter(({ tid }) => tid <= upTo))
      .slice(0, limit)
      .map(storedRevision)
  }

  entries(after: EntryKey | undefined, limit: number): readonly StoredRevision[] {
    const rest = after === undefined ? [] : this.revisionsOf([after.oid], after.tid - 1n, limit)
    const following = this.oids(after?.oid ?? -1, limit - rest.length)
    return [...rest, ...this.revisionsOf(following, TID_MAX, limit - rest.length)]
  }

  rows(after: EntryKey, end: number, upTo: bigint, limit: number): readonly ScannedRow[] {
    return [...this.#revisions.values()]
      .flat()
      .filter(
        ({ oid, tid }) =>
          oid < end && tid <= upTo && (oid > after.oid || (oid === after.oid && tid < after.tid)),
      )
      .toSorted((a, b) => a.oid - b.oid || Number(b.tid - a.tid))
      .slice(0, limit)
      .map(row => rowOrDamage(() => verified(row) ?? row))
  }

  exist(oids: readonly number[], at: Tid): readonly boolean[] {
    const rows = this.newest(oids.map(toOid), at)
    return rows.map(row => row !== undefined && row.head !== null)
  }

  usedSince(after: bigint): readonly BulkRange[] {
    const ranges: BulkRange[] = []
    for (const rows of this.#revisions.values())
      for (const { tid, pos, len } of rows) if (tid > after && pos !== null) ranges.push([pos, pos + len])
    return ranges
  }

  packedTransactions(after: bigint, before: bigint, limit: number): readonly PackedTransaction[] {
    const found = this.#transactions.filter(({ row }) => row.tid > after && row.tid < before)
    return found.slice(0, limit).map(({ row: { tid, objects } }) => ({ tid, isUsed: objects > 0 }))
  }

  added(after: Tid, upTo: Tid): Added {
    const added = { storedBytes: 0, revisions: 0, replacedBytes: 0 }
    for (const { row } of this.#transactions) {
      if (row.tid <= after || row.tid > upTo) continue
      added.storedBytes += row.stored
      added.revisions += row.objects
    }
    for (const rows of this.#revisions.values())
      for (const [at, { tid }] of rows.entries()) {
        const replaced = rows[at - 1]
        if (replaced !== undefined && tid > after && tid <= upTo) added.replacedBytes += recordSize(replaced)
      }
    return added
  }

  sums(): Sums {
    const rows = [...this.#revisions.values()].map(all => all.filter(({ tid }) => tid !== this.#unfinished))
    return {
      objects: rows.filter(({ length }) => length > 0).length,
      all: sumOf(rows.flat()),
      past: sumOf(rows.flatMap(all => all.slice(0, -1))),
    }
  }

  space(): IndexSpace {
    let totalBytes = 0
    for (const rows of this.#revisions.values())
      for (const { head, tail } of rows) totalBytes += (head?.length ?? 0) + (tail?.length ?? 0)
    return { totalBytes, freeBytes: 0 }
  }

  drop(oids: Float64Array, tids: BigInt64Array): number {
    let rows = 0
    for (const [at, oid] of oids.entries()) if (this.#drop(oid, tids[at] ?? 0n)) rows++
    return rows
  }

  /** Removes a revision; returns whether there was one. */
  #drop(oid: number, tid: bigint): boolean {
    const key = toOid(oid)
    const rows = this.#revisions.get(key) ?? []
    const dropped = rows.find(row => row.tid === tid)
    if (dropped === undefined) return false
    const left = rows.filter(row => row !== dropped)
    if (left.length > 0) this.#revisions.set(key, left)
    else this.#revisions.delete(key)
    const at = this.#transactions.findIndex(({ row }) => row.tid === tid)
    const transaction = this.#transactions[at]
    if (transaction === undefined) return true
    const { row, oids } = transaction
    this.#transactions[at] = {
      row: { ...row, objects: row.objects - 1, bytes: row.bytes - recordSize(dropped) },
      oids: oids.filter(other => other !== key),
    }
    return true
  }

  forget(tids: BigInt64Array): void {
    for (const tid of tids) {
      const at = this.#transactions.findIndex(({ row }) => row.tid === tid)
      if (at >= 0) this.#transactions.splice(at, 1)
    }
  }

  bulkEnd(): number {
    return this.end().bulkEnd
  }

  makeDurable(): void {}

  releasePages(): void {}

  finish(): void {}

  /** The rows of an object, newest first. */
  #rowsOf(oid: number): readonly StoredRow[] {
    return (this.#revisions.get(toOid(oid)) ?? []).toReversed()
  }

  /** Replaces or removes the newest row of an object: damage, for tests. */
  damage(oid: Oid, change: (row: RevisionRow) => RevisionRow | undefined): void {
    const rows = this.#revisions.get(oid)
    const last = rows?.pop()
    const changed = last && change(last)
    if (changed !== undefined) rows?.push(summed(changed))
  }

  /** Changes the newest row of an object without its checksum: a fault of the medium, for a test. */
  rot(oid: Oid): void {
    const rows = this.#revisions.get(oid)
    const last = rows?.pop()
    if (last !== undefined) rows?.push({ ...last, sum: last.sum ^ 1 })
  }

  checkedRevisions(after: EntryKey, upTo: bigint, limit: number): readonly CheckedRevision[] {
    const isBehind = ({ oid, tid }: EntryKey): boolean =>
      tid <= upTo && (tid > after.tid || (tid === after.tid && oid > after.oid))
    const rows = [...this.#revisions.values()].flat().filter(isBehind)
    const order = (a: EntryKey, b: EntryKey): number => Number(a.tid - b.tid) || a.oid - b.oid
    return rows.toSorted(order).slice(0, limit).map(checkedRevision)
  }

  checkedTransactions(after: bigint, upTo: bigint, limit: number): readonly CheckedTransaction[] {
    const found = this.#transactions.filter(({ row }) => row.tid > after && row.tid <= upTo)
    return found
      .slice(0, limit)
      .map(({ row: { tid, objects, bytes } }) => ({ tid, objects, bytes, isIntact: true }))
  }

  /** Removes rows that are not what was written, and makes the sums of transactions those of the rest. */
  mend(): void {
    for (const [oid, rows] of this.#revisions) {
      const intact = rows.filter(isIntact)
      if (intact.length > 0) this.#revisions.set(oid, intact)
      else this.#revisions.delete(oid)
    }
    for (const [at, { row }] of this.#transactions.entries()) {
      const left = [...this.#revisions.values()].flat().filter(({ tid }) => tid === row.tid)
      const bytes = left.reduce((sum, row) => sum + recordSize(row), 0)
      const oids = left.map(({ oid }) => oid).toSorted((a, b) => a - b)
      this.#transactions[at] = { row: { ...row, objects: left.length, bytes }, oids }
    }
  }
}

const copied = (bytes: Uint8Array | null): Uint8Array | null =>
  bytes === null ? null : Uint8Array.from(bytes)

const storedRevision = ({ oid, tid, head, pos, len, tail }: RevisionRow): StoredRevision => ({
  oid,
  tid,
  isTombstone: head === null,
  ownBytes: (head?.length ?? 0) + (tail?.length ?? 0),
  ...unitsOf(pos, len),
})

const summed = (row: RevisionRow): StoredRow => {
  const { oid, tid, head, pos, len, tail } = row
  return { ...row, sum: rowSum(oid, tid, head, pos, len, tail) }
}

const isIntact = (row: StoredRow): boolean => summed(row).sum === row.sum

/** @throws CorruptRecordError */
function verified(row: StoredRow | undefined): StoredRow | undefined {
  if (row === undefined || isIntact(row)) return row
  throw new CorruptRecordError(row.oid, row.tid, ROW_DIFFERS)
}

const checkedRevision = (row: StoredRow): CheckedRevision => ({
  oid: row.oid,
  tid: row.tid,
  isIntact: isIntact(row),
  headBytes: row.head?.length ?? 0,
  pos: row.pos,
  len: row.len,
  tailBytes: row.tail?.length ?? 0,
})

const sumOf = (rows: readonly RevisionRow[]): RevisionSums => ({
  revisions: rows.length,
  rowBytes: rows.reduce((sum, row) => sum + recordSize(row) - row.len, 0),
  bulkBytes: rows.reduce((sum, { len }) => sum + len, 0),
})
