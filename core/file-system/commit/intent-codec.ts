/**
 * The bytes of intents. An entry of the intent log is {@link MAGIC}, then intents, one after another. Numbers are little-endian.
 *
 * | in an intent | length | is                                      |
 * |--------------|--------|-----------------------------------------|
 * | 0            | 4      | its length, this header included        |
 * | 4            | 1      | its kind                                |
 * | 5            | 1      | n, how many numbers it has              |
 * | 6            | 1      | m, how many strings it has              |
 * | 7            | 1      | 0                                       |
 * | 8            | 8      | the time of the change, signed          |
 * | 16           | 8 n    | the numbers, signed                     |
 * | 16 + 8 n     | 4 m    | the lengths of the strings              |
 * |              |        | the strings                             |
 *
 * | kind | is          | numbers                                                              | strings         |
 * |------|-------------|----------------------------------------------------------------------|-----------------|
 * | 1    | write       | inode, offset                                                        | bytes           |
 * | 2    | create      | directory, inode, mode, uid, gid, rdev                               | name, target    |
 * | 3    | remove      | directory, 1 for a directory                                         | name            |
 * | 4    | rename      | directory, new directory, 1 for an exchange                          | name, new name  |
 * | 5    | link        | inode, directory                                                     | name            |
 * | 6    | setattr     | inode, which are set (bit 0: the first), mode, uid, gid, size, times | none            |
 * | 7    | setxattr    | inode                                                                | name, value     |
 * | 8    | removexattr | inode                                                                | name            |
 * | 9    | allocate    | inode, offset, length, bits: keep size, punch, zero                  | none            |
 * | 10   | copy        | inode, offset, target's inode, offset, length                        | none            |
 */
import { NO_BYTES } from '../../../store/bytes.ts'
import { CannotOpenError } from '../../../store/errors.ts'
import { ino as toIno, name as toName, type Ino, type Name } from '../operations.ts'
import type { Intent, IntentChange, SetAttributes } from './intent.ts'

/** Begins each entry. The first eight bytes of an older version's entry were an inode's number, which is shorter. */
const MAGIC = Buffer.from('zblkop 1', 'latin1')

const HEADER_BYTES = 16

const KINDS = [
  'write',
  'create',
  'remove',
  'rename',
  'link',
  'setattr',
  'setxattr',
  'removexattr',
  'allocate',
  'copy',
] as const satisfies readonly IntentChange['kind'][]

/** In the order of their bits and numbers. */
const ATTRIBUTES = ['mode', 'uid', 'gid', 'size', 'atimeNs', 'mtimeNs', 'ctimeNs'] as const

type Numbers = readonly (number | bigint)[]

/** Begins an entry; returns the offset of its first intent. @param entry must be long enough for the header. */
export const beginEntry = (entry: Buffer): number => MAGIC.copy(entry)

const NUMBER_MAX = 2n ** 63n

/** Whether a change's numbers can be encoded: times before 1677 or after 2262, in nanoseconds, cannot. */
export const isEncodable = (change: IntentChange): boolean =>
  change.kind !== 'setattr' ||
  numbersOf(change).every(
    number => typeof number === 'number' || (number >= -NUMBER_MAX && number < NUMBER_MAX),
  )

/** Writes an intent at an offset of an entry, copying strings. Returns the offset of the next one; undefined if it does not fit. */
export function encodeIntent(
  timeNs: bigint,
  change: IntentChange,
  entry: Buffer,
  start: number,
): number | undefined {
  const numbers = numbersOf(change)
  const strings = stringsOf(change)
  let length = HEADER_BYTES + 8 * numbers.length + 4 * strings.length
  for (const string of strings) length += string.length
  if (start + length > entry.length) return undefined
  entry.writeUInt32LE(length, start)
  entry[start + 4] = KINDS.indexOf(change.kind) + 1
  entry[start + 5] = numbers.length
  entry[start + 6] = strings.length
  entry[start + 7] = 0
  let at = entry.writeBigInt64LE(timeNs, start + 8)
  for (const number of numbers) at = writeNumber(entry, number, at)
  for (const string of strings) at = entry.writeUInt32LE(string.length, at)
  for (const string of strings) {
    entry.set(string, at)
    at += string.length
  }
  return at
}

