/**
 * Reads of the log that would wait for the disk. A thread that serves requests starts all of them before it waits for the first: the disk
 * then serves several at once.
 *
 *     warm --a read took as long as the disk takes--> cold --PROBES reads in a row were cached--> warm
 *
 * The kernel is asked whether a read is cached only while cold: the call takes a tenth of the time of a short read.
 */
import { isCached, startReading } from './file-ranges.ts'
import type { LogFiles } from './log-files.ts'
import { offsetOf, SEGMENT_BYTES, segmentOf } from './log-layout.ts'
import { BulkDamageError, type BulkRead } from '../indexed/bulk.ts'

const PROBES = 64
/** A read of cached bytes takes less than this, unless the processor is busy: then some reads are probed needlessly. */
const CACHED_MS = 0.03
const CACHED_MS_PER_MIB = 0.5
const MIB = 1 << 20
/**
 * Maximum length of a read that is started. Longer ones are left to the kernel's read-ahead: that puts them into large pages of its cache,
 * where a request for a range makes one of each 4 KiB.
 */
const SHORT_BYTES = 128 << 10

/** Queries and requests to the kernel about ranges of a file. */
export interface Disk {
  isCached(fd: number, offset: number): boolean
  startReading(fd: number, offset: number, length: number): void
}

export class ColdRanges {
  readonly #files: LogFiles
  readonly #disk: Disk
  /** The number of reads that are still to be probed. */
  #probes = 0

  constructor(files: LogFiles, disk: Disk = { isCached, startReading }) {
    this.#files = files
    this.#disk = disk
  }

  get isWarm(): boolean {
    return this.#probes === 0
  }

  /** To be called while warm, after a read. */
  took(ms: number, reads: readonly BulkRead[]): void {
    if (ms <= CACHED_MS) return
    const bytes = reads.reduce((sum, { into }) => sum + into.length, 0)
    if (ms > CACHED_MS + (bytes / MIB) * CACHED_MS_PER_MIB) this.#probes = PROBES
  }

  /** Starts reads that are not cached; returns whether there were any. To be called while cold, before reads. */
  start(reads: readonly BulkRead[]): boolean {
    let isAny = false
    for (const { pos, into } of reads)
      if (into.length <= SHORT_BYTES && this.#startOne(pos, into.length)) isAny = true
    this.#probes = isAny ? PROBES : this.#probes - 1
    return isAny
  }

  #startOne(pos: number, length: number): boolean {
    const index = segmentOf(pos)
    try {
      if (this.#files.layout(index) === 'frames') return false
      const fd = this.#files.segment(index)
      const offset = offsetOf(pos)
      if (this.#disk.isCached(fd, offset)) return false
      const lastPos = Math.min(pos + length, (index + 1) * SEGMENT_BYTES) - 1
      this.#disk.startReading(fd, offset, offsetOf(lastPos) + 1 - offset)
      return true
    } catch (error) {
      // The read itself reports it.
      if (error instanceof BulkDamageError) return false
      throw error
    }
  }
}
