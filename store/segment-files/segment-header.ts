/**
 * The first 4096 bytes of a segment:
 *
 * | offset | length | is                                                     |
 * |--------|--------|--------------------------------------------------------|
 * | 0      | 16     | "zblkfs log", filled up with zeros                     |
 * | 16     | 4      | the format's version, little-endian like all that follows |
 * | 20     | 4      | 0                                                      |
 * | 24     | 8      | the segment's index                                    |
 * | 32     | 16     | the database's id                                      |
 * | 48     | 8      | XXH64 of the bytes before it                           |
 * | 56     | 4040   | zeros                                                  |
 *
 * The bytes of the log have checksums of their own. A header that is damaged takes nothing from anybody; one that is whole
 * and of another database keeps its bytes from being taken for ours.
 */
import { readSync } from 'node:fs'
import { unitSum } from './checksum.ts'
import { isReadFailure } from './file-ranges.ts'
import { FORMAT_VERSION, UNIT_BYTES } from '../sqlite/schema.ts'

const MAGIC = 'zblkfs log'
const VERSION_OFFSET = 16
const INDEX_OFFSET = 24
const ID_OFFSET = 32
const ID_BYTES = 16
const SUM_OFFSET = 48

/** Whose segment a file is, and which. */
export interface SegmentHeader {
  /** The database's, 32 hex digits. */
  readonly id: string
  readonly index: number
}

/** What a new segment begins with. */
export function encodeSegmentHeader({ id, index }: SegmentHeader): Buffer {
  const header = Buffer.alloc(UNIT_BYTES)
  header.write(MAGIC, 'latin1')
  header.writeUInt32LE(FORMAT_VERSION, VERSION_OFFSET)
  header.writeBigUInt64LE(BigInt(index), INDEX_OFFSET)
  header.write(id, ID_OFFSET, ID_BYTES, 'hex')
  header.writeBigUInt64LE(unitSum(header.subarray(0, SUM_OFFSET), 0), SUM_OFFSET)
  return header
}

/** Reads the header of an open file; undefined where it is damaged, or the disk does not give it. */
export function readSegmentHeader(fd: number): SegmentHeader | undefined {
  const header = Buffer.alloc(UNIT_BYTES)
  try {
    readSync(fd, header, 0, UNIT_BYTES, 0)
  } catch (error) {
    if (isReadFailure(error)) return undefined
    throw error
  }
  const index = Number(header.readBigUInt64LE(INDEX_OFFSET))
  if (!Number.isSafeInteger(index)) return undefined
  const found = { id: header.toString('hex', ID_OFFSET, ID_OFFSET + ID_BYTES), index }
  return header.equals(encodeSegmentHeader(found)) ? found : undefined
}
