import { readSync } from 'node:fs'
import { LRUCache } from 'lru-cache'
import { BulkDamageError } from '../indexed/bulk.ts'
import { GROUP_BYTES, isIntact, SUM_BYTES, UNIT_BYTES, unitDown } from '../indexed/frame.ts'
import { isReadFailure } from './file-ranges.ts'
import type { LogFiles } from './log-files.ts'
import { offsetOf, segmentOf, sumOffsetOf } from './log-layout.ts'

/** Groups whose checksums a reader caches: 4 MiB, for 2 GiB of the log. */
const GROUPS_KEPT = 1024

/** Reads ranges of the log and verifies the checksum of every unit that they touch. */
export class LogReader {
  readonly #files: LogFiles
  /** The checksums of groups that were read, by the group's position. */
  readonly #groups = new LRUCache<number, Buffer>({
    max: GROUPS_KEPT,
    dispose: sums => void (this.#spare = sums),
  })
  #spare: Buffer | undefined
  readonly #unit = Buffer.allocUnsafeSlow(UNIT_BYTES)

  constructor(files: LogFiles) {
    this.#files = files
  }

  /** Reads `[pos, pos + target.length)`. @throws BulkDamageError where bytes are missing or not what was written. */
  read(pos: number, target: Uint8Array): void {
    let off = 0
    while (off < target.length) {
      const at = pos + off
      const left = target.length - off
      if (at % UNIT_BYTES !== 0 || left < UNIT_BYTES) {
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

  /** Whole units of one group. */
  #readUnits(pos: number, target: Uint8Array): void {
    const fd = this.#files.segment(segmentOf(pos))
    if (!readAt(fd, target, offsetOf(pos))) throw new BulkDamageError(CUT_SHORT)
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

const CUT_SHORT = 'its log file ends before its bytes'

/** False where the file is too short. @throws BulkDamageError where the disk cannot read it. */
const readAt = (fd: number, target: Uint8Array, offset: number): boolean =>
  readUpTo(fd, target, offset) === target.length

/** Returns the number of bytes read; less than asked where the file ends. @throws BulkDamageError where the disk cannot read them. */
function readUpTo(fd: number, target: Uint8Array, offset: number): number {
  try {
    return readSync(fd, target, 0, target.length, offset)
  } catch (error) {
    if (isReadFailure(error)) throw new BulkDamageError('the disk cannot read its bytes (EIO)')
    throw error
  }
}
