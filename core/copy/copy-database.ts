/**
 * Copies a database with its history, to another kind of store too: every transaction with its tid, and what records share stays
 * shared. It goes on after the last transaction that the target has, and compares all records in the end.
 *
 * Which place of the source a copied record has is in a scratch database, so memory is bounded; large transactions are copied in parts.
 */
import type Database from 'better-sqlite3'
import type { RevisionPlace, StoredRecord } from '../../store/capabilities.ts'
import type { ObjectChange, RecordSource } from '../../store/changes.ts'
import { StoreError } from '../../store/errors.ts'
import {
  formatOid,
  formatTid,
  oid as toOid,
  tid as toTid,
  TID_NONE,
  type Oid,
  type Tid,
} from '../../store/ids.ts'
import { isSameMoments } from '../../store/kept-moments.ts'
import { openScratch } from '../../store/scratch.ts'
import { isSameState } from './same-state.ts'
import type { Store, TransactionInfo, WritableStore } from '../../store/store.ts'

const LAST_OID = toOid(Number.MAX_SAFE_INTEGER)
const PAGE_ROWS = 256
/** The bytes of a part of a transaction. */
const PART_BYTES = 16 << 20
/** Records that are compared together; a record may be as large as a block. */
const COMPARED = 8

export interface CopyOptions {
  readonly source: Store
  readonly target: WritableStore
  readonly onProgress: (phase: 'copy' | 'compare', bytes: number) => void
}

export interface CopyResult {
  readonly transactions: number
  readonly records: number
  readonly upTo: Tid
}

/** @throws StoreError if the source cannot be copied, was packed meanwhile, or is not what the target has. */
export async function copyDatabase({ source, target, onProgress }: CopyOptions): Promise<CopyResult> {
  const { copying, measuring, retaining } = source.capabilities
  if (copying === undefined) throw new StoreError(`${source.name} cannot be copied`)
  const reader = measuring?.reader()
  try {
    const upTo = await source.lastTid()
    const kept = await reader?.kept()
    const copier = new Copier(source, target, onProgress)
    const transactions = await copier.copy(upTo)
    const records = await copier.compare(upTo)
    const now = await reader?.kept()
    if (kept !== undefined && now !== undefined && !isSameMoments(kept, now))
      throw new StoreError(`${source.name} was packed while it was copied: copy it again`)
    if (kept !== undefined && kept.from !== TID_NONE) await target.capabilities.packing?.keep(kept)
    const retention = await retaining?.retention()
    if (retention !== undefined) await target.capabilities.retaining?.setRetention(retention)
    return { transactions, records, upTo }
  } finally {
    reader?.close()
  }
}

/** Where bytes of a place of the source are in the target. */
interface Copied {
  readonly oid: number
  readonly tid: bigint
  readonly off: number
  readonly lo: number
}

