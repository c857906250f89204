/**
 * Writes pickles of protocol 3, byte for byte as Python 3's zodbpickle does for ZODB.
 *
 * Python writes an object that it meets again as a reference to the memo (BINGET), and compares objects by
 * identity. So does this writer for Tuples, arrays, Maps and ByteStrings. It compares by content what Python shares:
 * - classes;
 * - an oid: every reference to an object carries the object's own `_p_oid`;
 * - text: the names in states are interned.
 */
import type { Oid } from '../../../store/ids.ts'
import { ByteString, Float, Global, Ref, Tuple, type PickleValue } from './value.ts'
import { encodeText } from './text.ts'
import { DEPTH_MAX } from './check-value.ts'
import * as op from './opcodes.ts'

/** Maximum number of characters that are written one by one. */
const LOOP_MAX = 100

/** Maximum number of items of a SETITEMS or APPENDS. */
const BATCH = 1000

// oxlint-disable-next-line no-control-regex -- control characters are ASCII too
const ASCII = /^[\0-\x7f]*$/

export class PickleWriter {
  #buffer: Buffer
  #length = 0
  #memoized = 0
  #depth = 0
  /** Memo numbers of objects, and of values shared by content. */
  readonly #objects = new Map<object, number>()
  readonly #oids = new Map<Oid, number>()
  readonly #classes = new Map<string, number>()
  readonly #texts = new Map<string, number>()

  /** @param scratch memory to write in; more is allocated if it does not suffice ({@link PickleWriter.scratch}). */
  constructor(scratch: Buffer = Buffer.allocUnsafe(1024)) {
    this.#buffer = scratch
  }

  /** Appends a pickle of `value`. @throws TypeError for a value that cannot be pickled. */
  dump(value: PickleValue): this {
    this.#op(op.PROTO)
    this.#op(3)
    this.#save(value)
    this.#op(op.STOP)
    return this
  }

  /** A copy of the bytes written. @param take allocates its memory; by default short results share an allocation. */
  bytes(take: (length: number) => Uint8Array = length => Buffer.allocUnsafe(length)): Uint8Array {
    const bytes = take(this.#length)
    bytes.set(this.#buffer.subarray(0, this.#length))
    return bytes
  }

  /** The memory that it writes in. */
  get scratch(): Buffer {
    return this.#buffer
  }

  #save(value: PickleValue): void {
    if (value === null) this.#op(op.NONE)
    else if (typeof value === 'boolean') this.#op(value ? op.NEWTRUE : op.NEWFALSE)
    else if (typeof value === 'number' || typeof value === 'bigint') this.#saveInteger(value)
    else if (typeof value === 'string') this.#saveText(value)
    else if (value instanceof Ref) this.#saveRef(value)
    else if (value instanceof Global) this.#saveClass(value.className, value)
    else if (value instanceof Float) this.#saveFloat(value)
    else if (value instanceof ByteString) this.#saveByteString(value)
    else if (value instanceof Uint8Array) this.#saveBytes(value)
    else this.#saveContainer(value)
  }

  #saveContainer(value: PickleValue): void {
    if (++this.#depth > DEPTH_MAX) throw new TypeError(`values are nested more than ${DEPTH_MAX} deep`)
    if (value instanceof Tuple) {
      if (value.items.length === 0) this.#op(op.EMPTY_TUPLE)
      else this.#saveTuple(value)
    } else if (value instanceof Map) this.#saveMap(value)
    else if (Array.isArray(value)) this.#saveList(value)
    else throw new TypeError('an object of an unknown class cannot be written')
    this.#depth--
  }

  #saveInteger(value: number | bigint): void {
    if (typeof value === 'number' && !Number.isSafeInteger(value))
      throw new TypeError(`${value} is not an integer: use Float or bigint`)
    if (value >= 0 && value <= 0xff) this.#number(op.BININT1, Number(value), 1)
    else if (value >= 0 && value <= 0xffff) this.#number(op.BININT2, Number(value), 2)
    else if (value >= -0x8000_0000 && value <= 0x7fff_ffff) this.#number(op.BININT, Number(value), 4)
    else this.#saveLong(BigInt(value))
  }

