/**
 * ZODB records: an object's class and state as two consecutive pickles that share one memo.
 *
 *     80 03 c module \n name \n q 00 .      80 03 ... .
 *     class pickle                          state pickle
 *
 * Reads all variants that CPython's ZODB has written over the years (Python 2 and 3, protocols 1 to 3, the
 * class alone, `(class, None)` or `((module, name), args)`), and writes the same as ZODB under Python 3. Nothing
 * is ever executed. The two classes with bulk data are parsed without building values, so that a part of a large
 * block can be located and read without the rest: see {@link dataPosition}.
 *
 * Source of the format: ZODB/serialize.py.
 */
import { CorruptRecordError } from '../../store/errors.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import { checkDepth, checkWritable } from './pickle/check-value.ts'
import { PickleError } from './pickle/input.ts'
import { PickleReader } from './pickle/reader.ts'
import { ByteString, Global, Tuple, type PickleValue, type Ref } from './pickle/value.ts'
import { PickleWriter } from './pickle/writer.ts'
import * as op from './pickle/opcodes.ts'

/** The classes whose state is one byte string. */
export const ZDATA = 'wendelin.bigfile.file_zodb.ZData'
export const ZBLK0 = 'wendelin.bigfile.file_zodb.ZBlk0'
export type DataClass = typeof ZDATA | typeof ZBLK0

/** Number of bytes of a record that are enough for {@link dataPosition}. */
export const DATA_HEAD_MAX = 128

/** A record's class and state. */
export interface DecodedRecord {
  /** `module.name`. */
  readonly className: string
  /** For ZData and ZBlk0 a Uint8Array, a view of the record. */
  readonly state: PickleValue
}

/** The data of a ZData or ZBlk0 record: its bytes `[off, off + len)`. */
export interface DataPosition {
  readonly className: DataClass
  readonly off: number
  readonly len: number
}

/** The bytes before and after the data in a record. */
export interface DataFrame {
  readonly head: Uint8Array
  readonly tail: Uint8Array
}

/** The current name of a class: early data has `ZBlk` for ZBlk0, in records and in references to them. */
export const currentClassName = (className: string): string =>
  className === 'wendelin.bigfile.file_zodb.ZBlk' ? ZBLK0 : className

/** Reads a record of any class. @throws CorruptRecordError */
export const decodeRecord = (bytes: Uint8Array, oid: Oid, tid: Tid): DecodedRecord =>
  decode(bytes, oid, tid, checkDepth)

/** As {@link decodeRecord}; a state that {@link encodeRecord} could not write back is damage. @throws CorruptRecordError */
export const decodeWritableRecord = (bytes: Uint8Array, oid: Oid, tid: Tid): DecodedRecord =>
  decode(bytes, oid, tid, checkWritable)

/** As {@link decodeWritableRecord}, with what {@link references} gives. @throws CorruptRecordError */
export function decodeWithReferences(
  bytes: Uint8Array,
  oid: Oid,
  tid: Tid,
): DecodedRecord & { readonly refs: readonly Ref[] } {
  const refs: Ref[] = []
  return { ...decode(bytes, oid, tid, checkWritable, ref => refs.push(ref)), refs }
}

function decode(
  bytes: Uint8Array,
  oid: Oid,
  tid: Tid,
  check: (state: PickleValue) => void,
  onRef: (ref: Ref) => void = () => {},
): DecodedRecord {
  return orCorrupt(oid, tid, () => {
    const reader = readerOf(bytes)
    reader.onRef = onRef
    const className = loadClass(reader)
    if (className === '') throw new PickleError('it does not begin with a class')
    if (isDataClass(className)) {
      const { off, len } = locate(bytes, bytes.length, reader.position)
      return { className, state: bytes.subarray(off, off + len) }
    }
    const state = reader.load()
    if (reader.position !== bytes.length) throw new PickleError('there are bytes after the state')
    check(state)
    return { className, state }
  })
}

/** Memory that all records are written in, and the longest that is kept for the next ones. */
let scratch: Buffer = Buffer.allocUnsafeSlow(16 << 10)
const SCRATCH_MAX_BYTES = 1 << 20

