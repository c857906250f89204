import { fdatasyncSync, write as writeWithCallback, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { alignedMemory } from './aligned-memory.ts'
import { unitSum } from './checksum.ts'
import { isInvalidArgument, startWriteOut } from './file-ranges.ts'
import type { LogFiles } from './log-files.ts'
import { GROUP_BYTES, offsetOf, SEGMENT_BYTES, segmentOf, SUM_BYTES, sumOffsetOf } from './log-layout.ts'
import { UNIT_BYTES } from '../sqlite/schema.ts'

const write = promisify(writeWithCallback)

/**
 * From this length on bytes go to the disk past the kernel's cache, where the filesystem can do that: what is written in
 * bulk is in the cache of the mount already, and finding a page for each of its units takes longer than the disk does.
 */
const DIRECT_BYTES = 256 << 10

/**
 * Appends whole units to the log, a group at a time. They are durable after {@link sync}.
 *
 * A group is put together in memory, its checksums before it as on disk, so that one call writes it; meanwhile the next one is
 * put together.
 */
export class LogWriter {
  readonly #files: LogFiles
  /** The group that is put together, and one that may be on its way to the disk. */
  #group = new Group()
  #other = new Group()
  /** Resolves when the other group is written; rejects where it cannot be. */
  #underway: Promise<void> | undefined
  /** Bytes of a unit that is not complete yet. */
  #fill = 0
  /** The units before this position are written, or on their way. */
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

  /** Begins to append at `end`, and cuts off what somebody may have left there. Nothing may be on its way ({@link settle}). */
  begin(end: number): void {
    if (this.#end !== end || this.#touched.size > 0 || this.#written !== this.#end) this.#files.cut(end)
    this.#end = end
    this.#written = end
    this.#fill = 0
    this.#touched.clear()
  }

  /** The bytes of several calls must be whole units in all before {@link sync}. */
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

  /** What was appended is on disk when this resolves. */
  async sync(): Promise<void> {
    await this.#write()
    await this.#underway
    for (const index of this.#touched) fdatasyncSync(this.#files.segment(index))
    if (this.#hasNewNames) this.#files.syncNames()
    this.#hasNewNames = false
    this.#touched.clear()
  }

  /** Resolves when nothing is on its way to the disk, whether it has got there or not. */
  async settle(): Promise<void> {
    await this.#underway?.catch(() => undefined)
    this.#underway = undefined
  }

  #complete(): void {
    const { units, sums } = this.#group
    for (; this.#fill >= UNIT_BYTES; this.#fill -= UNIT_BYTES, this.#end += UNIT_BYTES) {
      const at = this.#end % GROUP_BYTES
      sums.setBigUint64(sumAt(this.#end), unitSum(units.subarray(at, at + UNIT_BYTES), this.#end), true)
    }
  }

  async #write(): Promise<void> {
    const [pos, end] = [this.#written, this.#end]
    if (pos === end) return
    this.#written = end
    const index = segmentOf(pos)
    if (pos % SEGMENT_BYTES === 0) {
      await this.#underway
      this.#hasNewNames = true
      this.#files.create(index)
    }
    this.#touched.add(index)
    const from = pos % GROUP_BYTES
    const to = from + end - pos
    const sumsEnd = (to / UNIT_BYTES) * SUM_BYTES
    const { memory, units } = this.#group
    if (from === 0) {
      memory.fill(0, sumsEnd, UNIT_BYTES)
      await this.#put(index, memory.subarray(0, UNIT_BYTES + to), sumOffsetOf(pos))
    } else {
      // The entries before these are another transaction's. This is the first range of this one: nothing is on its way.
      this.#putBuffered(index, memory.subarray(sumAt(pos), sumsEnd), sumOffsetOf(pos))
      await this.#put(index, units.subarray(from, to), offsetOf(pos))
    }
  }

  /** Writes bytes of the group, or begins to: then the next ones go into the other group. */
  async #put(index: number, bytes: Uint8Array, offset: number): Promise<void> {
    await this.#underway
    this.#underway = undefined
    const fd = bytes.length < DIRECT_BYTES ? undefined : this.#files.direct(index)
    if (fd === undefined) return this.#putBuffered(index, bytes, offset)
    this.#underway = this.#putDirect(fd, index, bytes, offset)
    // It is told when it is waited for.
    this.#underway.catch(() => undefined)
    ;[this.#group, this.#other] = [this.#other, this.#group]
  }

  async #putDirect(fd: number, index: number, bytes: Uint8Array, offset: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;)
        done += (await write(fd, bytes, done, bytes.length - done, offset + done)).bytesWritten
    } catch (error) {
      if (!isInvalidArgument(error)) throw error
      this.#files.forgoDirect()
      this.#putBuffered(index, bytes, offset)
    }
  }

  #putBuffered(index: number, bytes: Uint8Array, offset: number): void {
    const fd = this.#files.segment(index)
    // A disk that runs full takes a part, and refuses the next.
    for (let done = 0; done < bytes.length;)
      done += writeSync(fd, bytes, done, bytes.length - done, offset + done)
    startWriteOut(fd, offset, bytes.length)
  }
}

class Group {
  readonly memory = alignedMemory(UNIT_BYTES + GROUP_BYTES)
  readonly units = this.memory.subarray(UNIT_BYTES)
  readonly sums = new DataView(this.memory.buffer, this.memory.byteOffset, UNIT_BYTES)
}

/** Where the checksum of the unit at a position lies among those of its group. */
const sumAt = (pos: number): number => ((pos % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES
