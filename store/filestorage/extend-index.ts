/**
 * Brings a position index up to date with its file, from where the index ends, in batches of one SQLite transaction
 * each. After a kill it goes on behind the last batch. The event loop gets a turn every few milliseconds.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { CorruptRecordError, StoreError } from '../errors.ts'
import { oid, tid, type Oid, type Tid } from '../ids.ts'
import { followBackPointer } from './back-pointer.ts'
import { POINTER_LENGTH, type TransactionHeader } from './format.ts'
import type { PositionIndex, RecordPosition } from './position-index.ts'
import { readRecords, readTransaction, type ScannedFile, type Tail } from './scan.ts'

/** Records collected in memory; a kill loses no more, unless one transaction is larger. */
const BATCH_RECORDS = 1 << 15

/** Longest turn of the event loop, and the records between two checks of it. */
const MAX_TURN_MS = 10
const RECORDS_PER_LOOK = 64

/** Longest chain of back pointers that is followed for the sum of a transaction's bytes: a scan meets every record. */
const MAX_COUNTED_CHAIN = 20

/** The interval and the limit of waiting for another writer of the index. */
const RETRY_MS = 20
const MAX_WAIT_MS = 120_000

/** Receives the progress of a scan. */
export interface Progress {
  (scannedBytes: number, totalBytes: number): void
}

/**
 * Indexes what `file` has more than `index`; resolves to the tail that it found, if any.
 * @throws CannotOpenError where the file is damaged; nothing of the batch is kept then.
 */
export async function extendIndex(
  file: ScannedFile,
  index: PositionIndex,
  progress?: Progress,
): Promise<Tail | undefined> {
  // Mostly nothing is new: found without a lock.
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

/** Begins to write, once no other store, of this process or another, is indexing the same file. */
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

/** Adds a transaction; the number of its records. */
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

/** The length of an indirect record's data; 0 if the chain is long, or damaged: then loading gives the error. */
function indirectLength(fd: number, oid: Oid, tid: Tid, pos: number): number {
  try {
    return followBackPointer(fd, oid, tid, pos, MAX_COUNTED_CHAIN)?.length ?? 0
  } catch (error) {
    if (error instanceof CorruptRecordError) return 0
    throw error
  }
}