/**
 * Writes a record of a stock class, byte for byte as ZODB under Python 3 does.
 * @param take allocates the result's memory.
 * @throws TypeError for values that a record cannot contain.
 */
export function encodeRecord(
  className: string,
  state: PickleValue,
  take?: (length: number) => Uint8Array,
): Uint8Array {
  const writer = new PickleWriter(scratch).dump(Global.of(className)).dump(state)
  if (writer.scratch.length <= SCRATCH_MAX_BYTES) scratch = writer.scratch
  return writer.bytes(take)
}

/** The data of a ZData or ZBlk0 record: a view of the record. @throws CorruptRecordError */
export function decodeData(bytes: Uint8Array, oid: Oid, tid: Tid): Uint8Array {
  const { off, len } = dataPosition(bytes, bytes.length, oid, tid)
  return bytes.subarray(off, off + len)
}

/**
 * Finds the data of a ZData or ZBlk0 record from the record's beginning.
 * @param bytes the record's first {@link DATA_HEAD_MAX} bytes or more, or all of it if it is shorter.
 * @param total the record's length in bytes.
 * @throws CorruptRecordError
 */
export function dataPosition(bytes: Uint8Array, total: number, oid: Oid, tid: Tid): DataPosition {
  for (const [className, head] of DATA_HEADS)
    if (startsWith(bytes, head))
      return { className, ...orCorrupt(oid, tid, () => locate(bytes, total, head.length)) }
  return orCorrupt(oid, tid, () => {
    const reader = readerOf(bytes)
    const className = loadClass(reader)
    if (!isDataClass(className)) throw new PickleError(`it is a '${className}', not a block or chunk of data`)
    return { className, ...locate(bytes, total, reader.position) }
  })
}

/** Encodes data without trailing zeros as a record, in three pieces; `body` is `data` itself. */
export function encodeData(
  className: DataClass,
  data: Uint8Array,
): DataFrame & { readonly body: Uint8Array } {
  return { ...encodeDataHead(className, data.length), body: data }
}

/** The bytes around `len` bytes of data in a record. @throws RangeError from 4 GiB on */
export function encodeDataHead(className: DataClass, len: number): DataFrame {
  if (!(len <= 0xffff_ffff)) throw new RangeError(`${len} bytes are too many for one record`)
  const classHead = DATA_HEADS.get(className) ?? encodeClass(className)
  const length = Buffer.alloc(len <= 0xff ? 2 : 5)
  length[0] = len <= 0xff ? op.SHORT_BINBYTES : op.BINBYTES
  if (len <= 0xff) length[1] = len
  else length.writeUInt32LE(len, 1)
  return { head: Buffer.concat([classHead, Uint8Array.of(op.PROTO, 3), length]), tail: DATA_TAIL }
}

/** The `module.name` of a record's class; '' if it does not begin with one. The state is not read. */
export function classOfRecord(bytes: Uint8Array): string {
  try {
    return loadClass(readerOf(bytes))
  } catch (error) {
    if (error instanceof PickleError) return ''
    throw error
  }
}

/**
 * The strong references of a record of any class, in order and with repetitions. Excludes weak references and
 * references to other databases. @throws CorruptRecordError
 */
export const references = (bytes: Uint8Array, oid: Oid, tid: Tid): readonly Ref[] =>
  decodeReferences(bytes, oid, tid).refs

/** As {@link references}, with the state, which may be deeper than a program can follow; that of data is undefined. */
export function decodeReferences(
  bytes: Uint8Array,
  oid: Oid,
  tid: Tid,
): { readonly className: string; readonly refs: readonly Ref[]; readonly state?: PickleValue } {
  return orCorrupt(oid, tid, () => {
    const refs: Ref[] = []
    const reader = readerOf(bytes)
    reader.onRef = ref => refs.push(ref)
    const className = loadClass(reader)
    if (isDataClass(className)) {
      locate(bytes, bytes.length, reader.position)
      return { className, refs }
    }
    const state = reader.load()
    if (reader.position !== bytes.length) throw new PickleError('there are bytes after the state')
    return { className, refs, state }
  })
}

const encodeClass = (className: string): Uint8Array => new PickleWriter().dump(Global.of(className)).bytes()

