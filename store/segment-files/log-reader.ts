import { readSync } from 'node:fs'
import { LRUCache } from 'lru-cache'
import { unitSum } from './checksum.ts'
import { isReadFailure } from './file-ranges.ts'
import { LogDamageError, type LogFiles } from './log-files.ts'
import { GROUP_BYTES, offsetOf, segmentOf, SUM_BYTES, sumOffsetOf, unitDown } from './log-layout.ts'
import { UNIT_BYTES } from '../sqlite/schema.ts'

/** A reader keeps the checksums of so many groups of units: 4 MiB, for 2 GiB of the log. */
const GROUPS_KEPT = 1024

/** Reads ranges of the log, every unit that is touched checked against its checksum. */
export class LogReader {
  readonly #files: LogFiles
  /** The checksums of groups that were read, by their position. */
  readonly #groups = new LRUCache<number, Buffer>({
    max: GROUPS_KEPT,
    dispose: sums => void (this.#spare = sums),
  })
  #spare: Buffer | undefined
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
    if (!readAt(fd, target, offsetOf(pos))) throw new LogDamageError(CUT_SHORT)
    const group = pos - (pos % GROUP_BYTES)
    const known = this.#groups.get(group)
    if (known !== undefined && isIntact(pos, target, known)) return
    // Not read before, or before these units had theirs.
    const sums = this.#spare ?? Buffer.allocUnsafeSlow(UNIT_BYTES)
    this.#spare = undefined
    const length = readUpTo(fd, sums, sumOffsetOf(group))
    if (length < ((pos - group + target.length) / UNIT_BYTES) * SUM_BYTES) throw new LogDamageError(CUT_SHORT)
    if (!isIntact(pos, target, sums)) throw new LogDamageError('the checksum of its bytes in the log differs')
    this.#groups.set(group, sums)
  }
}

const CUT_SHORT = 'its log file ends before its bytes'

/** Whether units of a group are those that its checksums are of. */
function isIntact(pos: number, units: Uint8Array, sums: Buffer): boolean {
  let at = ((pos % GROUP_BYTES) / UNIT_BYTES) * SUM_BYTES
  for (let off = 0; off < units.length; off += UNIT_BYTES, at += SUM_BYTES)
    if (unitSum(units.subarray(off, off + UNIT_BYTES), pos + off) !== sums.readBigUInt64LE(at)) return false
  return true
}

/** False where the file ends before. @throws LogDamageError where the disk cannot give it. */
const readAt = (fd: number, target: Uint8Array, offset: number): boolean =>
  readUpTo(fd, target, offset) === target.length

/** Returns how many bytes there are; fewer where the file ends. @throws LogDamageError where the disk cannot give them. */
function readUpTo(fd: number, target: Uint8Array, offset: number): number {
  try {
    return readSync(fd, target, 0, target.length, offset)
  } catch (error) {
    if (isReadFailure(error)) throw new LogDamageError('the disk cannot read its bytes (EIO)')
    throw error
  }
}
