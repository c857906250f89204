/**
 * The first 4096 bytes of a segment:
 *
 * | offset | length | is                                                     |
 * |--------|--------|--------------------------------------------------------|
 * | 0      | 16     | "zblkfs log", padded with zeros                        |
 * | 16     | 4      | 1 for groups, 2 for frames (framed-layout.ts); little-endian like all that follows |
 * | 20     | 4      | 0                                                      |
 * | 24     | 8      | the segment's index                                    |
 * | 32     | 16     | the database's id                                      |
 * | 48     | 8      | XXH64 of the bytes before it                           |
 * | 56     | 8      | the bytes of units in its frames                       |
 * | 64     | 8      | the bytes of these frames                              |
 * | 72     | 4024   | zeros                                                  |
 *
 * The log's data has its own checksums, so a damaged header loses nothing. An intact header of another database prevents
 * its bytes from being read as this database's. The two totals are estimates: they are outside the checksum, and writes that no
 * transaction completed may be counted.
 */
import { readSync, writeSync } from 'node:fs'
import { xxh64 } from '../checksum.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import { isReadFailure } from './file-ranges.ts'

/** The length of a header. */
export const HEADER_BYTES = UNIT_BYTES

const MAGIC = 'zblkfs log'
const VERSIONS = { groups: 1, frames: 2 } as const
const VERSION_OFFSET = 16
const INDEX_OFFSET = 24
const ID_OFFSET = 32
const ID_BYTES = 16
const SUM_OFFSET = 48
const TOTALS_OFFSET = 56
const TOTALS_BYTES = 16

/** What a segment consists of after its header. */
export type SegmentLayout = keyof typeof VERSIONS

/** Identifies a segment of a database. */
export interface SegmentHeader {
  /** The database's id, 32 hex digits. */
  readonly id: string
  readonly index: number
  readonly layout: SegmentLayout
}

/** The totals of a segment's frames. */
export interface FrameTotals {
  /** Bytes of units. */
  readonly unitBytes: number
  /** Bytes of the frames that they are stored in. */
  readonly storedBytes: number
}

/** The first bytes of a new segment. */
export function encodeSegmentHeader({ id, index, layout }: SegmentHeader): Buffer {
  const header = Buffer.alloc(UNIT_BYTES)
  header.write(MAGIC, 'latin1')
  header.writeUInt32LE(VERSIONS[layout], VERSION_OFFSET)
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
  const layout = header.readUInt32LE(VERSION_OFFSET) === VERSIONS.frames ? 'frames' : 'groups'
  const found: SegmentHeader = { id: header.toString('hex', ID_OFFSET, ID_OFFSET + ID_BYTES), index, layout }
  header.fill(0, TOTALS_OFFSET, TOTALS_OFFSET + TOTALS_BYTES)
  return header.equals(encodeSegmentHeader(found)) ? found : undefined
}

export function readFrameTotals(fd: number): FrameTotals {
  const bytes = Buffer.alloc(TOTALS_BYTES)
  readSync(fd, bytes, 0, TOTALS_BYTES, TOTALS_OFFSET)
  const [unitBytes, storedBytes] = [Number(bytes.readBigUInt64LE()), Number(bytes.readBigUInt64LE(8))]
  return { unitBytes, storedBytes }
}

export function writeFrameTotals(fd: number, { unitBytes, storedBytes }: FrameTotals): void {
  const bytes = Buffer.alloc(TOTALS_BYTES)
  bytes.writeBigUInt64LE(BigInt(unitBytes))
  bytes.writeBigUInt64LE(BigInt(storedBytes), 8)
  writeSync(fd, bytes, 0, TOTALS_BYTES, TOTALS_OFFSET)
}
