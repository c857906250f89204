/** The types of inodes, and that of an inode in a record, read without making an object of it. */
import { constants } from 'node:fs'
import type { Oid, Tid } from '../../store/ids.ts'
import { PACKED, packedMode } from '../objects/packed-attributes.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import * as op from '../objects/pickle/opcodes.ts'
import { ByteString, entry, type PickleValue } from '../objects/pickle/value.ts'
import { decodeRecord, encodeRecord, type DecodedRecord } from '../objects/record.ts'

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK } = constants

/** The types that Linux knows. */
export const TYPES: ReadonlySet<number> = new Set([
  S_IFREG,
  S_IFDIR,
  S_IFLNK,
  S_IFIFO,
  S_IFSOCK,
  S_IFCHR,
  S_IFBLK,
])

/** What a record of an inode begins with, as it is written now: the class, and all that is before the packed attributes. */
const HEAD = headOfRecords()

/** The type in an inode's record. Undefined unless the record is one of an inode as they are written now. @throws CorruptRecordError */
export function typeInRecord(record: Uint8Array, oid: Oid, tid: Tid): number | undefined {
  const mode = modeBehindHead(record) ?? modeIn(decodeRecord(record, oid, tid))
  return mode !== undefined && TYPES.has(mode & S_IFMT) ? mode & S_IFMT : undefined
}

function modeIn({ className, state }: DecodedRecord): number | undefined {
  const data = state instanceof Map ? entry(state, 'data') : undefined
  if (className !== PersistentMapping.CLASS_NAME || !(data instanceof Map)) return undefined
  return packedMode(entry(data, PACKED))
}

/** The mode, for which nothing is decoded. Undefined if the record has another form. */
function modeBehindHead(record: Uint8Array): number | undefined {
  let at = 0
  while (at < HEAD.length) if (record[at] !== HEAD[at++]) return undefined
  if (record[at] !== op.SHORT_BINBYTES) return undefined
  // After the opcode and the length, the mode is the first varint. Of files, directories and links it has three bytes.
  const [low = 0, middle = 0, high = 0xff] = [record[at + 2], record[at + 3], record[at + 4]]
  if (low < 0x80 || middle < 0x80 || high >= 0x80) return undefined
  return (low & 0x7f) | ((middle & 0x7f) << 7) | (high << 14)
}

function headOfRecords(): Uint8Array {
  const attributes = new Map<PickleValue, PickleValue>([
    [PACKED, new ByteString(' ')],
    ['parent', null],
  ])
  const record = encodeRecord(PersistentMapping.CLASS_NAME, new Map([['data', attributes]]))
  return record.slice(0, record.lastIndexOf(op.SHORT_BINBYTES))
}
