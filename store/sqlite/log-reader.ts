import { readSync } from 'node:fs'
import { unitSum } from './checksum.ts'
import { isReadFailure } from './file-ranges.ts'
import { LogDamageError, type LogFiles } from './log-files.ts'
import { GROUP_BYTES, offsetOf, segmentOf, SUM_BYTES, sumOffsetOf, unitDown } from './log-layout.ts'
import { UNIT_BYTES } from './schema.ts'

/** Reads ranges of the log, every unit that is touched checked against its checksum. */
export class LogReader {
  readonly #files: LogFiles
  readonly #sums = Buffer.allocUnsafeSlow(UNIT_BYTES)
  readonly #unit = Buffer.allocUnsafeSlow(UNIT_BYTES)

  constructor(files: LogFiles) {
    this.#files = files
  }

  /** Reads `[pos, pos + target.length)`. @throws LogDamageError where bytes are missing or not what was written. */
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
    const sums = this.#sums
    const sumsLength = (target.length / UNIT_BYTES) * SUM_BYTES
    const isThere =
      readAt(fd, target, target.length, offsetOf(pos)) && readAt(fd, sums, sumsLength, sumOffsetOf(pos))
    if (!isThere) throw new LogDamageError('its log file ends before its bytes')
    for (let off = 0, at = 0; off < target.length; off += UNIT_BYTES, at += SUM_BYTES) {
      if (unitSum(target.subarray(off, off + UNIT_BYTES), pos + off) !== sums.readBigUInt64LE(at))
        throw new LogDamageError('the checksum of its bytes in the log differs')
    }
  }
}

/** False where the file ends before. @throws LogDamageError where the disk cannot give it. */
function readAt(fd: number, target: Uint8Array, length: number, offset: number): boolean {
  try {
    return readSync(fd, target, 0, length, offset) === length
  } catch (error) {
    if (isReadFailure(error)) throw new LogDamageError('the disk cannot read its bytes (EIO)')
    throw error
  }
}