function writeNumber(entry: Buffer, number: number | bigint, at: number): number {
  if (typeof number === 'bigint') return entry.writeBigInt64LE(number, at)
  entry.writeUInt32LE(number % 2 ** 32, at)
  return entry.writeUInt32LE(Math.floor(number / 2 ** 32), at + 4)
}

/** The intents of an entry. @throws CannotOpenError if it is of another version, or not as this one writes them. */
export function* intentsOf(entry: Uint8Array): Generator<Intent> {
  const bytes = Buffer.from(entry.buffer, entry.byteOffset, entry.length)
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC))
    throw unknown('its entries are of another version of zblkfs: mount the database once with that version')
  for (let at = MAGIC.length; at < bytes.length;) {
    const left = bytes.length - at
    const length = left < HEADER_BYTES ? 0 : bytes.readUInt32LE(at)
    if (length < HEADER_BYTES || length > left) throw unknown('a change has a wrong length')
    yield decodeIntent(bytes.subarray(at, at + length))
    at += length
  }
}

function decodeIntent(bytes: Buffer): Intent {
  const kind = KINDS[(bytes[4] ?? 0) - 1]
  const [numberCount = 0, stringCount = 0] = [bytes[5], bytes[6]]
  let at = HEADER_BYTES + 8 * numberCount + 4 * stringCount
  if (kind === undefined || at > bytes.length) throw unknown('it has a change of an unknown kind')
  const numbers = Array.from({ length: numberCount }, (_, i) => bytes.readBigInt64LE(HEADER_BYTES + 8 * i))
  const strings: Buffer[] = []
  for (let i = 0; i < stringCount; i++) {
    const length = bytes.readUInt32LE(HEADER_BYTES + 8 * numberCount + 4 * i)
    if (at + length > bytes.length) throw unknown('a change has a wrong length')
    strings.push(bytes.subarray(at, (at += length)))
  }
  return { ...changeOf(kind, new Fields(numbers, strings)), timeNs: bytes.readBigInt64LE(8) }
}

function numbersOf(change: IntentChange): Numbers {
  switch (change.kind) {
    case 'write':
      return [change.ino, change.off]
    case 'create':
      return [change.parent, change.ino, change.mode, change.uid, change.gid, change.rdev]
    case 'remove':
      return [change.parent, change.isDirectory ? 1 : 0]
    case 'rename':
      return [change.parent, change.newParent, change.isExchange ? 1 : 0]
    case 'link':
      return [change.ino, change.parent]
    case 'setattr': {
      const { set } = change
      let bits = 0
      for (const [bit, key] of ATTRIBUTES.entries()) if (set[key] !== undefined) bits |= 1 << bit
      return [change.ino, bits, ...ATTRIBUTES.map(key => set[key] ?? 0)]
    }
    case 'setxattr':
    case 'removexattr':
      return [change.ino]
    case 'allocate': {
      const { keepSize, punchHole, zeroRange } = change.mode
      return [
        change.ino,
        change.off,
        change.len,
        Number(keepSize) + 2 * Number(punchHole) + 4 * Number(zeroRange),
      ]
    }
    case 'copy':
      break
  }
  return [change.from, change.fromOff, change.to, change.toOff, change.len]
}

function stringsOf(change: IntentChange): readonly Uint8Array[] {
  switch (change.kind) {
    case 'write':
      return [change.data]
    case 'create':
      return [latin1(change.name), change.target]
    case 'remove':
    case 'link':
    case 'removexattr':
      return [latin1(change.name)]
    case 'rename':
      return [latin1(change.name), latin1(change.newName)]
    case 'setxattr':
      return [latin1(change.name), change.value]
    case 'setattr':
    case 'allocate':
    case 'copy':
      break
  }
  return []
}

