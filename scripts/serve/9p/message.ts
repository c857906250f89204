/**
 * Messages of 9P2000.L: `size[4] type[1] tag[2]`, then fields. Numbers are little-endian; a text is its length in 2 bytes and its bytes.
 * Source: https://github.com/chaos/diod/blob/master/protocol.md
 */
export const HEADER_BYTES = 7

/** The types of requests; an answer's is one higher. */
export const Type = {
  RLERROR: 7,
  STATFS: 8,
  LOPEN: 12,
  LCREATE: 14,
  SYMLINK: 16,
  MKNOD: 18,
  READLINK: 22,
  GETATTR: 24,
  SETATTR: 26,
  XATTRWALK: 30,
  XATTRCREATE: 32,
  READDIR: 40,
  FSYNC: 50,
  LOCK: 52,
  GETLOCK: 54,
  LINK: 70,
  MKDIR: 72,
  RENAMEAT: 74,
  UNLINKAT: 76,
  VERSION: 100,
  AUTH: 102,
  ATTACH: 104,
  FLUSH: 108,
  WALK: 110,
  READ: 116,
  WRITE: 118,
  CLUNK: 120,
} as const

export class MalformedMessageError extends Error {
  override readonly name = 'MalformedMessageError'
}

/** Reads the fields of a message in order. */
export class Fields {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1))
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#take(8))
  }

  /** A text, one character per byte. */
  text(): string {
    const length = this.u16()
    const at = this.#take(length)
    return this.#bytes.toString('latin1', at, at + length)
  }

  data(length: number): Buffer {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  #take(length: number): number {
    const at = this.#at
    if (at + length > this.#bytes.length)
      throw new MalformedMessageError('a message is shorter than its fields')
    this.#at += length
    return at
  }
}

/** A file's identity: its type, and its number. */
export interface Qid {
  readonly type: number
  readonly path: bigint
}

/** Builds the fields of an answer. */
export class Answer {
  readonly #pieces: Buffer[] = []

  u8(value: number): this {
    return this.data(Buffer.of(value))
  }

  u16(value: number): this {
    const piece = Buffer.allocUnsafe(2)
    piece.writeUInt16LE(value)
    return this.data(piece)
  }

  u32(value: number): this {
    const piece = Buffer.allocUnsafe(4)
    piece.writeUInt32LE(value >>> 0)
    return this.data(piece)
  }

  u64(value: bigint | number): this {
    const piece = Buffer.allocUnsafe(8)
    piece.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
    return this.data(piece)
  }

  text(stored: string): this {
    return this.u16(stored.length).data(Buffer.from(stored, 'latin1'))
  }

  qid({ type, path }: Qid): this {
    return this.u8(type).u32(0).u64(path)
  }

  data(bytes: Uint8Array): this {
    this.#pieces.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    return this
  }

  /** The fields so far. */
  fields(): Buffer {
    return Buffer.concat(this.#pieces)
  }

  /** The whole message. */
  message(type: number, tag: number): Buffer {
    const header = Buffer.allocUnsafe(HEADER_BYTES)
    const length = this.#pieces.reduce((sum, piece) => sum + piece.length, HEADER_BYTES)
    header.writeUInt32LE(length, 0)
    header.writeUInt8(type, 4)
    header.writeUInt16LE(tag, 5)
    return Buffer.concat([header, ...this.#pieces], length)
  }
}
