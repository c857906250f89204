/** One FileStorage file (one inode), open and indexed: reads the transactions indexed so far. */
import { textOf } from '../os-text.ts'
import { closeSync, constants, fstatSync, type BigIntStats } from 'node:fs'
import { openSync, realpathSync } from '../os-files.ts'
import { CannotOpenError, StoreError } from '../errors.ts'
import { oid, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type { ChangeSet, Revision, RevisionPart, TransactionInfo } from '../store.ts'
import { followBackPointer } from './back-pointer.ts'
import { extendIndex, type Progress } from './extend-index.ts'
import {
  decodeTransactionHeader,
  preambleLength,
  TRANSACTION_HEADER_LENGTH,
  type TransactionHeader,
} from './format.ts'
import { WholeRecords } from '../whole-records.ts'
import { openIndex, standsIn } from './index-cache.ts'
import { readPartAt, readRecordsAt, type Located } from './record-reader.ts'
import type { FoundRecord, PositionIndex, TransactionRow } from './position-index.ts'
import { checkMagic, readRecords, type Tail } from './scan.ts'
import { readFully, Window } from './window.ts'

/** Maximum number of oids in a ChangeSet. */
const MAX_CHANGE_OIDS = 4096

export interface IndexedFileOptions {
  readonly cacheDirectory: string
  readonly warn: (message: string) => void
  readonly progress?: Progress | undefined
}

export class IndexedFile {
  readonly #path: string
  readonly #fd: number
  readonly #window: Window
  readonly #index: PositionIndex
  readonly #options: IndexedFileOptions
  readonly #identity: BigIntStats
  readonly #inflated = new WholeRecords()
  #scanned: BigIntStats | undefined
  #tail: Tail | undefined
  #users = 1

  /** Opens the file and its cached index, if there is one, without indexing. @throws CannotOpenError */
  constructor(path: string, options: IndexedFileOptions) {
    this.#path = path
    this.#options = options
    // Opening a FIFO would wait for a writer.
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      if (!fstatSync(this.#fd).isFile()) throw new CannotOpenError(`${path} is not a regular file`)
      this.#window = new Window(this.#fd)
      this.#identity = fstatSync(this.#fd, { bigint: true })
      const file = this.#file(this.#identity)
      checkMagic(file)
      this.#index = openIndex(file, realpathSync(path), this.#identity, options.cacheDirectory, options.warn)
    } catch (error) {
      closeSync(this.#fd)
      throw error
    }
  }

  get lastTid(): Tid {
    return this.#index.last.tid
  }

  /** Whether `stats` belongs to this file and the file still has the last indexed transaction. */
  is(stats: BigIntStats): boolean {
    const { ino, dev, birthtimeNs } = this.#identity
    if (stats.ino !== ino || stats.dev !== dev || stats.birthtimeNs !== birthtimeNs) return false
    if (this.#index.last.seq === 0) return true
    this.#window.reset()
    return stats.size >= BigInt(this.#index.end) && standsIn(this.#file(stats), this.#index.last)
  }

  /** Whether `stats` shows that the file has not changed since it was indexed. */
  isCurrent(stats: BigIntStats): boolean {
    // A single byte completes a transaction, possibly within one tick of mtime: a tail is always read again.
    return (
      this.#tail === undefined &&
      this.#scanned !== undefined &&
      this.#scanned.ino === stats.ino &&
      this.#scanned.dev === stats.dev &&
      this.#scanned.size === stats.size &&
      this.#scanned.mtimeNs === stats.mtimeNs
    )
  }

  /** Indexes new transactions. @throws CannotOpenError if they are damaged. */
  async extend(): Promise<void> {
    const stats = fstatSync(this.#fd, { bigint: true })
    this.#window.reset()
    const tail = await extendIndex(this.#file(stats), this.#index, this.#options.progress)
    // After the first scan, a tail is usually a transaction that is being written.
    if (tail !== undefined && this.#scanned === undefined)
      this.#options.warn(
        `${this.#path}: ${tail.reason} at byte ${tail.pos}: the last ${tail.bytes} bytes are not read`,
      )
    this.#scanned = stats
    this.#tail = tail
  }

  /** As {@link Store.load}. */
  async load(oids: readonly Oid[], at: Tid): Promise<(Revision | undefined)[]> {
    const revisions: (Revision | undefined)[] = oids.map(() => undefined)
    const seq = this.#index.seqUpTo(at)
    const found = this.#index.find(
      [...oids].sort((a, b) => a - b),
      seq,
    )
    const located = oids.flatMap((oid, slot) => this.#locate(oid, found.get(oid), slot) ?? [])
    for await (const records of readRecordsAt(this.#fd, this.#path, located))
      for (const { place, record } of records) revisions[place.slot] = { tid: place.tid, record }
    return revisions
  }

  async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    const place = this.#locate(oid, this.#index.find([oid], this.#index.seqUpTo(at)).get(oid), 0)
    if (place === undefined) return undefined
    const bytes = await readPartAt(this.#fd, this.#path, place, { off, len, into })
    return bytes === undefined
      ? this.#inflated.part({ oid, tid: place.tid }, { off, len, into }, () => this.#readWhole(place))
      : { tid: place.tid, size: place.length, bytes }
  }

  async #readWhole(place: Located): Promise<Uint8Array> {
    for await (const [found] of readRecordsAt(this.#fd, this.#path, [place]))
      if (found !== undefined) return found.record
    throw this.#changed()
  }

  /** The last transaction that a pack has marked, along with all earlier ones; TID_NONE if there is none. */
  packedUpTo(): Tid {
    let [lo, hi] = [0, this.#index.last.seq]
    while (lo < hi) {
      const seq = Math.ceil((lo + hi) / 2)
      if (this.#headerOf(this.#row(seq)).status === 'p') lo = seq
      else hi = seq - 1
    }
    return lo === 0 ? TID_NONE : this.#index.tidOf(lo)
  }

  revisions(oid: Oid, after: Tid, upTo: Tid): readonly Tid[] {
    const seqs = this.#index.revisions(oid, this.#index.seqUpTo(after), this.#index.seqUpTo(upTo))
    return seqs.map(seq => this.#index.tidOf(seq))
  }

  /** A page of the transactions `(after, upTo]`. */
  transactions(after: Tid, upTo: Tid, reverse: boolean, limit: number): TransactionInfo[] {
    const rows = this.#index.transactions(
      this.#index.seqUpTo(after),
      this.#index.seqUpTo(upTo),
      reverse,
      limit,
    )
    return rows.map(row => this.#transactionInfo(row))
  }

  /** As {@link Store.changes}. */
  *changes(after: Tid, upTo: Tid): Generator<ChangeSet, void, undefined> {
    const end = this.#index.seqUpTo(upTo)
    const window = new Window(this.#fd)
    const file = { path: this.#path, fd: this.#fd, window, size: this.#index.end }
    for (let seq = this.#index.seqUpTo(after); seq < end; seq++) {
      const row = this.#row(seq + 1)
      const head = window.peek(row.pos, TRANSACTION_HEADER_LENGTH)
      if (head === undefined) throw this.#changed()
      let oids: Oid[] = []
      for (const record of readRecords(file, decodeTransactionHeader(head, 0, row.pos))) {
        oids.push(oid(record.oid))
        if (oids.length < MAX_CHANGE_OIDS) continue
        yield { tid: row.tid, oids }
        oids = []
      }
      if (oids.length > 0) yield { tid: row.tid, oids }
    }
  }

  /** Adds a reference to the file, to be given up with {@link release}. */
  acquire(): this {
    this.#users++
    return this
  }

  /** Drops a reference; the last one closes the file. */
  release(): void {
    if (--this.#users > 0) return
    this.#index.close()
    closeSync(this.#fd)
  }

  #file(stats: BigIntStats) {
    return { path: this.#path, fd: this.#fd, window: this.#window, size: Number(stats.size) }
  }

  #locate(oid: Oid, found: FoundRecord | undefined, slot: number): Located | undefined {
    if (found === undefined) return undefined
    const tid = this.#index.tidOf(found.seq)
    if (found.length > 0) return { slot, oid, tid, pos: found.pos, length: found.length, indirect: false }
    const target = followBackPointer(this.#fd, oid, tid, found.pos)
    return target && { slot, oid, tid, ...target, indirect: true }
  }

  #row(seq: number): TransactionRow {
    const [row] = this.#index.transactions(seq - 1, seq, false, 1)
    if (row === undefined) throw new StoreError(`the index of ${this.#path} has no transaction ${seq}`)
    return row
  }

  #headerOf(row: TransactionRow): TransactionHeader {
    const head = Buffer.allocUnsafe(TRANSACTION_HEADER_LENGTH)
    if (readFully(this.#fd, head, row.pos) < head.length) throw this.#changed()
    const header = decodeTransactionHeader(head, 0, row.pos)
    if (header.tid !== row.tid || header.length !== row.length) throw this.#changed()
    return header
  }

  #transactionInfo(row: TransactionRow): TransactionInfo {
    const header = this.#headerOf(row)
    const texts = Buffer.allocUnsafe(preambleLength(header) - TRANSACTION_HEADER_LENGTH)
    if (readFully(this.#fd, texts, row.pos + TRANSACTION_HEADER_LENGTH) < texts.length) throw this.#changed()
    const descriptionEnd = header.userLength + header.descriptionLength
    return {
      tid: row.tid,
      user: textOf(texts.subarray(0, header.userLength)),
      description: textOf(texts.subarray(header.userLength, descriptionEnd)),
      extension: texts.subarray(descriptionEnd),
      objects: row.objects,
      bytes: row.bytes,
    }
  }

  #changed(): StoreError {
    return new StoreError(`${this.#path} has changed since it was indexed: it may have been overwritten`)
  }
}
