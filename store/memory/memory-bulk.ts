import {
  BulkDamageError,
  type BulkGap,
  type BulkRange,
  type BulkRead,
  type BulkScan,
  type BulkWriter,
} from '../indexed/bulk.ts'
import { verifyByReading } from '../indexed/check/verify.ts'

/** Bulk bytes at `[pos, pos + bytes.length)`. */
interface Piece {
  readonly pos: number
  readonly bytes: Uint8Array
}

/** A Bulk in memory: the pieces that were appended, ascending. */
export class MemoryBulk implements BulkScan, BulkWriter {
  readonly #pieces: Piece[]
  #end: number

  constructor(pieces: readonly Piece[] = []) {
    this.#pieces = [...pieces]
    this.#end = endOf(this.#pieces)
  }

  /** An independent copy. */
  copy(): MemoryBulk {
    return new MemoryBulk(this.#pieces)
  }

  get end(): number {
    return this.#end
  }

  begin(end: number): void {
    while (endOf(this.#pieces) > end) this.#pieces.pop()
    this.#end = end
  }

  append(parts: readonly Uint8Array[]): void {
    const bytes = Buffer.concat(parts)
    if (bytes.length > 0) this.#pieces.push({ pos: this.#end, bytes })
    this.#end += bytes.length
  }

  sync(): void {}

  settle(): void {}

  read(reads: readonly BulkRead[]): void {
    for (const { pos, into } of reads) this.#fill(pos, into)
  }

  segments(): readonly BulkRange[] {
    return [[0, this.#end]]
  }

  bytes(): number {
    return this.#pieces.reduce((sum, { bytes }) => sum + bytes.length, 0)
  }

  isAllocated([lo, hi]: BulkRange): boolean {
    return this.#pieces.some(({ pos, bytes }) => pos < hi && pos + bytes.length > lo)
  }

  verify(range: BulkRange, everyByte: boolean): Promise<readonly BulkGap[]> {
    return verifyByReading(this, range, everyByte)
  }

  release(ranges: readonly BulkRange[]): number {
    const before = this.bytes()
    for (const range of ranges) this.#release(range)
    return before - this.bytes()
  }

  #release([lo, hi]: BulkRange): void {
    const kept = this.#pieces.flatMap(({ pos, bytes }): Piece[] => {
      const end = pos + bytes.length
      if (pos >= hi || end <= lo) return [{ pos, bytes }]
      const parts: Piece[] = []
      if (pos < lo) parts.push({ pos, bytes: bytes.slice(0, lo - pos) })
      if (end > hi) parts.push({ pos: hi, bytes: bytes.slice(hi - pos) })
      return parts
    })
    this.#pieces.splice(0, this.#pieces.length, ...kept)
  }

  #fill(pos: number, into: Uint8Array): void {
    for (let off = 0; off < into.length;) {
      const at = pos + off
      const piece = this.#pieceAt(at)
      if (piece === undefined) throw new BulkDamageError('its bytes are missing')
      const part = piece.bytes.subarray(at - piece.pos, at - piece.pos + into.length - off)
      into.set(part, off)
      off += part.length
    }
  }

  /** The piece with the byte at `pos`. */
  #pieceAt(pos: number): Piece | undefined {
    let [lo, hi] = [0, this.#pieces.length]
    while (lo < hi) {
      const middle = (lo + hi) >>> 1
      const piece = this.#pieces[middle]
      if (piece === undefined || piece.pos + piece.bytes.length > pos) hi = middle
      else lo = middle + 1
    }
    const found = this.#pieces[lo]
    return found !== undefined && found.pos <= pos ? found : undefined
  }
}

function endOf(pieces: readonly Piece[]): number {
  const last = pieces.at(-1)
  return last === undefined ? 0 : last.pos + last.bytes.length
}
