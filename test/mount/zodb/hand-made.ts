/** Databases made by hand, as an application's own classes might fill them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ByteString, Ref, Tuple, type PickleValue } from '../../../core/objects/pickle/value.ts'
import { encodeRecord } from '../../../core/objects/record.ts'
import { oid } from '../../../store/ids.ts'
import { HandFile } from '../../tools/zodb-file.ts'
import { temporaryDirectory } from './foreign-paths.ts'

export const MAPPING = 'persistent.mapping.PersistentMapping'
export const ZBIGFILE = 'wendelin.bigfile.file_zodb.ZBigFile'
export const ZBLK0 = 'wendelin.bigfile.file_zodb.ZBlk0'
export const ZBLK1 = 'wendelin.bigfile.file_zodb.ZBlk1'
export const ZDATA = 'wendelin.bigfile.file_zodb.ZData'
export const ZBIGARRAY = 'wendelin.bigarray.array_zodb.ZBigArray'
export const OOTREE = 'BTrees.OOBTree.OOBTree'
export const LOTREE = 'BTrees.LOBTree.LOBTree'
export const LOBUCKET = 'BTrees.LOBTree.LOBucket'
export const IOTREE = 'BTrees.IOBTree.IOBTree'

export const ref = (number: number, className: string): Ref => new Ref(oid(number), className)
export const bytes = (text: string): ByteString => ByteString.key(text)

export const mapping = (entries: Record<string, PickleValue>): Uint8Array =>
  encodeRecord(MAPPING, new Map<PickleValue, PickleValue>([['data', new Map(Object.entries(entries))]]))

/** A tree whose entries are inlined. */
export const tree = (className: string, ...items: readonly PickleValue[]): Uint8Array =>
  encodeRecord(className, new Tuple([new Tuple([new Tuple([new Tuple(items)])])]))

export const bigFile = (blksize: number, blktab: number): Uint8Array =>
  encodeRecord(ZBIGFILE, new Tuple([blksize, ref(blktab, LOTREE)]))

export const data = (className: string, text: string): Uint8Array =>
  encodeRecord(className, Buffer.from(text, 'latin1'))

/** A FileStorage of one transaction. */
export function madeUpFile(records: Readonly<Record<number, Uint8Array>>): string {
  const path = join(temporaryDirectory(), 'Data.fs')
  const file = new HandFile()
  file.add({
    tid: 0x040d_2f7d_0000_0000n,
    records: Object.entries(records).map(([oid, data]) => ({ oid: Number(oid), data })),
  })
  writeFileSync(path, file.bytes)
  return path
}
