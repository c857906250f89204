/** The types of inodes, and that of an inode in a record, read without making an object of it. */
import { constants } from 'node:fs'
import type { Oid, Tid } from '../../store/ids.ts'
import { PACKED, packedMode } from '../objects/packed-attributes.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { entry } from '../objects/pickle/value.ts'
import { decodeRecord } from '../objects/record.ts'

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

/** The type in an inode's record. Undefined unless the record is one of an inode as they are written now. @throws CorruptRecordError */
export function typeInRecord(record: Uint8Array, oid: Oid, tid: Tid): number | undefined {
  const { className, state } = decodeRecord(record, oid, tid)
  const data = state instanceof Map ? entry(state, 'data') : undefined
  if (className !== PersistentMapping.CLASS_NAME || !(data instanceof Map)) return undefined
  const mode = packedMode(entry(data, PACKED))
  return mode !== undefined && TYPES.has(mode & S_IFMT) ? mode & S_IFMT : undefined
}
