/**
 * One FileStorage file (one inode), open and indexed: what stands where, and reading it.
 *
 * Records that lie near one another are read together. Every record read is compared with what the index says of
 * it, so that a file changed behind our back is an error and never wrong bytes.
 */
import {
  closeSync,
  fstatSync,
  openSync,
  read as readCallback,
  realpathSync,
  statSync,
  type BigIntStats,
} from 'node:fs'
import { promisify } from 'node:util'
import { CannotOpenError, CorruptRecordError, StoreError } from '../errors.ts'
import { oid, type Oid, type Tid } from '../ids.ts'
import type { ChangeSet, Revision, RevisionPart, TransactionInfo } from '../store.ts'
import { followBackPointer } from './back-pointer.ts'
import { extendIndex, type Progress } from './extend-index.ts'
import {
  decodeRecordHeader,
  decodeTransactionHeader,
  preambleLength,
  RECORD_HEADER_LENGTH,
  TRANSACTION_HEADER_LENGTH,
} from './format.ts'
import { openIndex, standsIn } from './index-cache.ts'
import type { FoundRecord, PositionIndex, TransactionRow } from './position-index.ts'
import { checkMagic, readRecords, type Tail } from './scan.ts'
import { readFully, Window } from './window.ts'

const read = promisify(readCallback)

/** Records are read together when no more than this lies between them... */
const MAX_GAP_BYTES = 16 * 1024
/** ...and together they are not longer than this (a single one may be). */
const MAX_RUN_BYTES = 2 * 1024 * 1024
/** How many such runs are read at once. */
const PARALLEL_READS = 4
/** What one read(2) may be asked for. */
const MAX_READ_BYTES = 2 ** 30
/** How many oids a piece of a ChangeSet has. */
const MAX_CHANGE_OIDS = 4096

