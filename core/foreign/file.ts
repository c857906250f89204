/** A ZBigFile of an external ZODB database. Its size ends with its last block. */
import { BigFile } from '../big-file/big-file.ts'
import type { Connection } from '../objects/connection.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import type { Oid } from '../../store/ids.ts'

export interface ForeignFile {
  readonly object: ZBigFile
  readonly data: BigFile
  /** (last block + 1) * blksize, in bytes. */
  readonly size: bigint
}

/** @throws ObjectNotFoundError; CorruptRecordError if the object is not a ZBigFile. */
export async function openForeignFile(connection: Connection, oid: Oid): Promise<ForeignFile> {
  const object = connection.get(oid, ZBigFile.CLASS_NAME)
  if (!(object instanceof ZBigFile)) throw object.corrupt('it is not a ZBigFile')
  const data = await BigFile.open(connection, object)
  const last = await object.blktab.maxKey()
  if (last !== undefined && last < 0) throw object.corrupt('a block has a negative number')
  return { object, data, size: BigInt((last ?? -1) + 1) * BigInt(data.blksize) }
}
