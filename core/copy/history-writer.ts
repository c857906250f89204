/** Writes a history that is copied into a database: each transaction under its tid, large ones in parts. */
import type { ObjectChange, RecordSlice } from '../../store/changes.ts'
import { tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import type { WritableStore } from '../../store/store.ts'
import { isNew, type CopiedRecord, type TransactionHead } from './history-items.ts'

/** The bytes of a part of a transaction. */
const PART_BYTES = 16 << 20
/** The records of a part: each takes memory beside its bytes. */
const PART_RECORDS = 16_384

export class HistoryWriter {
  readonly #target: WritableStore
  #head: TransactionHead | undefined
  #changes: ObjectChange[] = []
  /** The objects of {@link HistoryWriter.#changes}, which no slice can refer to before they are stored. */
  readonly #oids = new Set<Oid>()
  #bytes = 0

  constructor(target: WritableStore) {
    this.#target = target
  }

  begin(head: TransactionHead): void {
    this.#head = head
  }

  /** Resolves to the number of bytes that were new. @throws StoreError, ObjectNotFoundError if a slice is of a record that the target does not have. */
  async add({ oid, head, body, tail }: CopiedRecord): Promise<number> {
    const { tid } = this.#begun()
    if (this.#isPartFull() || (body !== undefined && !isNew(body) && this.#isUnstored(body, tid)))
      await this.#storePart(tid)
    const base = toTid(tid - 1n)
    if (head === null) {
      this.#push({ oid, base, record: null }, 0)
      return 0
    }
    const bytes = body !== undefined && isNew(body) ? await body.read() : body
    if (body !== undefined && bytes === undefined) return 0
    const length = head.length + tail.length + (body !== undefined && isNew(body) ? body.len : 0)
    this.#push({ oid, base, record: { head, tail, ...(bytes !== undefined && { body: bytes }) } }, length)
    return length
  }

  /** Completes the transaction. */
  async end(): Promise<void> {
    const { tid, user, description, extension } = this.#begun()
    await this.#target.commit({ changes: this.#changes, tid, user, description, extension })
    this.#stored()
    this.#head = undefined
  }

  /** Drops an incomplete transaction. */
  async abandon(): Promise<void> {
    if (this.#head === undefined) return
    this.#head = undefined
    this.#stored()
    await this.#target.capabilities.spilling?.drop()
  }

  #begun(): TransactionHead {
    if (this.#head === undefined) throw new TypeError('no transaction has begun')
    return this.#head
  }

  #isPartFull(): boolean {
    return this.#bytes >= PART_BYTES || this.#changes.length >= PART_RECORDS
  }

  #isUnstored(slice: RecordSlice, tid: Tid): boolean {
    return slice.tid === tid && this.#oids.has(slice.oid)
  }

  async #storePart(tid: Tid): Promise<void> {
    const { spilling } = this.#target.capabilities
    if (spilling === undefined || this.#changes.length === 0) return
    await spilling.spill(this.#changes, tid)
    this.#stored()
  }

  #push(change: ObjectChange, bytes: number): void {
    this.#changes.push(change)
    this.#oids.add(change.oid)
    this.#bytes += bytes
  }

  #stored(): void {
    this.#changes = []
    this.#oids.clear()
    this.#bytes = 0
  }
}
