/**
 * Raw streams: an encrypted database as it is stored, sent and received without its key. A stream has the frames of the log and the
 * rows of the index after a transaction, sealed as they are, so that the copy opens with the keys of the source.
 *
 * A stream is a sequence of parts. Each has a kind and a payload; numbers are little-endian. docs/stream-format.md has the framing.
 *
 * | kind | part         | payload                                                                                                  |
 * |------|--------------|----------------------------------------------------------------------------------------------------------|
 * | 1    | begin        | the database's id (16), format (4), base: tid (8), sum of its row (4), its end of the log (8); the source's last tid (8), bytes to expect (8), the note of the keys |
 * | 2    | frames       | stored frames, one after another, in the order of their positions                                        |
 * | 3    | revisions    | rows of `revision` (sqlite/raw/rows.ts)                                                                  |
 * | 4    | transactions | rows of `txn`                                                                                            |
 * | 5    | kept         | which revisions of the transactions so far packs have left                                               |
 * | 6    | notes        | rows of `meta`                                                                                           |
 * | 7    | end          | the last tid (8), the sum of its row (4), the end of the log (8), the number of transactions (8), the row of `dropped` (7 numbers, 8 each) |
 *
 * Parts `frames`, `revisions` and `transactions` may alternate. `kept` parts follow all of them, if packs have dropped revisions that the
 * receiver may have; then come notes and the end.
 */
import { knownTid, TID_NONE, type Tid } from './ids.ts'

export const RAW = {
  begin: 1,
  frames: 2,
  revisions: 3,
  transactions: 4,
  kept: 5,
  notes: 6,
  end: 7,
} as const

export interface RawPart {
  readonly kind: number
  readonly payload: Buffer
}

/** A transaction, and how to tell it from another one with the same tid. */
export interface RawPoint {
  readonly tid: Tid
  /** The checksum of its row, which packs do not change. */
  readonly sum: number
}

/** What a stream says first. */
export interface RawHeader {
  readonly databaseId: string
  /** The version of the format of the database (docs/format.md, R2). */
  readonly format: number
  /** The stream has what was stored after this transaction; its tid is TID_NONE if the stream has everything. */
  readonly base: RawPoint
  /** The end of the log as of {@link RawHeader.base}. */
  readonly baseBulkEnd: number
  /** The last transaction of the source when the stream began. */
  readonly upTo: Tid
  /** An estimate of the stream's length. */
  readonly bytes: number
  /** The note of the database's keys (encryption/key-slots.ts). */
  readonly keys: string
}

/** What a stream says last. */
export interface RawEnd {
  readonly last: RawPoint
  readonly bulkEnd: number
  readonly transactions: number
  /** What packs of the source have dropped so far: the row of the table `dropped`. */
  readonly dropped: readonly number[]
}

/** What tells a database and its present state apart from others. */
export interface RawState {
  readonly databaseId: string
  /** As in {@link RawHeader.keys}. */
  readonly keys: string
  readonly last: RawPoint
}

/** Sends an encrypted database as it is stored. Offered by stores opened for reading, with or without the key. */
export interface RawSending {
  /** @throws StoreError `damaged-id`, `damaged` */
  state(): Promise<RawState>

  /** The transaction with this tid; undefined if a pack has dropped it, or it was never there. */
  pointAt(tid: Tid): Promise<RawPoint | undefined>

  /**
   * The parts of a stream. What is sent was verified by its checksums.
   * @param base what the receiver has; undefined for everything. @param dropped as in {@link RawEnd.dropped} of the receiver, if it is known:
   * then `kept` parts are left out if no pack has dropped anything since.
   * @throws StoreError `no-transaction` if the base is not there; `damaged`; `pack-running` if packs drop history faster than it is sent.
   */
  parts(base: RawPoint | undefined, dropped?: readonly number[]): AsyncGenerator<RawPart>
}

/** What was received. */
export interface RawReceived {
  readonly transactions: number
  /** Of frames and rows. */
  readonly bytes: number
  /** The last transaction of the copy. */
  readonly upTo: Tid
}

