import { fdatasyncSync, writevSync } from 'node:fs'
import { unitSum } from './checksum.ts'
import { startWriteOut } from './file-ranges.ts'
import type { LogFiles } from './log-files.ts'
import {
  GROUP_BYTES,
  offsetOf,
  SEGMENT_BYTES,
  segmentOf,
  SUM_BYTES,
  sumOffsetOf,
  tailOf,
} from './log-layout.ts'
import { UNIT_BYTES } from './schema.ts'

/** How many units that lie across buffers are gathered before they are written. */
const STAGED_UNITS = 64
/** As many as the kernel takes at once, less one for the checksums. */
const BUFFERS_MAX = 1023

/**
 * Appends whole units to the log. They are written from where they lie, a group at a time, and the disk begins with
 * them at once; they are durable after {@link sync}.
 */
export class LogWriter {
  readonly #files: LogFiles
  readonly #staged = Buffer.allocUnsafeSlow(STAGED_UNITS * UNIT_BYTES)
  readonly #sums = Buffer.alloc(UNIT_BYTES)
  /** What is to be written next, from `#written` on. */
  #buffers: Uint8Array[] = []
  #stagedUnits = 0
  /** Bytes of a unit that is not complete yet. */
  #fill = 0
  #written = 0
  /** Nowhere before the first {@link begin}: a process that died may have left something at whatever end. */
  #end = -1
  #hasNewNames = false
  readonly #touched = new Set<number>()

  constructor(files: LogFiles) {
    this.#files = files
  }

  /** The position of the next unit. */
  get end(): number {
    return this.#end
  }

  /** Begins to append at `end`, and cuts off what somebody may have left there. */
  begin(end: number): void {
    if (this.#end !== end || this.#touched.size > 0 || this.#buffers.length > 0) this.#files.cut(end)
    this.#end = end
    this.#written = end
    this.#fill = 0
    this.#stagedUnits = 0
    this.#buffers = []
    this.#touched.clear()
  }

  /** The bytes of several calls must be whole units in all before {@link sync}, and must not change until then. */
  append(bytes: Uint8Array): void {
    let off = 0
    while (off < bytes.length) {
      const left = bytes.length - off
      if (this.#fill === 0 && left >= UNIT_BYTES) {
        const length = Math.min(left - (left % UNIT_BYTES), GROUP_BYTES - (this.#end % GROUP_BYTES))
        this.#add(bytes.subarray(off, off + length))
        off += length
        continue
      }
      const part = bytes.subarray(off, off + UNIT_BYTES - this.#fill)
      this.#staged.set(part, this.#stagedUnits * UNIT_BYTES + this.#fill)
      this.#fill += part.length
      off += part.length
      if (this.#fill === UNIT_BYTES) this.#addStaged()
    }
  }

  /** What was appended is on disk when this returns. */
  sync(): void {
    this.#write()
    for (const index of this.#touched) fdatasyncSync(this.#files.segment(index))
    if (this.#hasNewNames) this.#files.syncNames()
    this.#hasNewNames = false
    this.#touched.clear()
  }

  #addStaged(): void {
    const unit = this.#stagedUnits * UNIT_BYTES
    this.#fill = 0
    this.#stagedUnits++
    this.#add(this.#staged.subarray(unit, unit + UNIT_BYTES))
    if (this.#stagedUnits === STAGED_UNITS) this.#write()
  }

  /** Whole units of one group. */
  #add(units: Uint8Array): void {
    let at = ((this.#end % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES
    for (let off = 0; off < units.length; off += UNIT_BYTES, at += SUM_BYTES) {
      const unit = units.length === UNIT_BYTES ? units : units.subarray(off, off + UNIT_BYTES)
      this.#sums.writeBigUInt64LE(unitSum(unit, this.#end + off), at)
    }
    this.#buffers.push(units)
    this.#end += units.length
    if (this.#end % GROUP_BYTES === 0 || this.#buffers.length === BUFFERS_MAX) this.#write()
  }

  #write(): void {
    const pos = this.#written
    if (pos === this.#end) return
    const index = segmentOf(pos)
    const fd = pos % SEGMENT_BYTES === 0 ? this.#create(index) : this.#files.segment(index)
    this.#touched.add(index)
    const offset = offsetOf(pos)
    if (pos % GROUP_BYTES === 0) {
      this.#sums.fill(0, ((this.#end - pos) / UNIT_BYTES) * SUM_BYTES)
      writeFully(fd, [this.#sums, ...this.#buffers], sumOffsetOf(pos))
    } else {
      const first = ((pos % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES
      const count = ((this.#end - pos) / UNIT_BYTES) * SUM_BYTES
      writeFully(fd, [this.#sums.subarray(first, first + count)], sumOffsetOf(pos))
      writeFully(fd, this.#buffers, offset)
    }
    startWriteOut(fd, offset, tailOf(this.#end).length - offset)
    this.#written = this.#end
    this.#buffers = []
    this.#stagedUnits = 0
  }

  #create(index: number): number {
    this.#hasNewNames = true
    return this.#files.create(index)
  }
}

/** Writes all of it: a disk that runs full takes a part, and refuses the next. */
function writeFully(fd: number, buffers: readonly Uint8Array[], offset: number): void {
  let left = buffers
  let at = offset
  for (;;) {
    let written = writevSync(fd, left, at)
    at += written
    let done = 0
    while (done < left.length && written >= (left[done]?.length ?? 0)) written -= left[done++]?.length ?? 0
    const next = left[done]
    if (next === undefined) return
    left = [next.subarray(written), ...left.slice(done + 1)]
  }
}
