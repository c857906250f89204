/**
 * The layout of a segment with frames (frame-codec.ts). It has the positions of any other segment, but frames have no fixed
 * places: they follow one another without gaps, and a table says where each is.
 *
 * | offset                     | length | is                                                              |
 * |----------------------------|--------|-----------------------------------------------------------------|
 * | 0                          | 4096   | the header (segment-header.ts)                                  |
 * | {@link TABLE_OFFSET} + 8 n | 8      | the entry of frame `n` of the segment                           |
 * | {@link MARK_OFFSET}        | 16     | {@link MARK}: tells the layout where the header is damaged      |
 * | {@link FRAMES_OFFSET}      |        | frames, in the order of their positions                         |
 *
 * | in an entry | length | is, little-endian                                                            |
 * |-------------|--------|------------------------------------------------------------------------------|
 * | 0           | 4      | the offset of the frame in the file; 0 if it was not written                 |
 * | 4           | 2      | its length                                                                   |
 * | 6           | 2      | 1 if it was released: its pages may be holes; otherwise 0                    |
 *
 * Transactions begin at frame boundaries, so a frame belongs to one transaction. Pages may be shared, of the table as well
 * as of frames; log-layout.ts says what is assumed of the disk.
 */
import { FRAME_BYTES, frameDown } from '../indexed/frame-codec.ts'
import { SEGMENT_BYTES } from './log-layout.ts'
import { HEADER_BYTES } from './segment-header.ts'

export const PAGE_BYTES = 4096
export const ENTRY_BYTES = 8
export const TABLE_OFFSET = HEADER_BYTES
export const FRAMES_PER_SEGMENT = SEGMENT_BYTES / FRAME_BYTES
export const MARK_OFFSET = TABLE_OFFSET + FRAMES_PER_SEGMENT * ENTRY_BYTES
export const MARK = Buffer.from('zblkfs frames\0\0\0', 'latin1')
export const FRAMES_OFFSET = MARK_OFFSET + MARK.length

/** A table's entry of a frame. */
export interface FrameEntry {
  readonly offset: number
  readonly length: number
  readonly isReleased: boolean
}

/** The number of the frame with the byte at `pos`, within its segment. */
export const frameNumber = (pos: number): number => (frameDown(pos) % SEGMENT_BYTES) / FRAME_BYTES

/** The offset of a frame's entry in the file. */
export const entryOffset = (number: number): number => TABLE_OFFSET + number * ENTRY_BYTES

/** The entry at an offset of a part of the table; undefined if its frame was not written. */
export function entryAt(table: Buffer, at: number): FrameEntry | undefined {
  const offset = table.readUInt32LE(at)
  if (offset === 0) return undefined
  return { offset, length: table.readUInt16LE(at + 4), isReleased: table.readUInt16LE(at + 6) !== 0 }
}

export function writeEntry(table: Buffer, at: number, { offset, length, isReleased }: FrameEntry): void {
  table.writeUInt32LE(offset, at)
  table.writeUInt16LE(length, at + 4)
  table.writeUInt16LE(isReleased ? 1 : 0, at + 6)
}
