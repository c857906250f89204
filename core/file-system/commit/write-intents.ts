/**
 * The writes since the last transaction, for the store's intent log. While they are the only changes, an fsync needs to put
 * nothing else on disk: they are replayed after a crash.
 *
 * | in a write | length | is                                          |
 * |------------|--------|---------------------------------------------|
 * | 0          | 8      | the inode, little-endian like all numbers   |
 * | 8          | 8      | offset in the file                          |
 * | 16         | 8      | time, in nanoseconds since 1970             |
 * | 24         | 8      | number of bytes                             |
 * | 32         |        | the bytes                                   |
 */
import { ino as toIno, type Ino } from '../operations.ts'

/** A write to be replayed after a crash. */
export interface PastWrite {
  readonly ino: Ino
  readonly off: bigint
  readonly timeNs: bigint
  readonly data: Uint8Array
}

/** Beyond this size a transaction is as cheap. */
const STAGED_BYTES_MAX = 256 << 10
const HEADER_BYTES = 32

export class WriteIntents {
  #staged: Uint8Array[] = []
  #stagedBytes = 0
  /** Whether every change since {@link WriteIntents.restart} is staged here or in the log. */
  #isComplete = false

  get isComplete(): boolean {
    return this.#isComplete
  }

  /** Starts staging: all earlier changes are in a transaction, or prepared for one. */
  restart(): void {
    this.#clear()
    this.#isComplete = true
  }

  /** A change was made that only a transaction can store. */
  spoil(): void {
    this.#clear()
    this.#isComplete = false
  }

  /** Stages a write; its data is copied. */
  note(write: PastWrite): void {
    if (!this.#isComplete) return
    const bytes = HEADER_BYTES + write.data.length
    if (this.#stagedBytes + bytes > STAGED_BYTES_MAX) return this.spoil()
    this.#staged.push(encode(write))
    this.#stagedBytes += bytes
  }

  /** The writes staged since the last call; undefined if there are none. */
  take(): Uint8Array | undefined {
    const staged = this.#staged
    this.#clear()
    return staged.length < 2 ? staged[0] : Buffer.concat(staged)
  }

  #clear(): void {
    this.#staged = []
    this.#stagedBytes = 0
  }
}

function encode({ ino, off, timeNs, data }: PastWrite): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + data.length)
  bytes.writeBigUInt64LE(BigInt(ino))
  bytes.writeBigUInt64LE(off, 8)
  bytes.writeBigInt64LE(timeNs, 16)
  bytes.writeBigUInt64LE(BigInt(data.length), 24)
  bytes.set(data, HEADER_BYTES)
  return bytes
}

/** The writes of one entry of the log. */
export function* writesOf(entry: Uint8Array): Generator<PastWrite> {
  const bytes = Buffer.from(entry.buffer, entry.byteOffset, entry.length)
  for (let at = 0; at < bytes.length;) {
    const end = at + HEADER_BYTES + Number(bytes.readBigUInt64LE(at + 24))
    yield {
      ino: toIno(Number(bytes.readBigUInt64LE(at))),
      off: bytes.readBigUInt64LE(at + 8),
      timeNs: bytes.readBigInt64LE(at + 16),
      data: bytes.subarray(at + HEADER_BYTES, end),
    }
    at = end
  }
}
