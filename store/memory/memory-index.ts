import { oid as toOid, TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type {
  Index,
  IndexTransaction,
  IndexWriter,
  RevisionKey,
  RevisionRow,
  TransactionRow,
} from '../indexed/record-index.ts'
import type { TransactionInfo } from '../store.ts'

interface Rows {
  /** Of each object, oldest first. */
  readonly revisions: ReadonlyMap<Oid, readonly RevisionRow[]>
  /** Oldest first, with the oids that each changed, ascending. */
  readonly transactions: readonly { readonly row: TransactionRow; readonly oids: readonly Oid[] }[]
}

/** An index in memory. */
export class MemoryIndex implements Index, IndexWriter {
  readonly #revisions: Map<Oid, RevisionRow[]>
  readonly #transactions: { readonly row: TransactionRow; readonly oids: readonly Oid[] }[]

  constructor({ revisions, transactions }: Rows = { revisions: new Map(), transactions: [] }) {
    this.#revisions = new Map([...revisions].map(([oid, rows]) => [oid, [...rows]]))
    this.#transactions = [...transactions]
  }

  /** Another index with the same rows; what is committed to one is not in the other. */
  copy(): MemoryIndex {
    return new MemoryIndex({ revisions: this.#revisions, transactions: this.#transactions })
  }

  newest(oids: readonly Oid[], at: Tid): readonly (RevisionRow | undefined)[] {
    return oids.map(oid => this.#revisions.get(oid)?.findLast(({ tid }) => tid <= at))
  }

  find(keys: readonly RevisionKey[]): readonly (RevisionRow | undefined)[] {
    return keys.map(key => this.#revisions.get(key.oid)?.findLast(({ tid }) => tid === key.tid))
  }

  revisions(oid: Oid, after: Tid, upTo: Tid): readonly Tid[] {
    const tids = (this.#revisions.get(oid) ?? []).map(({ tid }) => tid)
    return tids.filter(tid => tid > after && tid <= upTo).toReversed()
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

  newestTids(oids: readonly Oid[]): readonly Tid[] {
    return this.newest(oids, TID_MAX).map(row => row?.tid ?? TID_NONE)
  }

  begin(): IndexTransaction {
    const added: RevisionRow[] = []
    return {
      // The rows of the caller lie in memory that it may use again.
      add: row => void added.push({ ...row, head: copied(row.head), tail: copied(row.tail) }),
      commit: row => this.#commit(row, added),
      isInDoubt: false,
      rollback: () => undefined,
    }
  }

  #commit(row: TransactionRow, added: readonly RevisionRow[]): void {
    for (const revision of added) {
      const rows = this.#revisions.get(revision.oid)
      if (rows === undefined) this.#revisions.set(revision.oid, [revision])
      else rows.push(revision)
    }
    const oids = added.map(({ oid }) => oid).toSorted((a, b) => a - b)
    this.#transactions.push({ row: { ...row, extension: Uint8Array.from(row.extension) }, oids })
  }

  /** The objects that have a revision, ascending. */
  oids(): readonly Oid[] {
    return [...this.#revisions.keys()].toSorted((a, b) => a - b)
  }

  /** The rows of an object, newest first. */
  rowsOf(oid: Oid): readonly RevisionRow[] {
    return (this.#revisions.get(oid) ?? []).toReversed()
  }

  /** Every transaction, oldest first. */
  transactionRows(): readonly TransactionRow[] {
    return this.#transactions.map(({ row }) => row)
  }

  /** The bytes of all rows. */
  get bytes(): number {
    let bytes = 0
    for (const rows of this.#revisions.values())
      for (const { head, tail } of rows) bytes += (head?.length ?? 0) + (tail?.length ?? 0)
    return bytes
  }

  /** Removes a revision; returns whether there was one. */
  drop(oid: number, tid: bigint): boolean {
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
    const { head, len, tail } = dropped
    const bytes = row.bytes - (head?.length ?? 0) - len - (tail?.length ?? 0)
    this.#transactions[at] = {
      row: { ...row, objects: row.objects - 1, bytes },
      oids: oids.filter(other => other !== key),
    }
    return true
  }

  /** Removes a transaction. */
  forget(tid: bigint): void {
    const at = this.#transactions.findIndex(({ row }) => row.tid === tid)
    if (at >= 0) this.#transactions.splice(at, 1)
  }

  /** Replaces the newest row of an object, or removes it: damage, for a test. */
  damage(oid: Oid, change: (row: RevisionRow) => RevisionRow | undefined): void {
    const rows = this.#revisions.get(oid)
    const last = rows?.pop()
    const changed = last && change(last)
    if (changed !== undefined) rows?.push(changed)
  }
}

const copied = (bytes: Uint8Array | null): Uint8Array | null =>
  bytes === null ? null : Uint8Array.from(bytes)
