/**
 * Decodes the entries of an IOBucket or LOBucket without an object per reference, for reading a block, which has 17
 * buckets.
 *
 * Records written by Python 3 have a fixed shape, read by one scan:
 *
 *     class  80 03  (  key C 08 oid q  c class q | h class  86 q Q  ...  t q   [C 08 oid q h 00 86 q Q 86] q .
 *
 * in which memo numbers ascend by one. At the first byte that does not match, the general reader takes over, which
 * reads every variant and reports damage.
 */
import { CorruptRecordError } from '../../store/errors.ts'
import { oid as toOid, type Oid, type Tid } from '../../store/ids.ts'
import * as op from './pickle/opcodes.ts'
import { Ref, Tuple } from './pickle/value.ts'
import { currentClassName, decodeRecord, encodeRecord } from './record.ts'

/** A bucket: `keys[i]` refers to the object `oids[i]` of class `classNames[i]`. */
export interface BucketEntries {
  readonly keys: readonly number[]
  readonly oids: readonly Oid[]
  readonly classNames: readonly string[]
  /** The next bucket. */
  readonly next: Oid | undefined
}

const CLASSES = ['BTrees.IOBTree.IOBucket', 'BTrees.LOBTree.LOBucket']
/** The beginning of a bucket's record, without the state `None` and the STOP. */
const HEADS = CLASSES.map(name => encodeRecord(name, null).subarray(0, -2))

/** Reads a bucket's record. @throws CorruptRecordError, for records of other classes too */
export function decodeBucket(bytes: Uint8Array, oid: Oid, tid: Tid): BucketEntries {
  const head = HEADS.find(head => head.every((byte, i) => bytes[i] === byte))
  const scanned = head === undefined ? undefined : new BucketScan(bytes, head.length).run()
  return scanned ?? decodeAnyBucket(bytes, oid, tid)
}

function decodeAnyBucket(bytes: Uint8Array, oid: Oid, tid: Tid): BucketEntries {
  const { className, state } = decodeRecord(bytes, oid, tid)
  const fail = (reason: string): never => {
    throw new CorruptRecordError(oid, tid, reason)
  }
  if (!CLASSES.includes(className)) return fail(`it is a ${className}, not a bucket`)
  const [flat, next] = state instanceof Tuple ? state.items : []
  if (!(state instanceof Tuple) || state.items.length > 2 || !(flat instanceof Tuple))
    return fail("its state is not a bucket's")
  if (next !== undefined && !(next instanceof Ref)) return fail('its next bucket is not a reference')
  const keys: number[] = []
  const oids: Oid[] = []
  const classNames: string[] = []
  for (let i = 0; i < flat.items.length; i += 2) {
    const key = flat.items[i]
    const value = flat.items[i + 1]
    if (typeof key !== 'number' || !(value instanceof Ref))
      return fail('an entry is not a number and a reference')
    keys.push(key)
    oids.push(value.oid)
    classNames.push(value.className)
  }
  return { keys, oids, classNames, next: next?.oid }
}

class BucketScan {
  readonly #bytes: Uint8Array
  #pos: number
  /** The next memo number: the class took 0. */
  #memo = 1
  readonly #keys: number[] = []
  readonly #oids: Oid[] = []
  readonly #classNames: string[] = []
  /** Memo numbers of classes and, at the same index, their names. */
  readonly #classMemos: number[] = []
  readonly #classes: string[] = []

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes
    this.#pos = start
  }

  /** The bucket; undefined if the record has another shape. */
  run(): BucketEntries | undefined {
    if (!this.#entries()) return undefined
    let next: Oid | undefined
    if (!this.#is(op.TUPLE1)) {
      next = this.#oid()
      if (next === undefined || !this.#is(op.BINGET) || !this.#is(0)) return undefined
      if (!this.#is(op.TUPLE2) || !this.#put() || !this.#is(op.BINPERSID) || !this.#is(op.TUPLE2))
        return undefined
    }
    if (!this.#put() || !this.#is(op.STOP) || this.#pos !== this.#bytes.length) return undefined
    return { keys: this.#keys, oids: this.#oids, classNames: this.#classNames, next }
  }

  /** Scans the tuple of keys and references. */
  #entries(): boolean {
    if (this.#is(op.EMPTY_TUPLE)) return true
    if (!this.#is(op.MARK)) return this.#entry() && this.#is(op.TUPLE2) && this.#put()
    while (!this.#is(op.TUPLE)) if (!this.#entry()) return false
    return this.#put()
  }

  #entry(): boolean {
    const key = this.#key()
    const oid = key === undefined ? undefined : this.#oid()
    const className = oid === undefined ? undefined : this.#class()
    if (key === undefined || oid === undefined || className === undefined) return false
    this.#keys.push(key)
    this.#oids.push(oid)
    this.#classNames.push(className)
    return this.#is(op.TUPLE2) && this.#put() && this.#is(op.BINPERSID)
  }

  #key(): number | undefined {
    const opcode = this.#byte()
    if (opcode === op.BININT1) return this.#byte()
    const low = this.#byte() | (this.#byte() << 8)
    if (opcode === op.BININT2) return low
    if (opcode === op.BININT) return low | (this.#byte() << 16) | (this.#byte() << 24)
    return undefined
  }

  #oid(): Oid | undefined {
    if (!this.#is(op.SHORT_BINBYTES) || !this.#is(8)) return undefined
    const high = this.#u32()
    const low = this.#u32()
    return this.#put() && high < 0x20_0000 ? toOid(high * 2 ** 32 + low) : undefined
  }

  #class(): string | undefined {
    if (this.#is(op.BINGET)) return this.#classes[this.#classMemos.indexOf(this.#byte())]
    if (!this.#is(op.GLOBAL)) return undefined
    const module = this.#line()
    const name = this.#line()
    this.#classMemos.push(this.#memo)
    const className = currentClassName(`${module}.${name}`)
    this.#classes.push(className)
    return module !== '' && name !== '' && !name.includes('.') && this.#put() ? className : undefined
  }

  /** A line of ASCII; '' if it is something else. */
  #line(): string {
    let line = ''
    for (;;) {
      const byte = this.#byte()
      if (byte === 0x0a) return line
      if (byte < 0x20 || byte > 0x7e) return ''
      line += String.fromCharCode(byte)
    }
  }

  /** The next byte, -1 at the end. */
  #byte(): number {
    return this.#bytes[this.#pos++] ?? -1
  }

  #u32(): number {
    return ((this.#byte() << 24) | (this.#byte() << 16) | (this.#byte() << 8) | this.#byte()) >>> 0
  }

  #is(byte: number): boolean {
    if (this.#bytes[this.#pos] !== byte) return false
    this.#pos++
    return true
  }

  /** Scans a BINPUT of the next memo number. */
  #put(): boolean {
    const index = this.#memo++
    if (index <= 0xff) return this.#is(op.BINPUT) && this.#is(index)
    return (
      this.#is(op.LONG_BINPUT) &&
      this.#is(index & 0xff) &&
      this.#is(index >>> 8) &&
      this.#is(0) &&
      this.#is(0)
    )
  }
}
