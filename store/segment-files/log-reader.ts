import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { Awaitable } from '../awaitable.ts'
import type { FrameOpener } from '../encryption/frame-seal.ts'
import {
  BulkDamageError,
  type BulkGap,
  type BulkRange,
  type BulkRead,
  type BulkScan,
} from '../indexed/bulk.ts'
import { verifyByReading } from '../indexed/check/verify.ts'
import { GROUP_BYTES, isIntact, SUM_BYTES, UNIT_BYTES, unitDown } from '../indexed/frame.ts'
import type { ColdRanges } from './cold-ranges.ts'
import { FramedReader } from './framed-reader.ts'
import type { LogFiles } from './log-files.ts'
import { offsetOf, SEGMENT_BYTES, segmentOf, sumOffsetOf } from './log-layout.ts'
import type { FrameTotals, SegmentLayout } from './segment-header.ts'
import { CUT_SHORT, readUpTo } from './read-at.ts'

/** Number of groups whose checksums a reader caches: 4 MiB, for 2 GiB of the log. */
const GROUPS_KEPT = 1024

/** Maximum length of a run of reads that is read with one call and then copied out: a block's chunks. */
const SPAN_BYTES = 2 << 20

/** Reads ranges of the log and verifies the checksum of every unit that they touch. */
export class LogReader implements BulkScan {
  readonly #files: LogFiles
  /** Checksums by position of their group. */
  readonly #groups = new LRUCache<number, Buffer>({
    max: GROUPS_KEPT,
    dispose: sums => void (this.#spare = sums),
  })
  #spare: Buffer | undefined
  /** Buffer for a run of reads. */
  #span = Buffer.alloc(0)
  readonly #framed: FramedReader
  readonly #isEncrypted: boolean
  readonly #unit = Buffer.allocUnsafeSlow(UNIT_BYTES)
  readonly #cold: ColdRanges | undefined

  /**
   * @param opener undefined for a database that is not encrypted.
   * @param cold present if other reads can begin while one waits for the disk: if the thread serves requests.
   */
  constructor(files: LogFiles, opener?: FrameOpener, cold?: ColdRanges) {
    this.#files = files
    this.#cold = cold
    this.#framed = new FramedReader(opener)
    this.#isEncrypted = opener !== undefined
  }

  /** Reads in the order of positions; adjacent ranges of the log are read with one call. @throws as {@link BulkReader.read}. */
  read(reads: readonly BulkRead[]): Awaitable<void> {
    const cold = this.#cold
    if (cold === undefined) return this.#readNow(reads)
    if (!cold.isWarm) return cold.start(reads) ? this.#readLater(reads) : this.#readNow(reads)
    const startMs = performance.now()
    this.#readNow(reads)
    cold.took(performance.now() - startMs, reads)
  }

  /** Lets other waiting reads begin first. */
  async #readLater(reads: readonly BulkRead[]): Promise<void> {
    await nextTurn()
    this.#files.assertOpen()
    this.#readNow(reads)
  }

  #readNow(reads: readonly BulkRead[]): void {
    const [only] = reads
    if (reads.length === 1 && only !== undefined) {
      this.readAt(only.pos, only.into)
      return
    }
    const sorted = isAscending(reads) ? reads : reads.toSorted((a, b) => a.pos - b.pos)
    for (let start = 0, end = 0; start < sorted.length; start = end) {
      const first = sorted[start]
      if (first === undefined) return
      let length = first.into.length
      for (end = start + 1; end < sorted.length; end++) {
        const next = sorted[end]
        if (next?.pos !== first.pos + length || length + next.into.length > SPAN_BYTES) break
        length += next.into.length
      }
      if (end === start + 1) this.readAt(first.pos, first.into)
      else this.#readRun(sorted.slice(start, end), first, length)
    }
  }

  segments(): readonly BulkRange[] {
    return this.#files.indexes().map(index => [index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES])
  }

  isAllocated([lo, hi]: BulkRange): boolean {
    return this.#files.isAllocated(lo, hi)
  }

  bytes(): number {
    return this.#files.bytesOnDisk()
  }

  framed(): FrameTotals {
    return this.#files.frameTotals()
  }

  verify(range: BulkRange, everyByte: boolean): Promise<readonly BulkGap[]> {
    return verifyByReading(this, range, everyByte)
  }

  /** Reads adjacent ranges: straight into their memory if that is contiguous too, else through a span. */
  #readRun(run: readonly BulkRead[], { pos, into }: BulkRead, length: number): void {
    if (isOnePiece(run)) {
      this.readAt(pos, new Uint8Array(into.buffer, into.byteOffset, length))
      return
    }
    if (this.#span.length < length) this.#span = Buffer.allocUnsafeSlow(SPAN_BYTES)
    this.readAt(pos, this.#span.subarray(0, length))
    for (const read of run) {
      const off = read.pos - pos
      read.into.set(this.#span.subarray(off, off + read.into.length))
    }
  }

  /** Reads `[pos, pos + target.length)`. @throws BulkDamageError if bytes are missing or differ from what was written. */
  readAt(pos: number, target: Uint8Array): void {
    let off = 0
    while (off < target.length) {
      const at = pos + off
      const left = target.length - off
      if (this.#layout(at) === 'frames') {
        const part = target.subarray(off, off + SEGMENT_BYTES - (at % SEGMENT_BYTES))
        this.#readFrames(at, part)
        off += part.length
      } else if (this.#isEncrypted) {
        throw new BulkDamageError('its bytes in the log are not encrypted')
      } else if (at % UNIT_BYTES !== 0 || left < UNIT_BYTES) {
        const from = at % UNIT_BYTES
        this.#readUnits(at - from, this.#unit)
        const part = this.#unit.subarray(from, from + left)
        target.set(part, off)
        off += part.length
      } else {
        const length = Math.min(unitDown(left), GROUP_BYTES - (at % GROUP_BYTES))
        this.#readUnits(at, target.subarray(off, off + length))
        off += length
      }
    }
  }

  #layout(pos: number): SegmentLayout {
    return this.#files.layout(segmentOf(pos))
  }

  /** Reads positions of one segment. A segment that was removed and created again is reopened. */
  #readFrames(pos: number, target: Uint8Array): void {
    const index = segmentOf(pos)
    try {
      this.#framed.read(this.#files.segment(index), index, pos, target)
    } catch (error) {
      if (!(error instanceof BulkDamageError)) throw error
      this.#framed.forget(index)
      this.#files.closeRemoved(index)
      this.#framed.read(this.#files.segment(index), index, pos, target)
    }
  }

  /** Reads whole units of one group. A segment that was removed and created again is reopened. */
  #readUnits(pos: number, target: Uint8Array): void {
    const index = segmentOf(pos)
    try {
      this.#readOpenUnits(this.#files.segment(index), pos, target)
    } catch (error) {
      if (!(error instanceof BulkDamageError) || !this.#files.closeRemoved(index)) throw error
      this.#readOpenUnits(this.#files.segment(index), pos, target)
    }
  }

  #readOpenUnits(fd: number, pos: number, target: Uint8Array): void {
    if (readUpTo(fd, target, offsetOf(pos)) < target.length) throw new BulkDamageError(CUT_SHORT)
    const group = pos - (pos % GROUP_BYTES)
    const known = this.#groups.get(group)
    if (known !== undefined && isIntact(pos, target, known)) return
    // Not cached, or cached before these units were written.
    const sums = this.#spare ?? Buffer.allocUnsafeSlow(UNIT_BYTES)
    this.#spare = undefined
    const length = readUpTo(fd, sums, sumOffsetOf(group))
    if (length < ((pos - group + target.length) / UNIT_BYTES) * SUM_BYTES)
      throw new BulkDamageError(CUT_SHORT)
    if (!isIntact(pos, target, sums))
      throw new BulkDamageError('the checksum of its bytes in the log differs')
    this.#groups.set(group, sums)
  }
}

const isAscending = (reads: readonly BulkRead[]): boolean =>
  reads.every(({ pos }, index) => pos >= (reads[index - 1]?.pos ?? 0))

/** Whether the reads' memory is contiguous. */
const isOnePiece = (reads: readonly BulkRead[]): boolean =>
  reads.every(({ into }, index) => {
    const last = index === 0 ? undefined : reads[index - 1]?.into
    return (
      last === undefined || (last.buffer === into.buffer && last.byteOffset + last.length === into.byteOffset)
    )
  })
