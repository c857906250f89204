/** Recognises sequential reads, and says which positions to read ahead of them. */
import type { BulkRange } from '../indexed/bulk.ts'

/** A read that begins this far behind the previous one still continues its stream. */
const GAP_BYTES = 1 << 20
const FIRST_WINDOW_BYTES = 1 << 20
const MAX_WINDOW_BYTES = 24 << 20
/** Windows end at multiples of this, so that most requests have the same length. */
const STEP_BYTES = 4 << 20
/** Maximum streams; the least recently used one is dropped. Their windows fit into the memory of FrameFetcher. */
const STREAMS = 2

interface Stream {
  /** Where the next read is expected. */
  next: number
  /** The end of what was read ahead. */
  ahead: number
  window: number
}

export class ReadAhead {
  /** The most recently used last. */
  readonly #streams: Stream[] = []

  /** Takes note of a read; returns the positions to read ahead, if any. */
  advance([lo, hi]: BulkRange): BulkRange | undefined {
    const at = this.#streams.findIndex(({ next }) => lo >= next - GAP_BYTES && lo <= next + GAP_BYTES)
    const [stream] = at < 0 ? [] : this.#streams.splice(at, 1)
    if (stream === undefined) {
      this.#add({ next: hi, ahead: hi, window: 0 })
      return undefined
    }
    this.#streams.push(stream)
    if (hi <= stream.next) return undefined
    stream.next = hi
    stream.window = Math.min(MAX_WINDOW_BYTES, Math.max(FIRST_WINDOW_BYTES, stream.window * 2))
    const from = Math.max(hi, stream.ahead)
    const window = Math.floor((hi + stream.window) / STEP_BYTES) * STEP_BYTES
    if (window <= from) return undefined
    stream.ahead = window
    return [from, window]
  }

  #add(stream: Stream): void {
    this.#streams.push(stream)
    if (this.#streams.length > STREAMS) this.#streams.shift()
  }
}