function changeOf(kind: IntentChange['kind'], fields: Fields): IntentChange {
  switch (kind) {
    case 'write':
      return { kind, ino: fields.ino(0), off: fields.big(1), data: fields.bytes(0) }
    case 'create':
      return {
        kind,
        parent: fields.ino(0),
        ino: fields.ino(1),
        mode: fields.number(2),
        uid: fields.number(3),
        gid: fields.number(4),
        rdev: fields.number(5),
        name: fields.name(0),
        target: fields.bytes(1),
      }
    case 'remove':
      return { kind, parent: fields.ino(0), isDirectory: fields.number(1) === 1, name: fields.name(0) }
    case 'rename':
      return {
        kind,
        parent: fields.ino(0),
        newParent: fields.ino(1),
        isExchange: fields.number(2) === 1,
        name: fields.name(0),
        newName: fields.name(1),
      }
    case 'link':
      return { kind, ino: fields.ino(0), parent: fields.ino(1), name: fields.name(0) }
    case 'setattr':
      return { kind, ino: fields.ino(0), set: setOf(fields) }
    case 'setxattr':
      return { kind, ino: fields.ino(0), name: fields.text(0), value: fields.bytes(1) }
    case 'removexattr':
      return { kind, ino: fields.ino(0), name: fields.text(0) }
    case 'allocate': {
      const bits = fields.number(3)
      const mode = { keepSize: (bits & 1) !== 0, punchHole: (bits & 2) !== 0, zeroRange: (bits & 4) !== 0 }
      return { kind, ino: fields.ino(0), off: fields.big(1), len: fields.big(2), mode }
    }
    case 'copy':
      break
  }
  const [fromOff, toOff, len] = [fields.big(1), fields.big(3), fields.big(4)]
  return { kind, from: fields.ino(0), fromOff, to: fields.ino(2), toOff, len }
}

function setOf(fields: Fields): SetAttributes {
  const bits = fields.number(1)
  const isSet = (key: (typeof ATTRIBUTES)[number]): boolean => (bits & (1 << ATTRIBUTES.indexOf(key))) !== 0
  return {
    ...(isSet('mode') && { mode: fields.number(2) }),
    ...(isSet('uid') && { uid: fields.number(3) }),
    ...(isSet('gid') && { gid: fields.number(4) }),
    ...(isSet('size') && { size: fields.big(5) }),
    ...(isSet('atimeNs') && { atimeNs: fields.big(6) }),
    ...(isSet('mtimeNs') && { mtimeNs: fields.big(7) }),
    ...(isSet('ctimeNs') && { ctimeNs: fields.big(8) }),
  }
}

/** The numbers and strings of an intent, which may have fewer than its kind needs. */
class Fields {
  readonly #numbers: readonly bigint[]
  readonly #strings: readonly Buffer[]

  constructor(numbers: readonly bigint[], strings: readonly Buffer[]) {
    this.#numbers = numbers
    this.#strings = strings
  }

  big(i: number): bigint {
    const value = this.#numbers[i]
    if (value === undefined) throw unknown('a change lacks a number')
    return value
  }

  number(i: number): number {
    return Number(this.big(i))
  }

  ino(i: number): Ino {
    return toIno(this.number(i))
  }

  bytes(i: number): Uint8Array {
    return this.#strings[i] ?? NO_BYTES
  }

  text(i: number): string {
    return this.#strings[i]?.toString('latin1') ?? ''
  }

  name(i: number): Name {
    return toName(this.text(i))
  }
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

const unknown = (reason: string): CannotOpenError =>
  new CannotOpenError(`the intent log cannot be replayed: ${reason}`, { code: 'damaged' })