/** The class pickles of today's data records. */
const DATA_HEADS: ReadonlyMap<DataClass, Uint8Array> = new Map([
  [ZDATA, encodeClass(ZDATA)],
  [ZBLK0, encodeClass(ZBLK0)],
])
const DATA_TAIL = Uint8Array.of(op.BINPUT, 1, op.STOP)

/** Length of the head for payloads over 255 bytes. A store may keep it apart, so that reading this much is cheap. */
export const USUAL_HEAD_BYTES = encodeDataHead(ZBLK0, 0xffff).head.length

/** Whether a record's first {@link USUAL_HEAD_BYTES} bytes are enough for {@link dataPosition}. */
export function hasUsualHead(bytes: Uint8Array): boolean {
  for (const head of DATA_HEADS.values()) {
    if (!startsWith(bytes, head) || bytes[head.length] !== op.PROTO) continue
    const opcode = bytes[head.length + 2]
    return opcode === op.BINBYTES || opcode === op.SHORT_BINBYTES
  }
  return false
}

const isDataClass = (className: string): className is DataClass => className === ZDATA || className === ZBLK0

function readerOf(bytes: Uint8Array): PickleReader {
  const reader = new PickleReader(bytes)
  reader.rename = currentClassName
  return reader
}

function startsWith(bytes: Uint8Array, head: Uint8Array): boolean {
  if (bytes.length < head.length) return false
  // Backwards, as the heads differ at their ends.
  for (let i = head.length - 1; i >= 0; i--) if (bytes[i] !== head[i]) return false
  return true
}

/** Reads the class pickle; '' if it is something else. */
function loadClass(reader: PickleReader): string {
  const meta = reader.load()
  const type = meta instanceof Tuple && meta.items.length === 2 ? meta.items[0] : meta
  if (type instanceof Global) return type.className
  if (type instanceof Tuple && type.items.length === 2) {
    const [module = '', name = ''] = type.items.map(textOf)
    if (/^[^\n]+$/.test(module) && /^[^\n.]+$/.test(name)) return currentClassName(`${module}.${name}`)
  }
  return ''
}

const textOf = (value: PickleValue): string =>
  value instanceof ByteString ? value.latin1 : typeof value === 'string' ? value : ''

/** Locates the byte string that is the state pickle at `start`, in a record of `total` bytes. */
function locate(bytes: Uint8Array, total: number, start: number): { off: number; len: number } {
  let pos = start
  if (bytes[pos] === op.PROTO) {
    if ((bytes[pos + 1] ?? 4) > 3) throw new PickleError('its pickle protocol is not known')
    pos += 2
  }
  const byte = (at: number): number => bytes[at] ?? 0
  const opcode = bytes[pos]
  let off: number
  let len: number
  if (opcode === op.SHORT_BINBYTES || opcode === op.SHORT_BINSTRING) {
    off = pos + 2
    len = byte(pos + 1)
  } else if (opcode === op.BINBYTES || opcode === op.BINSTRING) {
    off = pos + 5
    len = (byte(pos + 1) | (byte(pos + 2) << 8) | (byte(pos + 3) << 16) | (byte(pos + 4) << 24)) >>> 0
  } else throw new PickleError('its state is not a string of bytes')
  const tail = total - off - len
  if (off > bytes.length || tail < 1) throw new PickleError('it ends in the middle of its data')
  if (tail !== 1 && tail !== 3 && tail !== 6) throw new PickleError('there are bytes after its data')
  if (bytes.length === total) checkDataTail(bytes, off + len)
  return { off, len }
}

/** Checks the bytes after the data: an optional memo number, then STOP. */
function checkDataTail(bytes: Uint8Array, start: number): void {
  const put = [0, op.STOP, 0, op.BINPUT, 0, 0, op.LONG_BINPUT][bytes.length - start]
  if (bytes[start] !== put || bytes.at(-1) !== op.STOP)
    throw new PickleError('there are bytes after its data')
}

function orCorrupt<T>(oid: Oid, tid: Tid, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof PickleError) throw new CorruptRecordError(oid, tid, error.message, { cause: error })
    throw error
  }
}
