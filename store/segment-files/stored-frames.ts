/** Frames as they are stored, encrypted: read from one log, and appended to another one at the same positions. Neither needs the key. */
import { StoreError } from '../errors.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import { FRAME_BYTES, frameUp, sealedFrameIn, type StoredFrame } from '../indexed/frame-codec.ts'
import {
  ENTRY_BYTES,
  entryAt,
  entryOffset,
  type FrameEntry,
  frameNumber,
  FRAMES_OFFSET,
  FRAMES_PER_SEGMENT,
  writeEntry,
} from './framed-layout.ts'
import { framesEnd, readTable } from './framed-segment.ts'
import type { LogFiles } from './log-files.ts'
import { SEGMENT_BYTES, segmentOf } from './log-layout.ts'
import { readUpTo } from './read-at.ts'
import { readFrameTotals, writeFrameTotals } from './segment-header.ts'
import { SegmentWriter, writeWhole } from './segment-writer.ts'

/** Frames that are adjacent in the file are read with one call, up to this length. */
const RUN_BYTES = 1 << 20

/** Receives a range of positions whose frames cannot be read. */
export type OnUnreadable = (lo: number, hi: number) => void

/**
 * The frames of the positions `[lo, hi)` that were not released, in their order, each verified by its checksum.
 * @param onUnreadable receives what is missing or damaged: no row may refer to it.
 */
export function* storedFrames(
  files: LogFiles,
  lo: number,
  hi: number,
  onUnreadable: OnUnreadable,
): Generator<Buffer> {
  for (let at = frameUp(lo); at < hi; at = (segmentOf(at) + 1) * SEGMENT_BYTES) {
    const end = Math.min(hi, (segmentOf(at) + 1) * SEGMENT_BYTES)
    try {
      yield* framesOfSegment(files, at, end, onUnreadable)
    } catch (error) {
      if (!(error instanceof BulkDamageError)) throw error
      onUnreadable(at, end)
    }
  }
}

function* framesOfSegment(
  files: LogFiles,
  lo: number,
  hi: number,
  onUnreadable: OnUnreadable,
): Generator<Buffer> {
  const index = segmentOf(lo)
  if (files.layout(index) !== 'frames') {
    onUnreadable(lo, hi)
    return
  }
  const table = readTable(files.segment(index), frameNumber(lo), frameNumber(hi - 1) + 1)
  for (let at = 0; at < table.length;) {
    const run = runAt(table, at)
    if (run === undefined) {
      at += ENTRY_BYTES
      continue
    }
    const bytes = Buffer.allocUnsafe(run.bytes)
    const length = readUpTo(files.segment(index), bytes, run.offset)
    yield* verified(
      bytes.subarray(0, length),
      run.lengths,
      lo + (at / ENTRY_BYTES) * FRAME_BYTES,
      onUnreadable,
    )
    at += run.lengths.length * ENTRY_BYTES
  }
}

interface Run {
  readonly offset: number
  readonly bytes: number
  readonly lengths: readonly number[]
}

/** Frames from an entry on that are adjacent in the file, and consecutive; undefined if the first one was not written, or was released. */
function runAt(table: Buffer, at: number): Run | undefined {
  const first = presentAt(table, at)
  if (first === undefined) return undefined
  const lengths: number[] = []
  let bytes = 0
  for (let next: FrameEntry | undefined = first; next !== undefined && bytes + next.length <= RUN_BYTES;) {
    if (next.offset !== first.offset + bytes) break
    lengths.push(next.length)
    bytes += next.length
    next = presentAt(table, at + lengths.length * ENTRY_BYTES)
  }
  return { offset: first.offset, bytes, lengths }
}

function presentAt(table: Buffer, at: number): FrameEntry | undefined {
  const entry = at < table.length ? entryAt(table, at) : undefined
  return entry?.isReleased === false ? entry : undefined
}

/** The bytes of frames of these lengths, the first one at position `pos`, without those that are damaged. */
function* verified(
  bytes: Buffer,
  lengths: readonly number[],
  pos: number,
  onUnreadable: OnUnreadable,
): Generator<Buffer> {
  let [at, from] = [0, 0]
  for (const length of lengths) {
    const frame = sealedFrameIn(bytes.subarray(at, at + length))
    const isSound = frame?.pos === pos && frame.length === length
    if (!isSound) {
      onUnreadable(pos, pos + FRAME_BYTES)
      if (at > from) yield bytes.subarray(from, at)
      from = at + length
    }
    at += length
    pos += FRAME_BYTES
  }
  if (at > from) yield bytes.subarray(from, at)
}

