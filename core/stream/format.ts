/**
 * The format of a stream (docs/stream-format.md): the transactions of a range with all that they changed.
 *
 *     stream = magic, frames;  frame = kind (1), zeros (3), length (4), payload, checksum (8)
 *
 * | kind | frame       | payload                                                                                             |
 * |------|-------------|-----------------------------------------------------------------------------------------------------|
 * | 1    | begin       | origin (16), base (8), its fingerprint (8), upTo (8), flags (4), bytes (8), retention, name, compression           |
 * | 2    | moments     | the moments that the source keeps: from (8), earlier ones (8 each), latest first                      |
 * | 3    | transaction | tid (8), user, description, extension                                                               |
 * | 4    | record      | oid (8), kind (1), zeros (3), lengths of head, body, tail (4 each), oid, tid, off (8 each), head, tail |
 * | 5    | bytes       | a part of the body of the record before it                                                          |
 * | 6    | committed   | the number of records of the transaction (8)                                                        |
 * | 7    | end         | the number of transactions (8), the last one's tid (8) and fingerprint (8)                          |
 *
 * Numbers are little-endian. Texts are a length (4) and UTF-8. A checksum is the XXH64 of the frame before it, seeded with the preceding
 * checksum, so that frames cannot be lost or change places.
 */
import { xxh64 } from '../../store/checksum.ts'
import type { KeptMoments } from '../../store/kept-moments.ts'
import type { Tid } from '../../store/ids.ts'
import type { TransactionHead } from '../copy/history-items.ts'

/** What the frames of a kind of stream begin with. */
export interface Framing {
  readonly magic: Buffer
  /** What the magic of every version begins with. */
  readonly magicStart: string
}

export const STREAM: Framing = {
  magic: Buffer.from('zblkfs stream 1\n', 'latin1'),
  magicStart: 'zblkfs stream ',
}

/** Of a raw stream (store/raw-stream.ts), whose kinds of frames are others. */
export const RAW_STREAM: Framing = {
  magic: Buffer.from('zblkfs raw    1\n', 'latin1'),
  magicStart: 'zblkfs raw ',
}

export const MAGIC_BYTES = 16

export const FRAME = {
  begin: 1,
  moments: 2,
  transaction: 3,
  record: 4,
  bytes: 5,
  committed: 6,
  end: 7,
} as const
export const RECORD = { tombstone: 0, plain: 1, bytes: 2, slice: 3 } as const
/** The range ends with the last transaction that the source had when the stream began. */
export const UP_TO_PRESENT = 1

export const FRAME_HEADER_BYTES = 8
export const FRAME_SUM_BYTES = 8
export const BEGIN_BYTES = 52
export const RECORD_BYTES = 48
/** Bytes of a body in one frame. */
export const BODY_FRAME_BYTES = 1 << 20
/** A longer payload is refused, so that the memory of a receiver is bounded. */
export const PAYLOAD_BYTES_MAX = 16 << 20
/** The same for the moments that a source keeps before its history: tags, and those in use. */
export const EARLIER_MOMENTS_MAX = 100_000
/** The same for the body of a record. */
export const BODY_BYTES_MAX = 256 << 20

/** What a stream says first. */
export interface StreamHeader {
  /** The id of the database in which the history began. */
  readonly origin: string
  /** The stream has the transactions after this one; TID_NONE: from the first one that is kept. */
  readonly base: Tid
  /** {@link fingerprintOf} the base; 0 if there is none. */
  readonly baseFingerprint: bigint
  readonly upTo: Tid
  /** Whether `upTo` was the source's last transaction. */
  readonly isUpToPresent: boolean
  /** An estimate of the stream's length. */
  readonly bytes: number
  /** As store/retention.ts writes it; empty if the source has none. */
  readonly retention: string
  /** The name of the source, for messages. */
  readonly name: string
  /** How the source compresses its data, as store/compression.ts names it: a new database does the same. Empty if it does not. */
  readonly compression: string
  /** The moments that the source kept before it was known that `upTo` is its last transaction. */
  readonly moments: KeptMoments
}

/** Tells a transaction from another one with the same tid. Packs do not change it. */
export function fingerprintOf({ tid, user, description, extension }: TransactionHead): bigint {
  const [name, text] = [Buffer.from(user), Buffer.from(description)]
  const head = Buffer.alloc(20)
  head.writeBigUInt64LE(tid, 0)
  head.writeUInt32LE(name.length, 8)
  head.writeUInt32LE(text.length, 12)
  head.writeUInt32LE(extension.length, 16)
  return xxh64(Buffer.concat([head, name, text, extension]))
}
