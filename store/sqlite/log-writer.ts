import type { Database, Statement } from 'better-sqlite3'
import { extentSums } from './checksum.ts'
import { EXTENT_BYTES, UNIT_BYTES } from './schema.ts'

/** A run of bytes as long as this one begins an extent of its own where it would otherwise lie across units. */
const ALIGN_BYTES = 4 * UNIT_BYTES

/**
 * Every extent begins at a multiple of this, so that a pack can tell by a bit for each so many bytes which extents
 * nothing points to.
 */
export const GRAIN_BYTES = 128

/**
 * Appends to the log within a transaction. Bytes are gathered into whole extents; a run that covers an extent by
 * itself is stored from where it lies. `flush` before the transaction ends.
 */
export class LogWriter {
  readonly #insert: Statement<[number, Uint8Array, Uint8Array]>
  readonly #staged = Buffer.allocUnsafeSlow(EXTENT_BYTES)
  #fill = 0
  #flushed = 0

  constructor(db: Database) {
    this.#insert = db.prepare('INSERT INTO log (pos, sums, bytes) VALUES (?, ?, ?)')
  }

  /** The position of the next byte. */
  get end(): number {
    return this.#flushed + this.#fill
  }

  /** Begins a transaction whose bytes go to `pos` and on; what an earlier one left unflushed is forgotten. */
  begin(pos: number): void {
    this.#flushed = alignedUp(pos)
    this.#fill = 0
  }

  /** Says that a run of `length` bytes follows. */
  startRun(length: number): void {
    if (length >= ALIGN_BYTES && this.#fill % UNIT_BYTES !== 0) this.flush()
  }

  append(bytes: Uint8Array): void {
    let off = 0
    while (off < bytes.length) {
      const room = EXTENT_BYTES - this.#fill
      if (this.#fill === 0 && bytes.length - off >= EXTENT_BYTES) {
        this.#store(bytes.subarray(off, off + EXTENT_BYTES))
        off += EXTENT_BYTES
        continue
      }
      const part = bytes.subarray(off, off + room)
      this.#staged.set(part, this.#fill)
      this.#fill += part.length
      off += part.length
      if (this.#fill === EXTENT_BYTES) this.flush()
    }
  }

  flush(): void {
    if (this.#fill === 0) return
    const bytes = this.#staged.subarray(0, this.#fill)
    this.#fill = 0
    this.#store(bytes)
    this.#flushed = alignedUp(this.#flushed)
  }

  #store(bytes: Uint8Array): void {
    this.#insert.run(this.#flushed, extentSums(bytes, this.#flushed), bytes)
    this.#flushed += bytes.length
  }
}

const alignedUp = (pos: number): number => Math.ceil(pos / GRAIN_BYTES) * GRAIN_BYTES
