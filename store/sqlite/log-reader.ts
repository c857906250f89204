import type { Database, Statement } from 'better-sqlite3'
import { unitsAreIntact } from './checksum.ts'
import { EXTENT_BYTES, UNIT_BYTES } from './schema.ts'
import { madeGarbage } from './young-garbage.ts'

/** An extent, or those of its units that were asked for, `from` bytes from its start on. */
type ExtentRow = [pos: number, sums: Buffer, bytes: Buffer, from: number]

/** A range of the log cannot be given. The caller knows whose bytes they are. */
export class LogDamageError extends Error {
  override readonly name = 'LogDamageError'
}

/** Up to this length only the units that are needed are read; beyond it whole extents cost less. */
const PART_BYTES = EXTENT_BYTES

/** Bytes `[start, start + bytes.length)` of the log, checked. */
interface Piece {
  readonly start: number
  readonly bytes: Buffer
}

/** Consecutive bytes of the log, read at once and copied out of it in parts. */
export class LogSpan {
  readonly #pieces: readonly Piece[]
  /** Where the last search ended: callers ask in ascending order. */
  #next = 0

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces
  }

  /** Copies `[pos, pos + len)` to `target` at `off`. @throws LogDamageError where bytes are missing. */
  copy(pos: number, len: number, target: Uint8Array, off: number): void {
    let done = 0
    let index = this.#next
    if ((this.#pieces[index]?.start ?? 0) > pos) index = 0
    for (; done < len; index++) {
      const piece = this.#pieces[index]
      if (piece === undefined || piece.start > pos + done) throw new LogDamageError('bytes are missing')
      const from = pos + done - piece.start
      if (from >= piece.bytes.length) continue
      const to = Math.min(piece.bytes.length, from + len - done)
      target.set(
        from === 0 && to === piece.bytes.length ? piece.bytes : piece.bytes.subarray(from, to),
        off + done,
      )
      done += to - from
      this.#next = index
    }
  }
}

/** Reads ranges of the log, every byte checked against its unit's checksum. */
export class LogReader {
  readonly #whole: Statement<[number, number], ExtentRow>
  readonly #part: Statement<[number, number], ExtentRow>

  constructor(db: Database) {
    this.#whole = db
      .prepare<[number, number], ExtentRow>(
        'SELECT pos, sums, bytes, 0 FROM log WHERE pos > ? AND pos < ? ORDER BY pos',
      )
      .raw(true)
    const firstUnit = `max(lo - pos, 0) / ${UNIT_BYTES} * ${UNIT_BYTES}`
    const unitsEnd = `(hi - pos + ${UNIT_BYTES - 1}) / ${UNIT_BYTES} * ${UNIT_BYTES}`
    this.#part = db
      .prepare<[number, number], ExtentRow>(
        `SELECT pos, sums, substr(bytes, 1 + ${firstUnit}, ${unitsEnd} - ${firstUnit}), ${firstUnit}
         FROM (SELECT CAST(? AS INTEGER) AS lo, CAST(? AS INTEGER) AS hi) CROSS JOIN log
         WHERE pos > lo - ${EXTENT_BYTES} AND pos < hi ORDER BY pos`,
      )
      .raw(true)
  }

  /** Reads `[pos, pos + len)`. @throws LogDamageError where a checksum differs. */
  read(pos: number, len: number): LogSpan {
    madeGarbage(len)
    const end = pos + len
    const rows = len <= PART_BYTES ? this.#part.all(pos, end) : this.#whole.all(pos - EXTENT_BYTES, end)
    const pieces: Piece[] = []
    for (const [extent, sums, bytes, from] of rows) {
      const start = extent + from
      if (start + bytes.length <= pos) continue
      if (unitsAreIntact(bytes, sums, from / UNIT_BYTES, extent)) pieces.push({ start, bytes })
      else {
        // What is damaged may be beside what was asked for.
        const lo = Math.floor(Math.max(0, pos - start) / UNIT_BYTES) * UNIT_BYTES
        const part = bytes.subarray(lo, Math.ceil((end - start) / UNIT_BYTES) * UNIT_BYTES)
        if (!unitsAreIntact(part, sums, (from + lo) / UNIT_BYTES, extent))
          throw new LogDamageError(`checksum of its data at ${start + lo} differs`)
        pieces.push({ start: start + lo, bytes: part })
      }
    }
    return new LogSpan(pieces)
  }
}
