/**
 * A request read from /dev/fuse, in a buffer that is reused for later requests.
 *
 * | at | bytes | struct fuse_in_header        |
 * |----|-------|------------------------------|
 * | 0  | 4     | len, this header included    |
 * | 4  | 4     | opcode                       |
 * | 8  | 8     | unique                       |
 * | 16 | 8     | nodeid                       |
 * | 24 | 4 x 3 | uid, gid, pid                |
 * | 36 | 2     | total_extlen in 8 bytes      |
 * | 38 | 2     | padding                      |
 *
 * The body follows: a structure that depends on the opcode, then names (each ended by a NUL) or data. Offsets
 * below count from the start of the body. All numbers are in the kernel's order, little-endian on every supported
 * machine. Source: linux/fuse.h.
 */
import {
  type Caller,
  type Fh,
  type Ino,
  type Name,
  fh as toFh,
  ino as toIno,
  name as toName,
} from '../../../../core/file-system/operations.ts'

/** Length of fuse_in_header in bytes. */
const IN_HEADER_BYTES = 40

/** A request that violates the protocol: it is shorter than its fields, or has an impossible number or name. */
export class MalformedRequestError extends Error {
  override readonly name = 'MalformedRequestError'
}

/** The header of a request, kept until it has been answered. */
export interface RequestHeader {
  readonly opcode: number
  /** Identifies the request in its reply. */
  readonly unique: number
  readonly ino: Ino
  readonly caller: Caller
}

/** A buffer for requests, and the request in it. */
export class Message {
  readonly bytes: Buffer
  readonly #view: DataView
  #end = 0

  /** @param capacity in bytes; the longest request that fits. */
  constructor(capacity: number) {
    this.bytes = Buffer.from(new ArrayBuffer(capacity))
    this.#view = new DataView(this.bytes.buffer)
  }

  /**
   * Takes the first `length` bytes as a request and reads its header.
   * @throws MalformedRequestError if they are not a request.
   */
  begin(length: number): RequestHeader {
    this.#end = length
    if (length < IN_HEADER_BYTES || this.#view.getUint32(0, true) !== length)
      throw new MalformedRequestError(`a request of ${length} bytes disagrees with its header`)
    const view = this.#view
    return {
      opcode: view.getUint32(4, true),
      unique: this.u64(8 - IN_HEADER_BYTES),
      ino: toIno(this.u64(16 - IN_HEADER_BYTES)),
      caller: {
        uid: view.getUint32(24, true),
        gid: view.getUint32(28, true),
        pid: view.getUint32(32, true),
      },
    }
  }

  u32(at: number): number {
    return this.#view.getUint32(this.#position(at, 4), true)
  }

  /** An unsigned 64-bit number that must be below 2^53: an inode, a handle, a count. */
  u64(at: number): number {
    const position = this.#position(at, 8)
    const high = this.#view.getUint32(position + 4, true)
    if (high >= 2 ** 21) throw new MalformedRequestError(`the number at ${at} is not below 2^53`)
    return high * 2 ** 32 + this.#view.getUint32(position, true)
  }

  fh(at: number): Fh {
    return toFh(this.u64(at))
  }

  ino(at: number): Ino {
    return toIno(this.u64(at))
  }

  /** An unsigned 64-bit number of any size: an offset, a length. */
  bigU64(at: number): bigint {
    return this.#view.getBigUint64(this.#position(at, 8), true)
  }

  bigI64(at: number): bigint {
    return this.#view.getBigInt64(this.#position(at, 8), true)
  }

  /** The bytes `[at, at + length)`, without a copy: they change with the next request in this buffer. */
  data(at: number, length: number): Buffer {
    const position = this.#position(at, length)
    return this.bytes.subarray(position, position + length)
  }

  /** The bytes up to the next NUL, one character each, and the offset of the byte after the NUL. */
  text(at: number): { readonly text: string; readonly next: number } {
    const start = this.#position(at, 1)
    const stop = this.bytes.indexOf(0, start)
    if (stop < 0 || stop >= this.#end) throw new MalformedRequestError(`the name at ${at} has no end`)
    return { text: this.bytes.toString('latin1', start, stop), next: stop + 1 - IN_HEADER_BYTES }
  }

  /** A name in a directory, and the offset of the byte after its NUL. */
  name(at: number): { readonly name: Name; readonly next: number } {
    const { text, next } = this.text(at)
    if (text.length === 0 || text.includes('/'))
      throw new MalformedRequestError(`the name at ${at} is empty or has a '/'`)
    return { name: toName(text), next }
  }

  #position(at: number, length: number): number {
    const position = at + IN_HEADER_BYTES
    if (position + length > this.#end)
      throw new MalformedRequestError(`the request ends before the ${length} bytes at ${at}`)
    return position
  }
}
