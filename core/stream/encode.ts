/** Writes the frames of a stream (format.ts). */
import { StoreError } from '../../store/errors.ts'
import type { KeptMoments } from '../../store/kept-moments.ts'
import type { Tid } from '../../store/ids.ts'
import { isNew, type CopiedRecord, type TransactionHead } from '../copy/history-items.ts'
import {
  BEGIN_BYTES,
  BODY_FRAME_BYTES,
  EARLIER_MOMENTS_MAX,
  FRAME,
  RECORD,
  RECORD_BYTES,
  STREAM,
  UP_TO_PRESENT,
  type StreamHeader,
} from './format.ts'
import { FrameWriter, OVERHEAD_BYTES } from './frames.ts'

export class StreamEncoder {
  readonly #frames = new FrameWriter()

  begin(header: StreamHeader): Buffer {
    const { origin, base, baseFingerprint, upTo, isUpToPresent, bytes } = header
    const fixed = Buffer.alloc(BEGIN_BYTES)
    Buffer.from(origin, 'hex').copy(fixed, 0)
    fixed.writeBigUInt64LE(base, 16)
    fixed.writeBigUInt64LE(baseFingerprint, 24)
    fixed.writeBigUInt64LE(upTo, 32)
    fixed.writeUInt32LE(isUpToPresent ? UP_TO_PRESENT : 0, 40)
    fixed.writeBigUInt64LE(BigInt(bytes), 44)
    return Buffer.concat([
      STREAM.magic,
      this.#frames.frame(
        FRAME.begin,
        fixed,
        ...[header.retention, header.name, header.compression].map(text),
      ),
      this.moments(header.moments),
    ])
  }

  /** @throws StoreError */
  moments({ from, earlier }: KeptMoments): Buffer {
    if (earlier.length > EARLIER_MOMENTS_MAX)
      throw new StoreError(
        `a history with ${earlier.length} kept moments cannot be sent: at most ${EARLIER_MOMENTS_MAX} can`,
      )
    return this.#frames.frame(FRAME.moments, ...[from, ...earlier].map(u64))
  }

  transaction({ tid, user, description, extension }: TransactionHead): Buffer {
    return this.#frames.frame(FRAME.transaction, u64(tid), text(user), text(description), sized(extension))
  }

  /** The record without a new body. */
  record({ oid, head, body, tail }: CopiedRecord): Buffer {
    const fixed = Buffer.alloc(RECORD_BYTES)
    fixed.writeBigUInt64LE(BigInt(oid), 0)
    if (head === null) return this.#frames.frame(FRAME.record, fixed)
    fixed.writeUInt32LE(head.length, 12)
    fixed.writeUInt32LE(tail.length, 20)
    fixed[8] = RECORD.plain
    if (body !== undefined) {
      fixed[8] = isNew(body) ? RECORD.bytes : RECORD.slice
      fixed.writeUInt32LE(body.len, 16)
      if (!isNew(body)) {
        fixed.writeBigUInt64LE(BigInt(body.oid), 24)
        fixed.writeBigUInt64LE(body.tid, 32)
        fixed.writeBigUInt64LE(BigInt(body.off), 40)
      }
    }
    return this.#frames.frame(FRAME.record, fixed, head, tail)
  }

  /** A part of a body, of at most {@link BODY_FRAME_BYTES}. */
  bytes(part: Uint8Array): Buffer {
    return this.#frames.frame(FRAME.bytes, part)
  }

  committed(records: number): Buffer {
    return this.#frames.frame(FRAME.committed, u64(BigInt(records)))
  }

  end(transactions: number, lastTid: Tid, fingerprint: bigint): Buffer {
    return this.#frames.frame(FRAME.end, u64(BigInt(transactions)), u64(lastTid), u64(fingerprint))
  }
}

/** The bytes of a stream that a record takes. */
export function recordBytes({ head, body, tail }: CopiedRecord): number {
  const frame = OVERHEAD_BYTES + RECORD_BYTES + (head?.length ?? 0) + tail.length
  if (body === undefined || !isNew(body)) return frame
  return frame + body.len + OVERHEAD_BYTES * Math.ceil(body.len / BODY_FRAME_BYTES)
}

/** The bytes of a stream that a transaction takes apart from its records. */
export const transactionBytes = ({ user, description, extension }: TransactionHead): number =>
  2 * OVERHEAD_BYTES + 28 + Buffer.byteLength(user) + Buffer.byteLength(description) + extension.length

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

function sized(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(bytes.length)
  return Buffer.concat([length, bytes])
}

const text = (value: string): Buffer => sized(Buffer.from(value))