/** Where an object's data is: `pos` is the position of the header of the record that has it. */
interface Located {
  /** The asker's number for it. */
  readonly slot: number
  readonly oid: Oid
  /** Of the object's record; an earlier one may have the data. */
  readonly tid: Tid
  readonly pos: number
  readonly length: number
  /** The data is an earlier record's, found through back pointers. */
  readonly indirect: boolean
}

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
  #scanned: BigIntStats | undefined
  #tail: Tail | undefined
  #users = 1

  /** Opens the file; nothing is indexed but what a cached index knows. @throws CannotOpenError */
  constructor(path: string, options: IndexedFileOptions) {
    this.#path = path
    this.#options = options
    // Opening a FIFO would wait for a writer.
    if (!statSync(path).isFile()) throw new CannotOpenError(`${path} is not a regular file`)
    this.#fd = openSync(path, 'r')
    try {
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

  /** Whether `stats` is about this file, and what was indexed last still stands in it. */
  is(stats: BigIntStats): boolean {
    const { ino, dev, birthtimeNs } = this.#identity
    if (stats.ino !== ino || stats.dev !== dev || stats.birthtimeNs !== birthtimeNs) return false
    if (this.#index.last.seq === 0) return true
    this.#window.reset()
    return stats.size >= BigInt(this.#index.end) && standsIn(this.#file(stats), this.#index.last)
  }

  /** Whether `stats` shows that nothing is new. */
  isCurrent(stats: BigIntStats): boolean {
    // A transaction under way is finished by one byte, perhaps within one tick of mtime: a tail is looked at again.
    return (
      this.#tail === undefined &&
      this.#scanned !== undefined &&
      this.#scanned.ino === stats.ino &&
      this.#scanned.dev === stats.dev &&
      this.#scanned.size === stats.size &&
      this.#scanned.mtimeNs === stats.mtimeNs
    )
  }

  /** Indexes what is new. @throws CannotOpenError where it is damaged. */
  async extend(): Promise<void> {
    const stats = fstatSync(this.#fd, { bigint: true })
    this.#window.reset()
    const tail = await extendIndex(this.#file(stats), this.#index, this.#options.progress)
    // Later on a tail is mostly a transaction that is being written just now.
    if (tail !== undefined && this.#scanned === undefined)
      this.#options.warn(
        `${this.#path}: ${tail.reason} at byte ${tail.pos}: the last ${tail.bytes} bytes are not read`,
      )
    this.#scanned = stats
    this.#tail = tail
  }

  /** What each oid was at `at`, as {@link Store.load} says. */
  async load(oids: readonly Oid[], at: Tid): Promise<(Revision | undefined)[]> {
    const revisions: (Revision | undefined)[] = oids.map(() => undefined)
    const seq = this.#index.seqUpTo(at)
    const found = this.#index.find(
      [...oids].sort((a, b) => a - b),
      seq,
    )
    const located = oids.flatMap((oid, slot) => this.#locate(oid, found.get(oid), slot) ?? [])
    located.sort((a, b) => a.pos - b.pos)
    for (let first = 0; first < located.length;) {
      const runs: (readonly Located[])[] = []
      for (; runs.length < PARALLEL_READS && first < located.length; first += runs.at(-1)?.length ?? 0)
        runs.push(runOf(located, first))
      for (const records of await Promise.all(runs.map(async run => this.#readRun(run))))
        for (const [place, record] of records) revisions[place.slot] = { tid: place.tid, record }
    }
    return revisions
  }

  async loadPart(oid: Oid, at: Tid, off: number, len: number): Promise<RevisionPart | undefined> {
    const place = this.#locate(oid, this.#index.find([oid], this.#index.seqUpTo(at)).get(oid), 0)
    if (place === undefined) return undefined
    const header = Buffer.allocUnsafe(RECORD_HEADER_LENGTH)
    readFully(this.#fd, header, place.pos)
    checkHeader(place, header, 0)
    const from = Math.min(off, place.length)
    const bytes = await this.#read(
      place.pos + RECORD_HEADER_LENGTH + from,
      Math.min(len, place.length - from),
      place,
    )
    return { tid: place.tid, size: place.length, bytes }
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

  /** What the transactions `(after, upTo]` changed. */
  *changes(after: Tid, upTo: Tid): Generator<ChangeSet, void, undefined> {
    const end = this.#index.seqUpTo(upTo)
    const window = new Window(this.#fd)
    const file = { path: this.#path, fd: this.#fd, window, size: this.#index.end }
    for (let seq = this.#index.seqUpTo(after); seq < end; seq++) {
      const [row] = this.#index.transactions(seq, seq + 1, false, 1)
      if (row === undefined) throw new StoreError(`the index of ${this.#path} has no transaction ${seq + 1}`)
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

  /** One more user of the file, who calls {@link release}. */
  acquire(): this {
    this.#users++
    return this
  }

  /** The last one closes it. */
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

  async #readRun(run: readonly Located[]): Promise<[Located, Buffer][]> {
    const [first] = run
    const last = run.at(-1)
    if (first === undefined || last === undefined) return []
    const bytes = await this.#read(
      first.pos,
      last.pos + RECORD_HEADER_LENGTH + last.length - first.pos,
      first,
    )
    return run.map(place => {
      const off = place.pos - first.pos
      checkHeader(place, bytes, off)
      const record = bytes.subarray(off + RECORD_HEADER_LENGTH, off + RECORD_HEADER_LENGTH + place.length)
      // A copy, lest a small record that is kept keeps the whole run.
      return [place, run.length === 1 ? record : Buffer.from(record)]
    })
  }

  async #read(pos: number, length: number, of: Located): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length)
    for (let done = 0; done < length;) {
      const { bytesRead } = await read(
        this.#fd,
        bytes,
        done,
        Math.min(length - done, MAX_READ_BYTES),
        pos + done,
      )
      if (bytesRead === 0) throw new CorruptRecordError(of.oid, of.tid, `${this.#path} ends before it`)
      done += bytesRead
    }
    return bytes
  }

  #transactionInfo(row: TransactionRow): TransactionInfo {
    const head = Buffer.allocUnsafe(TRANSACTION_HEADER_LENGTH)
    if (readFully(this.#fd, head, row.pos) < head.length) throw this.#changed()
    const header = decodeTransactionHeader(head, 0, row.pos)
    if (header.tid !== row.tid || header.length !== row.length) throw this.#changed()
    const texts = Buffer.allocUnsafe(preambleLength(header) - TRANSACTION_HEADER_LENGTH)
    if (readFully(this.#fd, texts, row.pos + TRANSACTION_HEADER_LENGTH) < texts.length) throw this.#changed()
    const descriptionEnd = header.userLength + header.descriptionLength
    return {
      tid: row.tid,
      user: texts.toString('utf8', 0, header.userLength),
      description: texts.toString('utf8', header.userLength, descriptionEnd),
      extension: texts.subarray(descriptionEnd),
      objects: row.objects,
      bytes: row.bytes,
    }
  }

  #changed(): StoreError {
    return new StoreError(`${this.#path} is not what it was when it was indexed: was it written over?`)
  }
}

/** From `first` on, the records (by ascending position) that are read together. */
function runOf(located: readonly Located[], first: number): readonly Located[] {
  let next = first
  let start = 0
  let end = 0
  for (let place = located[next]; place !== undefined; place = located[++next]) {
    if (next === first) start = end = place.pos
    const recordEnd = Math.max(end, place.pos + RECORD_HEADER_LENGTH + place.length)
    if (next > first && (place.pos - end > MAX_GAP_BYTES || recordEnd - start > MAX_RUN_BYTES)) break
    end = recordEnd
  }
  return located.slice(first, next)
}

function checkHeader(place: Located, bytes: Buffer, off: number): void {
  const header = decodeRecordHeader(bytes, off, place.pos)
  if (
    header.oid !== place.oid ||
    header.length !== place.length ||
    (!place.indirect && header.tid !== place.tid)
  )
    throw new CorruptRecordError(place.oid, place.tid, `its record at byte ${place.pos} has another header`)
}
