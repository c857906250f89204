/**
 * Rows of the tables of a database in the parts of a raw stream (store/raw-stream.ts). Numbers are little-endian; -1 stands for NULL.
 *
 * | `revision`: offset | length | is                                            |
 * |--------------------|--------|-----------------------------------------------|
 * | 0                  | 8      | oid                                           |
 * | 8                  | 8      | tid                                           |
 * | 16                 | 4      | sum                                           |
 * | 20                 | 8      | pos                                           |
 * | 28                 | 4      | len                                           |
 * | 32                 | 4      | the length of the head                        |
 * | 36                 | 4      | the length of the tail                        |
 * | 40                 |        | the head, the tail                            |
 *
 * | `txn`: offset | length | is                                                  |
 * |---------------|--------|-----------------------------------------------------|
 * | 0             | 8      | tid                                                 |
 * | 8             | 112    | the other 14 numbers, in the order of their columns |
 * | 120           | 12     | the lengths of user, description and extension      |
 * | 132           |        | user, description, extension                        |
 *
 * | `kept`: offset | length | is                                                                             |
 * |----------------|--------|--------------------------------------------------------------------------------|
 * | 0              | 8      | tid; if it is that of the entry before, its oids continue                       |
 * | 8              | 16     | `objects` and `bytes` of the row of `txn`                                       |
 * | 24             | 4      | the number of runs of consecutive oids, ascending                               |
 * | 28             |        | for each run: its distance from the end of the run before (8), its length (4)   |
 *
 * | `meta`: offset | length | is                                             |
 * |----------------|--------|------------------------------------------------|
 * | 0              | 4      | the length of the name                         |
 * | 4              | 4      | the length of the value                        |
 * | 8              | 1      | 0 for text, 1 for a BLOB                       |
 * | 9              |        | the name, the value                            |
 */
import { StoreError } from '../../errors.ts'
import type { RevisionCells, TransactionCells } from '../rows.ts'

const REVISION_BYTES = 40
const TRANSACTION_NUMBERS = 14
const TRANSACTION_BYTES = 8 + 8 * TRANSACTION_NUMBERS + 12
const KEPT_BYTES = 28
const RUN_BYTES = 12
const NOTE_BYTES = 9

/** A run of consecutive oids. */
export interface OidRun {
  readonly start: number
  readonly length: number
}

/** What packs have left of a transaction. */
export interface KeptTransaction {
  readonly tid: bigint
  readonly objects: number
  readonly bytes: number
  readonly runs: readonly OidRun[]
}

export interface NoteRow {
  readonly name: string
  readonly value: string | Buffer
}

const malformed = (): StoreError =>
  new StoreError('this is not a sound stream: a row of it is malformed', { code: 'bad-stream' })

export function encodeRevision([oid, tid, sum, head, pos, len, tail]: RevisionCells): Buffer {
  const [headBytes, tailBytes] = [head?.length ?? 0, tail?.length ?? 0]
  const row = Buffer.allocUnsafe(REVISION_BYTES + headBytes + tailBytes)
  writeNumber(row, oid, 0)
  row.writeBigInt64LE(tid, 8)
  row.writeUInt32LE(sum, 16)
  writeNumber(row, pos ?? -1, 20)
  row.writeUInt32LE(len, 28)
  row.writeInt32LE(head === null ? -1 : headBytes, 32)
  row.writeInt32LE(tail === null ? -1 : tailBytes, 36)
  if (head !== null) row.set(head, REVISION_BYTES)
  if (tail !== null) row.set(tail, REVISION_BYTES + headBytes)
  return row
}

export function* decodeRevisions(payload: Buffer): Generator<RevisionCells> {
  for (let at = 0; at < payload.length;) {
    const row = payload.subarray(at)
    if (row.length < REVISION_BYTES) throw malformed()
    const [headLength, tailLength] = [row.readInt32LE(32), row.readInt32LE(36)]
    const [head, afterHead] = cellAt(row, REVISION_BYTES, headLength)
    const [tail, end] = cellAt(row, afterHead, tailLength)
    const pos = readNumber(row, 20)
    yield [
      readNumber(row, 0),
      row.readBigInt64LE(8),
      row.readUInt32LE(16),
      head,
      pos === -1 ? null : pos,
      row.readUInt32LE(28),
      tail,
    ]
    at += end
  }
}

export function encodeTransaction(cells: TransactionCells): Buffer {
  const [tid, user, description, extension, ...numbers] = cells
  const row = Buffer.allocUnsafe(TRANSACTION_BYTES + user.length + description.length + extension.length)
  row.writeBigInt64LE(tid, 0)
  numbers.forEach((value, index) => writeNumber(row, value, 8 + 8 * index))
  let lengthAt = 8 + 8 * TRANSACTION_NUMBERS
  let at = TRANSACTION_BYTES
  for (const bytes of [user, description, extension]) {
    row.writeUInt32LE(bytes.length, lengthAt)
    row.set(bytes, at)
    lengthAt += 4
    at += bytes.length
  }
  return row
}