  /** LONG1: the shortest little-endian two's complement. */
  #saveLong(value: bigint): void {
    if (BigInt.asIntN(64, value) === value) return this.#saveInt64(value)
    const magnitude = value < 0n ? ~value : value
    const len = Math.floor(magnitude.toString(2).length / 8) + 1
    if (len > 0xff) throw new TypeError('an int of more than 254 bytes cannot be written')
    const hex = BigInt.asUintN(len * 8, value).toString(16)
    this.#number(op.LONG1, len, 1)
    this.#raw(Buffer.from(hex.padStart(len * 2, '0'), 'hex').toReversed())
  }

  /** For times, mostly. */
  #saveInt64(value: bigint): void {
    this.#reserve(10)
    const start = this.#length + 2
    this.#buffer.writeBigInt64LE(value, start)
    // Trailing bytes that repeat the sign are omitted.
    const sign = value < 0n ? 0xff : 0
    let len = 8
    const byte = (at: number): number => this.#buffer[start + at] ?? 0
    while (len > 1 && byte(len - 1) === sign && (byte(len - 2) & 0x80) === (sign & 0x80)) len--
    this.#number(op.LONG1, len, 1)
    this.#length += len
  }

  #saveFloat(value: Float): void {
    this.#op(op.BINFLOAT)
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeDoubleBE(value.value)
    this.#raw(bytes)
  }

  #saveText(text: string): void {
    if (this.#isMemoized(this.#texts, text)) return
    if (ASCII.test(text)) {
      this.#number(op.BINUNICODE, text.length, 4)
      this.#characters(text)
    } else {
      const bytes = encodeText(text)
      this.#number(op.BINUNICODE, bytes.length, 4)
      this.#raw(bytes)
    }
    this.#memoize(this.#texts, text)
  }

  #saveByteString(value: ByteString): void {
    if (this.#isMemoized(this.#objects, value)) return
    this.#bytesOf(value.latin1.length)
    this.#characters(value.latin1)
    this.#memoize(this.#objects, value)
  }

  #saveBytes(value: Uint8Array): void {
    if (this.#isMemoized(this.#objects, value)) return
    this.#bytesOf(value.length)
    this.#raw(value)
    this.#memoize(this.#objects, value)
  }

  /** Writes the opcode and length before a byte string. */
  #bytesOf(length: number): void {
    if (length <= 0xff) this.#number(op.SHORT_BINBYTES, length, 1)
    else this.#number(op.BINBYTES, length, 4)
  }

  #saveClass(className: string, global?: Global): void {
    if (this.#isMemoized(this.#classes, className)) return
    const { module, name } = global ?? Global.of(className)
    const lines = `${module}\n${name}\n`
    this.#op(op.GLOBAL)
    if (ASCII.test(lines)) this.#characters(lines)
    else this.#raw(encodeText(lines))
    this.#memoize(this.#classes, className)
  }

  /** The tuple of a reference is new each time, so it takes a memo number that is never referred to. */
  #saveRef({ oid, className }: Ref): void {
    if (!this.#isMemoized(this.#oids, oid)) {
      this.#saveOid(oid)
      this.#memoize(this.#oids, oid)
    }
    if (className !== '') {
      this.#saveClass(className)
      this.#op(op.TUPLE2)
      this.#put()
    }
    this.#op(op.BINPERSID)
  }

  #saveOid(oid: Oid): void {
    this.#number(op.SHORT_BINBYTES, 8, 1)
    this.#reserve(8)
    this.#buffer.writeUInt32BE(Math.floor(oid / 2 ** 32), this.#length)
    this.#buffer.writeUInt32BE(oid >>> 0, this.#length + 4)
    this.#length += 8
  }

  #saveTuple(tuple: Tuple): void {
    if (this.#isMemoized(this.#objects, tuple)) return
    const { items } = tuple
    if (items.length > 3) this.#op(op.MARK)
    for (const item of items) this.#save(item)
    this.#op(items.length > 3 ? op.TUPLE : op.TUPLE1 + items.length - 1)
    this.#memoize(this.#objects, tuple)
  }

  #saveList(list: readonly PickleValue[]): void {
    if (this.#isMemoized(this.#objects, list)) return
    this.#op(op.EMPTY_LIST)
    this.#memoize(this.#objects, list)
    if (list.length === 1) {
      for (const item of list) this.#save(item)
      this.#op(op.APPEND)
      return
    }
    for (let start = 0; start < list.length; start += BATCH) {
      this.#op(op.MARK)
      for (const item of list.slice(start, start + BATCH)) this.#save(item)
      this.#op(op.APPENDS)
    }
  }

  #saveMap(map: ReadonlyMap<PickleValue, PickleValue>): void {
    if (this.#isMemoized(this.#objects, map)) return
    this.#op(op.EMPTY_DICT)
    this.#memoize(this.#objects, map)
    if (map.size === 0) return
    const batched = map.size > 1
    let count = 0
    for (const [key, value] of map) {
      if (batched && count % BATCH === 0) this.#op(op.MARK)
      this.#save(key)
      this.#save(value)
      count++
      if (batched && count % BATCH === 0) this.#op(op.SETITEMS)
    }
    if (!batched) this.#op(op.SETITEM)
    else {
      // Python does not know in advance that a batch is the last: a full one is followed by an empty one.
      if (count % BATCH === 0) this.#op(op.MARK)
      this.#op(op.SETITEMS)
    }
  }

  /** Whether this was written before; if so, writes a reference to it. */
  #isMemoized<K>(memo: ReadonlyMap<K, number>, key: K): boolean {
    const index = memo.get(key)
    if (index === undefined) return false
    this.#get(index)
    return true
  }

  #memoize<K>(memo: Map<K, number>, key: K): void {
    memo.set(key, this.#put())
  }

  #put(): number {
    const index = this.#memoized++
    if (index <= 0xff) this.#number(op.BINPUT, index, 1)
    else this.#number(op.LONG_BINPUT, index, 4)
    return index
  }

  #get(index: number): void {
    if (index <= 0xff) this.#number(op.BINGET, index, 1)
    else this.#number(op.LONG_BINGET, index, 4)
  }

  #op(opcode: number): void {
    this.#reserve(1)
    this.#buffer[this.#length++] = opcode
  }

  /** An opcode and its little-endian argument of `len` bytes. */
  #number(opcode: number, value: number, len: 1 | 2 | 4): void {
    this.#reserve(5)
    this.#buffer[this.#length++] = opcode
    for (let shift = 0; shift < len * 8; shift += 8) this.#buffer[this.#length++] = value >>> shift
  }

  #raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** Writes one byte per character. For short texts a loop is faster than a call of Node. */
  #characters(text: string): void {
    this.#reserve(text.length)
    if (text.length > LOOP_MAX) this.#length += this.#buffer.write(text, this.#length, 'latin1')
    else for (let i = 0; i < text.length; i++) this.#buffer[this.#length++] = text.charCodeAt(i)
  }

  #reserve(len: number): void {
    if (this.#length + len <= this.#buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + len))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}
