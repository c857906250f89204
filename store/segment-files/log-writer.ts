import type { BulkWriter } from '../indexed/bulk.ts'
import { alignedMemory } from './aligned-memory.ts'
import { Group, GROUP_BYTES, STORED_GROUP_BYTES, SUM_BYTES, sumAt, UNIT_BYTES } from '../indexed/frame.ts'
import { startWriteOut } from './file-ranges.ts'
import { offsetOf, SEGMENT_BYTES, segmentOf, sumOffsetOf } from './log-layout.ts'
import { SegmentWriter, writeWhole } from './segment-writer.ts'

/**
 * Minimum length of a direct write, which bypasses the page cache if the filesystem supports it: bulk data is in the
 * mount's own page cache already, and allocating a page for each unit takes longer than the disk.
 */
const DIRECT_BYTES = 256 << 10

/**
 * Appends whole units to the log, a group at a time. They are durable after {@link LogWriter.sync}.
 *
 * A group is assembled in memory in its stored form, so that one call writes it; the next one is assembled during that
 * call.
 */
export class LogWriter extends SegmentWriter implements BulkWriter {
  /** The group being assembled, and one that may be being written. */
  #group = new Group(alignedMemory(STORED_GROUP_BYTES))
  #other = new Group(alignedMemory(STORED_GROUP_BYTES))
  /** The length of the unit that is not complete yet. */
  #fill = 0
  /** The units before this position are written, or being written. */
  #written = 0
  #end = 0
  /** As given to {@link LogWriter.begin}; -1 before that: a dead process may have left bytes after any end. */
  #base = -1

  /** The position of the next unit. */
  get end(): number {
    return this.#end
  }

  /** Begins to append at `end`, and removes everything after it. No write may be in progress ({@link LogWriter.settle}). */
  begin(end: number): void {
    if (this.#base !== end || this.isTouched || this.#written !== this.#end) this.files.cut(end)
    this.#base = end
    this.#end = this.positionFor('groups', end)
    this.#written = this.#end
    this.#fill = 0
    this.forgetTouched()
  }

  /** The bytes of all calls before a {@link LogWriter.sync} must be whole units in total. */
  async append(parts: readonly Uint8Array[]): Promise<void> {
    for (const bytes of parts) {
      for (let off = 0; off < bytes.length;) {
        const at = (this.#end % GROUP_BYTES) + this.#fill
        const part = bytes.subarray(off, off + GROUP_BYTES - at)
        this.#group.units.set(part, at)
        off += part.length
        this.#fill += part.length
        this.#complete()
        if (this.#end % GROUP_BYTES === 0) await this.#write()
      }
    }
  }

  /** All appended bytes are on disk when this resolves. */
  async sync(): Promise<void> {
    if (!this.isTouched && this.#written === this.#end) {
      this.#end = this.#base
      this.#written = this.#base
      return
    }
    await this.#write()
    await this.finishWrite()
    this.syncTouched()
    this.#base = this.#end
  }

  #complete(): void {
    for (; this.#fill >= UNIT_BYTES; this.#fill -= UNIT_BYTES, this.#end += UNIT_BYTES)
      this.#group.seal(this.#end)
  }

  async #write(): Promise<void> {
    const [pos, end] = [this.#written, this.#end]
    if (pos === end) return
    this.#written = end
    const index = segmentOf(pos)
    if (pos % SEGMENT_BYTES === 0) {
      await this.finishWrite()
      this.create(index, 'groups')
    } else this.touch(index)
    const from = pos % GROUP_BYTES
    const to = from + end - pos
    const sumsEnd = sumAt(end - UNIT_BYTES) + SUM_BYTES
    const { bytes, units } = this.#group
    if (from === 0) {
      bytes.fill(0, sumsEnd, UNIT_BYTES)
      await this.#put(index, bytes.subarray(0, UNIT_BYTES + to), sumOffsetOf(pos))
    } else {
      // The checksums before these belong to another transaction. As this one's first write, none is in progress.
      this.#putBuffered(index, bytes.subarray(sumAt(pos), sumsEnd), sumOffsetOf(pos))
      await this.#put(index, units.subarray(from, to), offsetOf(pos))
    }
  }

  /** Writes bytes of the group, or starts to and switches to the other group. */
  async #put(index: number, bytes: Uint8Array, offset: number): Promise<void> {
    await this.finishWrite()
    const fd = bytes.length < DIRECT_BYTES ? undefined : this.files.direct(index)
    if (fd === undefined) return this.#putBuffered(index, bytes, offset)
    this.startDirect(fd, index, bytes, offset)
    ;[this.#group, this.#other] = [this.#other, this.#group]
  }

  #putBuffered(index: number, bytes: Uint8Array, offset: number): void {
    const fd = this.files.segment(index)
    writeWhole(fd, bytes, offset)
    startWriteOut(fd, offset, bytes.length)
  }
}