/** A copy of a database, open to receive raw streams. */
export interface RawReceiving {
  /** @throws StoreError if the first part of a stream is malformed, or the stream is of another database. */
  headerOf(begin: RawPart): RawHeader

  /**
   * Receives a stream; one whose transactions are all here is skipped.
   * @param parts what follows the header, to the stream's end.
   * @throws StoreError `other-base`, `diverged` if it does not fit, `bad-stream`, `cut-stream`, `no-space`; LockedError if moments are read
   * that the source has dropped.
   */
  receive(
    header: RawHeader,
    parts: AsyncIterable<RawPart>,
    onReceived: (bytes: number) => void,
  ): Promise<RawReceived>

  close(): void
}

const ID_BYTES = 16
const BEGIN_BYTES = 56
const END_BYTES = 28
const DROPPED_NUMBERS = 7
export const RAW_END_BYTES = END_BYTES + 8 * DROPPED_NUMBERS

export const NO_POINT: RawPoint = { tid: TID_NONE, sum: 0 }

export function encodeHeader(header: RawHeader): Buffer {
  const { databaseId, format, base, baseBulkEnd, upTo, bytes, keys } = header
  const fixed = Buffer.alloc(BEGIN_BYTES)
  fixed.write(databaseId, 0, ID_BYTES, 'hex')
  fixed.writeUInt32LE(format, 16)
  fixed.writeBigUInt64LE(base.tid, 20)
  fixed.writeUInt32LE(base.sum, 28)
  fixed.writeBigUInt64LE(BigInt(baseBulkEnd), 32)
  fixed.writeBigUInt64LE(upTo, 40)
  fixed.writeBigUInt64LE(BigInt(bytes), 48)
  return Buffer.concat([fixed, Buffer.from(keys)])
}

/** @returns undefined if it is malformed. */
export function decodeHeader(payload: Buffer): RawHeader | undefined {
  if (payload.length < BEGIN_BYTES) return undefined
  const header = {
    databaseId: payload.toString('hex', 0, ID_BYTES),
    format: payload.readUInt32LE(16),
    base: { tid: knownTid(payload.readBigInt64LE(20)), sum: payload.readUInt32LE(28) },
    baseBulkEnd: Number(payload.readBigUInt64LE(32)),
    upTo: knownTid(payload.readBigInt64LE(40)),
    bytes: Number(payload.readBigUInt64LE(48)),
    keys: payload.toString('utf8', BEGIN_BYTES),
  }
  return header.base.tid < TID_NONE || !Number.isSafeInteger(header.baseBulkEnd) ? undefined : header
}

export function encodeEnd({ last, bulkEnd, transactions, dropped }: RawEnd): Buffer {
  const bytes = Buffer.alloc(RAW_END_BYTES)
  bytes.writeBigUInt64LE(last.tid, 0)
  bytes.writeUInt32LE(last.sum, 8)
  bytes.writeBigUInt64LE(BigInt(bulkEnd), 12)
  bytes.writeBigUInt64LE(BigInt(transactions), 20)
  for (let at = 0; at < DROPPED_NUMBERS; at++)
    bytes.writeBigInt64LE(BigInt(dropped[at] ?? 0), END_BYTES + 8 * at)
  return bytes
}

/** @returns undefined if it is malformed. */
export function decodeEnd(payload: Buffer): RawEnd | undefined {
  if (payload.length !== RAW_END_BYTES) return undefined
  const dropped = Array.from({ length: DROPPED_NUMBERS }, (_, at) =>
    Number(payload.readBigInt64LE(END_BYTES + 8 * at)),
  )
  const bulkEnd = Number(payload.readBigUInt64LE(12))
  const last = { tid: knownTid(payload.readBigInt64LE(0)), sum: payload.readUInt32LE(8) }
  if (last.tid <= TID_NONE || !Number.isSafeInteger(bulkEnd)) return undefined
  return { last, bulkEnd, transactions: Number(payload.readBigUInt64LE(20)), dropped }
}
