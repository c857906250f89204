/**
 * The first 4096 bytes of a segment:
 *
 * | offset | length | is                                                     |
 * |--------|--------|--------------------------------------------------------|
 * | 0      | 16     | "zblkfs log", padded with zeros                        |
 * | 16     | 4      | the format's version, little-endian like all that follows |
 * | 20     | 4      | 0                                                      |
 * | 24     | 8      | the segment's index                                    |
 * | 32     | 16     | the database's id                                      |
 * | 48     | 8      | XXH64 of the bytes before it                           |
 * | 56     | 4040   | zeros                                                  |
 *
 * The log's data has its own checksums, so a damaged header loses nothing. An intact header of another database prevents
 * its bytes from being read as this database's.
 */
import { readSync } from 'node:fs'
import { xxh64 } from '../checksum.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import { isReadFailure } from './file-ranges.ts'

/** The length of a header. */
export const HEADER_BYTES = UNIT_BYTES

const MAGIC = 'zblkfs log'
/** The version of the segment format. 1: the first. */
const VERSION = 1
const VERSION_OFFSET = 16
const INDEX_OFFSET = 24
const ID_OFFSET = 32
const ID_BYTES = 16
const SUM_OFFSET = 48

/** Identifies a segment of a database. */
export interface SegmentHeader {
  /** The database's id, 32 hex digits. */
  readonly id: string
  readonly index: number
}

/** The first bytes of a new segment. */
export function encodeSegmentHeader({ id, index }: SegmentHeader): Buffer {
  const header = Buffer.alloc(UNIT_BYTES)
  header.write(MAGIC, 'latin1')
  header.writeUInt32LE(VERSION, VERSION_OFFSET)
  header.writeBigUInt64LE(BigInt(index), INDEX_OFFSET)
  header.write(id, ID_OFFSET, ID_BYTES, 'hex')
  header.writeBigUInt64LE(xxh64(header.subarray(0, SUM_OFFSET)), SUM_OFFSET)
  return header
}

/** Reads the header of an open file; undefined if it is damaged, or the disk cannot read it. */
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
