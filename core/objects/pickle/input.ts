/** Reads the bytes of pickles sequentially; a length is checked before anything of that length is allocated. */
import { decodeText } from './text.ts'

/** Bytes that are not a pickle, or not a supported one. */
export class PickleError extends Error {
  override readonly name = 'PickleError'
}

/** Maximum length of text in bytes; V8's limit of strings is twice that. */
const TEXT_MAX = 2 ** 28
/** Maximum length of names of classes and decimal numbers in bytes. */
const LINE_MAX = 4096
/** Maximum length of ints in bytes. */
const LONG_MAX = 1024

/** Numbers are little-endian, except the double. Every method throws a PickleError if the input is too short. */
export class PickleInput {
  readonly #bytes: Buffer
  #pos = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The number of bytes read. */
  get position(): number {
    return this.#pos
  }

  /** The next byte; undefined at the end. */
  next(): number | undefined {
    return this.#bytes[this.#pos++]
  }

  /** Skips `len` bytes and returns their position. */
  #take(len: number): number {
    const start = this.#pos
    if (len > this.#bytes.length - start) throw new PickleError('it ends in the middle of a value')
    this.#pos = start + len
    return start
  }

  u8(): number {
    const value = this.#bytes[this.#pos++]
    if (value === undefined) throw new PickleError('it ends in the middle of an opcode')
    return value
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }

  i32(): number {
    return this.#bytes.readInt32LE(this.#take(4))
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.#take(8))
  }

  /** A view of the next `len` bytes. */
  view(len: number): Uint8Array {
    const start = this.#take(len)
    return this.#bytes.subarray(start, start + len)
  }

  /** The next `len` bytes, one character per byte. */
  latin1(len: number): string {
    const start = this.#take(len)
    return len === 8 ? this.#latin1Of8(start) : this.#bytes.toString('latin1', start, start + len)
  }

  /** For oids, by far the most frequent byte strings: several times as fast as Buffer's toString. */
  #latin1Of8(start: number): string {
    const byte = (i: number): number => this.#bytes[start + i] ?? 0
    return String.fromCharCode(byte(0), byte(1), byte(2), byte(3), byte(4), byte(5), byte(6), byte(7))
  }

  /** The next `len` bytes as text. */
  text(len: number): string {
    if (len > TEXT_MAX) throw new PickleError(`a text of ${len} bytes is too long`)
    const start = this.#take(len)
    const text = decodeText(this.#bytes, start, start + len)
    if (text === undefined) throw new PickleError('a text is not UTF-8')
    return text
  }

  /** The bytes up to the next newline, which is skipped. */
  line(): string {
    const start = this.#pos
    const end = this.#bytes.indexOf(0x0a, start)
    if (end > start + LINE_MAX) throw new PickleError('a line is too long')
    if (end < 0) throw new PickleError('it ends in the middle of a line')
    this.#pos = end + 1
    const line = decodeText(this.#bytes, start, end)
    if (line === undefined) throw new PickleError('a name is not UTF-8')
    return line
  }

  /** A little-endian two's complement integer of `len` bytes. */
  long(len: number): number | bigint {
    const start = this.#take(len)
    if (len === 0) return 0
    if (len > LONG_MAX) throw new PickleError(`an int of ${len} bytes is too large`)
    const hex = Buffer.from(this.#bytes.subarray(start, start + len).toReversed()).toString('hex')
    return integer(BigInt.asIntN(len * 8, BigInt(`0x${hex}`)))
  }

  /** A line of decimal digits; `00` and `01` are False and True. */
  decimalOrBool(): number | bigint | boolean {
    const line = this.line()
    return line === '00' || line === '01' ? line === '01' : decimal(line)
  }

  /** A line of decimal digits, optionally followed by `L`. */
  decimalLong(): number | bigint {
    const line = this.line()
    return decimal(line.endsWith('L') ? line.slice(0, -1) : line)
  }
}

function decimal(digits: string): number | bigint {
  if (!/^-?[0-9]+$/.test(digits)) throw new PickleError('a decimal number is malformed')
  return integer(BigInt(digits))
}

const integer = (value: bigint): number | bigint => {
  const n = Number(value)
  return Number.isSafeInteger(n) ? n : value
}