export function* decodeTransactions(payload: Buffer): Generator<TransactionCells> {
  for (let at = 0; at < payload.length;) {
    const row = payload.subarray(at)
    if (row.length < TRANSACTION_BYTES) throw malformed()
    const numbers = Array.from({ length: TRANSACTION_NUMBERS }, (_, index) => readNumber(row, 8 + 8 * index))
    const lengthsAt = 8 + 8 * TRANSACTION_NUMBERS
    const [user, afterUser] = bytesAt(row, TRANSACTION_BYTES, row.readUInt32LE(lengthsAt))
    const [description, afterTexts] = bytesAt(row, afterUser, row.readUInt32LE(lengthsAt + 4))
    const [extension, end] = bytesAt(row, afterTexts, row.readUInt32LE(lengthsAt + 8))
    yield [row.readBigInt64LE(0), user, description, extension, ...numbers] as TransactionCells
    at += end
  }
}

export function encodeKept({ tid, objects, bytes, runs }: KeptTransaction): Buffer {
  const entry = Buffer.allocUnsafe(KEPT_BYTES + RUN_BYTES * runs.length)
  entry.writeBigInt64LE(tid, 0)
  writeNumber(entry, objects, 8)
  writeNumber(entry, bytes, 16)
  entry.writeUInt32LE(runs.length, 24)
  runs.forEach(({ start, length }, index) => {
    const before = runs[index - 1]
    const end = before === undefined ? 0 : before.start + before.length
    writeNumber(entry, start - end, KEPT_BYTES + RUN_BYTES * index)
    entry.writeUInt32LE(length, KEPT_BYTES + RUN_BYTES * index + 8)
  })
  return entry
}

export function* decodeKept(payload: Buffer): Generator<KeptTransaction> {
  for (let at = 0; at < payload.length;) {
    const entry = payload.subarray(at)
    if (entry.length < KEPT_BYTES) throw malformed()
    const count = entry.readUInt32LE(24)
    const end = KEPT_BYTES + RUN_BYTES * count
    if (entry.length < end) throw malformed()
    const runs: OidRun[] = []
    for (let runAt = KEPT_BYTES, before = 0; runAt < end; runAt += RUN_BYTES) {
      const start = before + readNumber(entry, runAt)
      const length = entry.readUInt32LE(runAt + 8)
      before = start + length
      if (length === 0 || start < 0 || !Number.isSafeInteger(before)) throw malformed()
      runs.push({ start, length })
    }
    yield { tid: entry.readBigInt64LE(0), objects: readNumber(entry, 8), bytes: readNumber(entry, 16), runs }
    at += end
  }
}

export function encodeNote({ name, value }: NoteRow): Buffer {
  const nameBytes = Buffer.from(name)
  const valueBytes = typeof value === 'string' ? Buffer.from(value) : value
  const row = Buffer.alloc(NOTE_BYTES)
  row.writeUInt32LE(nameBytes.length, 0)
  row.writeUInt32LE(valueBytes.length, 4)
  row[8] = Buffer.isBuffer(value) ? 1 : 0
  return Buffer.concat([row, nameBytes, valueBytes])
}

export function* decodeNotes(payload: Buffer): Generator<NoteRow> {
  for (let at = 0; at < payload.length;) {
    const row = payload.subarray(at)
    if (row.length < NOTE_BYTES) throw malformed()
    const [name, afterName] = bytesAt(row, NOTE_BYTES, row.readUInt32LE(0))
    const [value, end] = bytesAt(row, afterName, row.readUInt32LE(4))
    yield { name: name.toString(), value: row[8] === 0 ? value.toString() : value }
    at += end
  }
}

/** @param length -1 for NULL. */
function cellAt(row: Buffer, at: number, length: number): readonly [cell: Buffer | null, end: number] {
  return length === -1 ? [null, at] : bytesAt(row, at, length)
}

function bytesAt(row: Buffer, at: number, length: number): readonly [bytes: Buffer, end: number] {
  const end = at + length
  if (length < 0 || end > row.length) throw malformed()
  return [row.subarray(at, end), end]
}

const writeNumber = (into: Buffer, value: number, at: number): void =>
  void into.writeBigInt64LE(BigInt(value), at)

function readNumber(from: Buffer, at: number): number {
  const value = Number(from.readBigInt64LE(at))
  if (!Number.isSafeInteger(value)) throw malformed()
  return value
}