class Copier {
  readonly #source: Store
  readonly #target: WritableStore
  readonly #onProgress: CopyOptions['onProgress']
  readonly #db = openScratch(
    'CREATE TABLE place (lo INTEGER PRIMARY KEY, hi INTEGER NOT NULL, oid INTEGER NOT NULL, tid INTEGER NOT NULL, off INTEGER NOT NULL)',
  )
  readonly #enter: Database.Statement<[number, number, number, bigint, number]>
  readonly #find: Database.Statement<[number, number], [bigint, bigint, bigint, bigint]>
  #changes: ObjectChange[] = []
  #bytes = 0
  /** Places of {@link Copier.#changes}, which cannot be shared before they are stored. */
  #places: StoredRecord[] = []

  constructor(source: Store, target: WritableStore, onProgress: CopyOptions['onProgress']) {
    this.#source = source
    this.#target = target
    this.#onProgress = onProgress
    this.#enter = this.#db.prepare(
      'INSERT OR IGNORE INTO place (lo, hi, oid, tid, off) VALUES (?, ?, ?, ?, ?)',
    )
    this.#find = this.#db
      .prepare<[number, number], [bigint, bigint, bigint, bigint]>(
        `SELECT oid, tid, off, lo FROM (SELECT * FROM place WHERE lo <= ? ORDER BY lo DESC LIMIT 1) WHERE hi >= ?`,
      )
      .safeIntegers()
      .raw(true)
  }

  /** Resolves to the number of transactions that were copied now. */
  async copy(upTo: Tid): Promise<number> {
    const done = await this.#target.lastTid()
    if (done > upTo)
      throw new StoreError(
        `${this.#target.name} has a transaction ${formatTid(done)} that ${this.#source.name} does not have: name a new database`,
      )
    await this.#recall(done)
    let transactions = 0
    for await (const info of this.#source.transactions({ after: done, upTo })) {
      await this.#copyTransaction(info)
      transactions++
    }
    return transactions
  }

  /** Compares every record; resolves to their number. @throws StoreError */
  async compare(upTo: Tid): Promise<number> {
    let records = 0
    for (let after: RevisionPlace = { tid: TID_NONE, oid: LAST_OID }; ;) {
      const page = await this.#page(this.#source, after, upTo, PAGE_ROWS)
      const last = page.at(-1)
      if (last === undefined) break
      for (const [tid, rows] of Map.groupBy(page, row => row.tid))
        for (let i = 0; i < rows.length; i += COMPARED)
          await this.#compareAll(
            rows.slice(i, i + COMPARED).map(({ oid }) => oid),
            tid,
          )
      records += page.length
      after = last
    }
    this.#db.close()
    return records
  }

  async #compareAll(oids: readonly Oid[], tid: Tid): Promise<void> {
    const [wanted, found] = await Promise.all([this.#source.load(oids, tid), this.#target.load(oids, tid)])
    for (const [i, oid] of oids.entries()) {
      if (!isSameState(wanted[i], found[i]))
        throw new StoreError(
          `object ${formatOid(oid)} of transaction ${formatTid(tid)} is another one in ${this.#target.name}: name a new database`,
        )
      this.#onProgress('compare', wanted[i]?.record.length ?? 0)
    }
  }

  /** Enters the places of what an earlier run has copied. */
  async #recall(upTo: Tid): Promise<void> {
    if (upTo === TID_NONE) return
    for (let after: RevisionPlace = { tid: TID_NONE, oid: LAST_OID }; ;) {
      const page = await this.#page(this.#source, after, upTo, PAGE_ROWS)
      const last = page.at(-1)
      if (last === undefined) return
      for (const row of page) if (this.#shared(row) === undefined) this.#remember(row)
      after = last
    }
  }

  async #copyTransaction({ tid, user, description, extension }: TransactionInfo): Promise<void> {
    for (let after: RevisionPlace = { tid: toTid(tid - 1n), oid: LAST_OID }; ;) {
      const page = await this.#page(this.#source, after, tid, PAGE_ROWS)
      const last = page.at(-1)
      if (last === undefined) break
      for (const row of page) await this.#add(row)
      after = last
    }
    await this.#target.commit({ changes: this.#changes, tid, user, description, extension })
    this.#stored()
  }

  async #add(row: StoredRecord): Promise<void> {
    const { oid, tid } = row
    if (this.#bytes >= PART_BYTES || this.#isInPart(row)) await this.#spill(tid)
    const record = await this.#recordOf(row)
    this.#changes.push({ oid, base: toTid(tid - 1n), record })
  }

  async #recordOf(row: StoredRecord): Promise<RecordSource | null> {
    const { oid, tid, head, pos, len } = row
    if (head === null) return null
    const tail = row.tail ?? new Uint8Array()
    this.#onProgress('copy', head.length + len + tail.length)
    if (pos === null) return { head, tail }
    const shared = this.#shared(row)
    if (shared !== undefined)
      return {
        head,
        body: { oid: toOid(shared.oid), tid: toTid(shared.tid), off: shared.off + pos - shared.lo, len },
        tail,
      }
    const into = Buffer.allocUnsafeSlow(len)
    await this.#source.readSlices([{ oid, tid, off: head.length, into }])
    this.#bytes += len
    this.#places.push(row)
    return { head, body: [into], tail }
  }

  #shared({ pos, len }: StoredRecord): Copied | undefined {
    if (pos === null) return undefined
    const found = this.#find.get(pos, pos + len)
    if (found === undefined) return undefined
    const [oid, tid, off, lo] = found
    return { oid: Number(oid), tid, off: Number(off), lo: Number(lo) }
  }

  /** Whether bytes of a record are those of another one that is not stored yet. */
  #isInPart({ pos, len }: StoredRecord): boolean {
    return (
      pos !== null &&
      this.#target.capabilities.spilling !== undefined &&
      this.#places.some(place => place.pos !== null && place.pos <= pos && place.pos + place.len >= pos + len)
    )
  }

  async #spill(tid: Tid): Promise<void> {
    const { spilling } = this.#target.capabilities
    if (spilling === undefined || this.#changes.length === 0) return
    await spilling.spill(this.#changes, tid)
    this.#stored()
  }

  #stored(): void {
    for (const row of this.#places) this.#remember(row)
    this.#changes = []
    this.#places = []
    this.#bytes = 0
  }

  #remember({ oid, tid, head, pos, len }: StoredRecord): void {
    if (pos !== null && head !== null) this.#enter.run(pos, pos + len, oid, tid, head.length)
  }

  async #page(
    store: Store,
    after: RevisionPlace,
    upTo: Tid,
    limit: number,
  ): Promise<readonly StoredRecord[]> {
    return (await store.capabilities.copying?.revisions(after, upTo, limit)) ?? []
  }
}
