/**
 * Extends a position index from where it ends to the end of its file, in batches of one SQLite transaction each. After
 * a kill it continues with the next batch. It yields to the event loop every few milliseconds.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { CorruptRecordError, StoreError } from '../errors.ts'
import { oid, tid, type Oid, type Tid } from '../ids.ts'
import { followBackPointer } from './back-pointer.ts'
import { POINTER_LENGTH, type TransactionHeader } from './format.ts'
import type { PositionIndex, RecordPosition } from './position-index.ts'
import { readRecords, readTransaction, type ScannedFile, type Tail } from './scan.ts'

/** Records per batch. A kill loses no more than that, unless one transaction is larger. */
const BATCH_RECORDS = 1 << 15

/** Maximum time between two yields to the event loop, and the number of records between two checks of the time. */
const MAX_TURN_MS = 10
const RECORDS_PER_LOOK = 64

/** Maximum chain of back pointers followed to total a transaction's bytes; low, as a scan visits every record. */
const MAX_COUNTED_CHAIN = 20

/** Interval and limit for waiting on another writer of the index. */
const RETRY_MS = 20
const MAX_WAIT_MS = 120_000

/** Receives the progress of a scan. */
export interface Progress {
  (scannedBytes: number, totalBytes: number): void
}

/**
 * Indexes the part of `file` that `index` does not cover; resolves to the tail, if there is one.
 * @throws CannotOpenError if the file is damaged. The batch is discarded then.
 */
export async function extendIndex(
  file: ScannedFile,
  index: PositionIndex,
  progress?: Progress,
): Promise<Tail | undefined> {
  // Usually there is nothing new, which needs no lock to find out.
  const next = readTransaction(file, index.end, index.last.tid)
  if (next === undefined || 'tail' in next) return next?.tail
  const turn = new Turn()
  let pos = 0
  for (;;) {
    await begin(index)
    try {
      const { done, ...end } = await indexBatch(file, index, Math.max(pos, index.end), turn)
      index.commit()
      pos = end.pos
      progress?.(pos, file.size)
      if (done) return end.tail
    } catch (error) {
      index.rollback()
      throw error
    }
    await turn.give()
  }
}

/** Yields to the event loop after a long turn. */
class Turn {
  #startMs = performance.now()

  async give(): Promise<void> {
    if (performance.now() - this.#startMs < MAX_TURN_MS) return
    await setImmediate()
    this.#startMs = performance.now()
  }
}

/** Begins to write once no other store, in this process or another, is indexing the same file. */
async function begin(index: PositionIndex): Promise<void> {
  for (let waitedMs = 0; !index.begin(); waitedMs += RETRY_MS) {
    if (waitedMs >= MAX_WAIT_MS)
      throw new StoreError('another process is writing the same index and makes no progress: end it, or wait')
    await setTimeout(RETRY_MS)
  }
}

interface BatchEnd {
  readonly pos: number
  readonly done: boolean
  readonly tail: Tail | undefined
}

async function indexBatch(
  file: ScannedFile,
  index: PositionIndex,
  start: number,
  turn: Turn,
): Promise<BatchEnd> {
  let pos = start
  for (let records = 0; records < BATCH_RECORDS;) {
    const found = readTransaction(file, pos, index.last.tid)
    if (found === undefined) return { pos, done: true, tail: undefined }
    if ('tail' in found) return { pos, done: true, tail: found.tail }
    const { header } = found
    if (header.status !== 'u') records += await indexTransaction(file, index, header, turn)
    await turn.give()
    records++
    pos = header.pos + header.length + POINTER_LENGTH
  }
  return { pos, done: false, tail: undefined }
}

/** Adds a transaction; returns the number of its records. */
async function indexTransaction(
  file: ScannedFile,
  index: PositionIndex,
  header: TransactionHeader,
  turn: Turn,
): Promise<number> {
  const seq = index.last.seq + 1
  const transactionTid = tid(header.tid)
  let batch: RecordPosition[] = []
  let objects = 0
  let bytes = 0
  for (const record of readRecords(file, header)) {
    const recordOid = oid(record.oid)
    batch.push({ oid: recordOid, pos: record.pos, length: record.length })
    objects++
    bytes += record.length || indirectLength(file.fd, recordOid, transactionTid, record.pos)
    if (batch.length === BATCH_RECORDS) {
      index.addRecords(seq, batch)
      batch = []
    }
    if (objects % RECORDS_PER_LOOK === 0) await turn.give()
  }
  index.addRecords(seq, batch)
  index.addTransaction({ seq, tid: transactionTid, pos: header.pos, length: header.length, objects, bytes })
  return objects
}

/** The length of an indirect record's data; 0 if the chain is too long or damaged: loading it reports the error. */
function indirectLength(fd: number, oid: Oid, tid: Tid, pos: number): number {
  try {
    return followBackPointer(fd, oid, tid, pos, MAX_COUNTED_CHAIN)?.length ?? 0
  } catch (error) {
    if (error instanceof CorruptRecordError) return 0
    throw error
  }
}
