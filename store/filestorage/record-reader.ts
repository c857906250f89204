/**
 * Reads records whose positions in the file are known. Records near one another are read together. Each header is
 * compared with the index, so that an overwritten file results in an error and never in wrong bytes.
 */
import { read as readCallback } from 'node:fs'
import { promisify } from 'node:util'
import { COMPRESSED_PREFIX_LENGTH, inflateRecord, isCompressed } from '../compressed-record.ts'
import { CorruptRecordError, TooLargeError } from '../errors.ts'
import type { Oid, Tid } from '../ids.ts'
import { decodeRecordHeader, RECORD_HEADER_LENGTH } from './format.ts'
import { readFully } from './window.ts'

const read = promisify(readCallback)

/** Records with at most this gap between them are read together... */
const MAX_GAP_BYTES = 16 * 1024
/** ...up to this length, unless a single record is longer. */
const MAX_RUN_BYTES = 1024 * 1024
/**
 * Reads up to this length run on this thread: the page cache usually has the bytes, and the thread pool would
 * double the cost. Longer reads go to the pool, so that they do not block the event loop.
 */
const MAX_READ_HERE_BYTES = 1024 * 1024
/** Runs read in parallel. */
const PARALLEL_READS = 4
/** Maximum length of a read(2). */
const MAX_READ_BYTES = 2 ** 30
/** Maximum length of a record that is loaded whole: a block of the largest block size, and its head. */
const MAX_RECORD_BYTES = 257 << 20
/** Maximum bytes loaded in one call, unless a single record has more: a sparse file may claim any length. */
const MAX_LOAD_BYTES = 384 << 20

/** The location of an object's data: `pos` is the header of the record that holds it. */
export interface Located {
  /** The caller's index. */
  readonly slot: number
  readonly oid: Oid
  /** The tid of the object's record; an earlier record may hold the data. */
  readonly tid: Tid
  readonly pos: number
  readonly length: number
  /** Whether the data belongs to an earlier record, found through back pointers. */
  readonly indirect: boolean
}

/** A record and its place. */
export interface ReadRecord {
  readonly place: Located
  readonly record: Uint8Array
}

/**
 * The records at these locations, in file order, in batches as they are read; compressed ones are inflated.
 * @throws CorruptRecordError; TooLargeError if they are too long in total.
 */
export async function* readRecordsAt(
  fd: number,
  path: string,
  places: readonly Located[],
): AsyncGenerator<readonly ReadRecord[], void, undefined> {
  let room = MAX_LOAD_BYTES
  for (const { oid, tid, length } of places) {
    if (length > MAX_RECORD_BYTES)
      throw new CorruptRecordError(oid, tid, `its record of ${length} bytes is too long to be read`)
    room -= length
  }
  if (room < 0 && places.length > 1) throw new TooLargeError(MAX_LOAD_BYTES)
  const sorted = places.toSorted((a, b) => a.pos - b.pos)
  for (let first = 0; first < sorted.length;) {
    const runs: (readonly Located[])[] = []
    for (; runs.length < PARALLEL_READS && first < sorted.length; first += runs.at(-1)?.length ?? 0)
      runs.push(runOf(sorted, first))
    for (const records of await Promise.all(runs.map(async run => readRun(fd, path, run)))) {
      for (const [i, { place, record }] of records.entries()) {
        if (!isCompressed(record)) continue
        const inflated = await inflateRecord(record, place.oid, place.tid)
        room -= inflated.length
        if (room < 0 && places.length > 1) throw new TooLargeError(MAX_LOAD_BYTES)
        records[i] = { place, record: inflated }
      }
      yield records
    }
  }
}

/**
 * Bytes `[off, off + len)` of the record, cut at its end; in `into`, if that is given. Undefined if the record is
 * compressed: it can only be inflated whole.
 * @throws CorruptRecordError
 */
export async function readPartAt(
  fd: number,
  path: string,
  place: Located,
  { off, len, into }: { readonly off: number; readonly len: number; readonly into: Uint8Array | undefined },
): Promise<Uint8Array | undefined> {
  const start = Buffer.allocUnsafe(RECORD_HEADER_LENGTH + Math.min(place.length, COMPRESSED_PREFIX_LENGTH))
  if (readFully(fd, start, place.pos) < start.length) throw endsBefore(path, place)
  checkHeader(place, start, 0)
  if (isCompressed(start.subarray(RECORD_HEADER_LENGTH))) return undefined
  const from = Math.min(off, place.length)
  const length = Math.min(len, place.length - from)
  const bytes = into?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length)
  await fill(bytes, fd, path, place, place.pos + RECORD_HEADER_LENGTH + from)
  return bytes
}

async function readRun(fd: number, path: string, run: readonly Located[]): Promise<ReadRecord[]> {
  const [first] = run
  if (first === undefined) return []
  // In a damaged file records may overlap: the last one need not end last.
  const end = run.reduce((end, { pos, length }) => Math.max(end, pos + RECORD_HEADER_LENGTH + length), 0)
  const bytes = Buffer.allocUnsafeSlow(end - first.pos)
  await fill(bytes, fd, path, first, first.pos)
  const wanted = run.reduce((sum, { length }) => sum + length, 0)
  return run.map(place => {
    const off = place.pos - first.pos
    checkHeader(place, bytes, off)
    const record = bytes.subarray(off + RECORD_HEADER_LENGTH, off + RECORD_HEADER_LENGTH + place.length)
    // Records share the buffer, unless most of it is gaps, which a retained record would retain too.
    return { place, record: wanted * 2 >= bytes.length ? record : Buffer.from(record) }
  })
}

async function fill(bytes: Uint8Array, fd: number, path: string, of: Located, pos: number): Promise<void> {
  if (bytes.length <= MAX_READ_HERE_BYTES) {
    if (readFully(fd, bytes, pos) < bytes.length) throw endsBefore(path, of)
    return
  }
  for (let done = 0; done < bytes.length;) {
    const length = Math.min(bytes.length - done, MAX_READ_BYTES)
    const { bytesRead } = await read(fd, bytes, done, length, pos + done)
    if (bytesRead === 0) throw endsBefore(path, of)
    done += bytesRead
  }
}

function endsBefore(path: string, { oid, tid }: Located): CorruptRecordError {
  return new CorruptRecordError(oid, tid, `${path} ends before its record does`)
}

/** The records from `first` on (ascending positions) that are read together. */
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
