import type { BulkWriter } from '../indexed/bulk.ts'
import { FRAME_BYTES, frameUp, STORED_FRAME_BYTES, type FrameEncoder } from '../indexed/frame-codec.ts'
import { unitDown } from '../indexed/frame.ts'
import { alignedMemory } from './aligned-memory.ts'
import { startWriteOut } from './file-ranges.ts'
import {
  ENTRY_BYTES,
  entryOffset,
  type FrameEntry,
  frameNumber,
  FRAMES_OFFSET,
  PAGE_BYTES,
  writeEntry,
} from './framed-layout.ts'
import type { LogFiles } from './log-files.ts'
import { SEGMENT_BYTES, segmentOf } from './log-layout.ts'
import { type FrameTotals, readFrameTotals, writeFrameTotals } from './segment-header.ts'
import { SegmentWriter, writeWhole } from './segment-writer.ts'

/** Frames are gathered until they have this length, and written with one call. Shorter writes go through the page cache. */
const OUT_BYTES = 1 << 20

/**
 * Appends frames to the log (framed-layout.ts). They are durable after {@link FramedLogWriter.sync}.
 *
 * Units are gathered into a frame, frames into a run. A run is written past the page cache where the filesystem supports it: its pages
 * but the first and the last one, which it shares with other runs. The next run is gathered during that write. The table's entries are
 * written at the end of the transaction.
 */
export class FramedLogWriter extends SegmentWriter implements BulkWriter {
  readonly #encoder: FrameEncoder
  /** The units of the frame being gathered, unless they are appended all at once. */
  readonly #units = Buffer.allocUnsafeSlow(FRAME_BYTES)
  #fill = 0
  /** The position of that frame. */
  #start = 0
  /** The run being gathered, and one that may be being written. Both begin at a page of the file. */
  #run = alignedMemory(OUT_BYTES + PAGE_BYTES + STORED_FRAME_BYTES)
  #other = alignedMemory(OUT_BYTES + PAGE_BYTES + STORED_FRAME_BYTES)
  /** The offset in the file of the run's memory; what is to be written is in `[runStart, runEnd)` of it. */
  #runOffset = 0
  #runStart = 0
  #runEnd = 0
  /** The segment that is being written to; undefined before the first frame after {@link FramedLogWriter.begin}. */
  #segment: number | undefined
  /** The entries of its new frames, from this number on. */
  #entries: FrameEntry[] = []
  #firstEntry = 0
  #totals: FrameTotals = { unitBytes: 0, storedBytes: 0 }
  /** As given to {@link FramedLogWriter.begin}; -1 before that. */
  #base = -1
  #isDirty = false
  /** Whether the positions from {@link FramedLogWriter.end} on may have been written before. */
  #isReused = true

  constructor(files: LogFiles, encoder: FrameEncoder) {
    super(files)
    this.#encoder = encoder
  }

  get end(): number {
    return this.#start + unitDown(this.#fill)
  }

  begin(end: number): void {
    if (this.#base !== end || this.#isDirty) {
      this.files.cut(end)
      this.#isReused = true
    }
    this.#base = end
    // A transaction begins at a frame boundary.
    this.#start = frameUp(this.positionFor('frames', end))
    this.#fill = 0
    this.#segment = undefined
    this.#entries = []
    this.#isDirty = false
    this.forgetTouched()
  }

  async append(parts: readonly Uint8Array[]): Promise<void> {
    if (this.#isReused) this.#encoder.beginEpoch(this.#start)
    this.#isReused = false
    for (const bytes of parts) {
      for (let off = 0; off < bytes.length;) {
        const part = bytes.subarray(off, off + FRAME_BYTES - this.#fill)
        // A whole frame is encoded from where it is: copying it would take as long as encrypting it.
        const isWhole = part.length === FRAME_BYTES
        if (!isWhole) this.#units.set(part, this.#fill)
        off += part.length
        this.#fill += part.length
        this.#isDirty = true
        if (this.#fill < FRAME_BYTES) continue
        const ending = this.#endFrame(isWhole ? part : this.#units)
        if (ending !== undefined) await ending
      }
    }
  }

  async sync(): Promise<void> {
    if (!this.#isDirty) {
      this.#start = this.#base
      return
    }
    if (this.#fill > 0) await this.#endFrame(this.#units.subarray(0, this.#fill))
    await this.#endSegment()
    this.syncTouched()
    this.#base = this.#start
    this.#isDirty = false
  }

  /** Encodes the units of the frame being gathered. */
  #endFrame(units: Uint8Array): Promise<void> | undefined {
    const index = segmentOf(this.#start)
    if (this.#segment !== index) return this.#beginSegment(index, units)
    const length = this.#encoder.encode(this.#start, units, this.#run.subarray(this.#runEnd))
    this.#entries.push({ offset: this.#runOffset + this.#runEnd, length, isReleased: false })
    this.#totals = {
      unitBytes: this.#totals.unitBytes + this.#fill,
      storedBytes: this.#totals.storedBytes + length,
    }
    this.#runEnd += length
    this.#start += FRAME_BYTES
    this.#fill = 0
    return this.#runEnd < OUT_BYTES ? undefined : this.#write(index, false)
  }

  /** Begins a segment with a frame. */
  async #beginSegment(index: number, units: Uint8Array): Promise<void> {
    await this.#endSegment()
    const isNew = this.#start % SEGMENT_BYTES === 0
    if (isNew) this.create(index, 'frames')
    else this.touch(index)
    const end = isNew ? FRAMES_OFFSET : this.files.tailLength(this.#start)
    this.#totals = readFrameTotals(this.files.segment(index))
    this.#firstEntry = frameNumber(this.#start)
    this.#runStart = end % PAGE_BYTES
    this.#runEnd = this.#runStart
    this.#runOffset = end - this.#runStart
    this.#segment = index
    await this.#endFrame(units)
  }

  async #endSegment(): Promise<void> {
    const index = this.#segment
    if (index === undefined) return
    await this.#write(index, true)
    await this.finishWrite()
    const fd = this.files.segment(index)
    const table = Buffer.alloc(this.#entries.length * ENTRY_BYTES)
    this.#entries.forEach((entry, number) => writeEntry(table, number * ENTRY_BYTES, entry))
    writeWhole(fd, table, entryOffset(this.#firstEntry))
    writeFrameTotals(fd, this.#totals)
    this.#entries = []
    this.#segment = undefined
  }

  /** Writes the run; unless `isLast`, its last page is left for the next one. */
  async #write(index: number, isLast: boolean): Promise<void> {
    await this.finishWrite()
    const run = this.#run
    const offset = this.#runOffset
    const end = this.#runEnd
    const first = this.#runStart === 0 ? 0 : Math.min(PAGE_BYTES, end)
    const last = Math.max(first, end - (end % PAGE_BYTES))
    const fd = this.files.segment(index)
    writeWhole(fd, run.subarray(this.#runStart, first), offset + this.#runStart)
    const direct = last - first < OUT_BYTES / 2 ? undefined : this.files.direct(index)
    if (direct === undefined) {
      writeWhole(fd, run.subarray(first, last), offset + first)
      startWriteOut(fd, offset, last)
    } else {
      this.startDirect(direct, index, run.subarray(first, last), offset + first)
      ;[this.#run, this.#other] = [this.#other, this.#run]
    }
    if (isLast) writeWhole(fd, run.subarray(last, end), offset + last)
    else this.#run.set(run.subarray(last, end))
    this.#runOffset = offset + last
    this.#runStart = 0
    this.#runEnd = end - last
  }
}