/** The segment that frames are appended to. */
interface Appended {
  readonly index: number
  readonly table: Buffer
  /** The end of its frames in the file. */
  fileEnd: number
  unitBytes: number
  storedBytes: number
}

/** Appends stored frames to a log. They are durable after {@link StoredFrameAppender.finish}. */
export class StoredFrameAppender extends SegmentWriter {
  /** No frame before it may follow. */
  #end = 0
  #segment: Appended | undefined

  /** Discards everything after `end`. */
  begin(end: number): void {
    this.files.cut(end)
    this.#end = frameUp(end)
  }

  /** @throws StoreError `bad-stream` if these are not sound frames in the order of their positions. */
  append(frames: Buffer): void {
    let from = 0
    for (let at = 0; at < frames.length;) {
      const frame = sealedFrameIn(frames.subarray(at))
      if (frame === undefined || frame.pos < this.#end)
        throw new StoreError('this is not a sound stream: a frame of the log is damaged, or out of order', {
          code: 'bad-stream',
        })
      if (this.#segment?.index !== segmentOf(frame.pos)) {
        this.#write(frames.subarray(from, at))
        this.#endSegment()
        this.#segment = this.#begun(segmentOf(frame.pos))
        from = at
      }
      this.#enter(this.#segment, frame, at - from)
      at += frame.length
      this.#end = frame.pos + FRAME_BYTES
    }
    this.#write(frames.subarray(from))
  }

  /** Makes a log that ends at position `end` durable. @throws StoreError `bad-stream` if frames follow it. */
  finish(end: number): void {
    if (this.#end > frameUp(end))
      throw new StoreError('this is not a sound stream: it has frames after its end of the log', {
        code: 'bad-stream',
      })
    if (end > 0) {
      // An open expects an entry for the last position, even if its frame was released.
      const index = segmentOf(end - 1)
      if (this.#segment?.index !== index) {
        this.#endSegment()
        this.#segment = this.#begun(index)
      }
      const segment = this.#segment
      const at = frameNumber(end - 1) * ENTRY_BYTES
      if (entryAt(segment.table, at) === undefined)
        writeEntry(segment.table, at, { offset: segment.fileEnd, length: 0, isReleased: true })
    }
    this.#endSegment()
    this.syncTouched()
  }

  #begun(index: number): Appended {
    if (this.files.indexes().includes(index)) this.touch(index)
    else this.create(index, 'frames')
    const fd = this.files.segment(index)
    if (this.files.layout(index) !== 'frames')
      throw new StoreError('the last file of the log has another form than that of an encrypted database', {
        code: 'damaged-log',
      })
    const table = readTable(fd, 0, FRAMES_PER_SEGMENT)
    const last = Math.floor(table.findLastIndex(byte => byte !== 0) / ENTRY_BYTES)
    const base = index * SEGMENT_BYTES
    const fileEnd =
      last < 0 ? FRAMES_OFFSET : (framesEnd(fd, base + (last + 1) * FRAME_BYTES) ?? FRAMES_OFFSET)
    return { index, table, fileEnd, ...readFrameTotals(fd) }
  }

  /** @param ahead bytes before it that are not written yet. */
  #enter(segment: Appended, { pos, length, unitBytes }: StoredFrame, ahead: number): void {
    const offset = segment.fileEnd + ahead
    writeEntry(segment.table, frameNumber(pos) * ENTRY_BYTES, { offset, length, isReleased: false })
    segment.unitBytes += unitBytes
    segment.storedBytes += length
  }

  #write(bytes: Buffer): void {
    const segment = this.#segment
    if (segment === undefined || bytes.length === 0) return
    writeWhole(this.files.segment(segment.index), bytes, segment.fileEnd)
    segment.fileEnd += bytes.length
  }

  #endSegment(): void {
    const segment = this.#segment
    if (segment === undefined) return
    const fd = this.files.segment(segment.index)
    writeWhole(fd, segment.table, entryOffset(0))
    writeFrameTotals(fd, segment)
    this.#segment = undefined
  }
}
