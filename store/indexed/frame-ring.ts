/**
 * Frames that several threads compress: a ring in shared memory. One thread, the writer, fills a slot with units, submits it, and takes
 * it back compressed; it and others compress what is submitted, oldest first.
 *
 * | in the memory, for each slot  | is written by                    | until                                                         |
 * |-------------------------------|----------------------------------|---------------------------------------------------------------|
 * | the units, their length       | the writer                       | it submits the slot                                           |
 * | the packed bytes              | the thread that has claimed it   | it stores their length                                        |
 * | the length of the packed bytes| {@link RUNNING} by the writer, then the thread that has claimed it | the writer takes the slot back |
 *
 * Slots are counted: `submitted` is the number of those submitted ever, `claimed` that of those claimed. Counters wrap around.
 */
import type { Compression } from '../compression.ts'
import { FRAME_BYTES } from './frame-codec.ts'
import { UnitCompression } from './unit-compression.ts'

/** A power of two. */
export const SLOTS = 32

/** The length of the packed bytes of a slot that is not compressed yet. */
const RUNNING = -1

const SUBMITTED = 0
const CLAIMED = 1
/** 1 while the other thread waits for a message, not for a slot. */
const IS_IDLE = 2
const COUNTERS = 3
const HEADER_BYTES = 4 * (COUNTERS + 2 * SLOTS)

/** What threads pass on. */
export interface SharedRing {
  readonly memory: SharedArrayBuffer
  readonly compression: Compression
}

export class FrameRing {
  readonly shared: SharedRing
  readonly #counters: Int32Array
  readonly #unitBytes: Int32Array
  readonly #packedBytes: Int32Array
  readonly #units: readonly Buffer[]
  readonly #packed: readonly Buffer[]
  readonly #compressor = new UnitCompression(FRAME_BYTES)

  /** @param shared that of another thread, or a compression for a new ring. */
  constructor(shared: SharedRing | Compression) {
    this.shared =
      'memory' in shared
        ? shared
        : {
            memory: new SharedArrayBuffer(HEADER_BYTES + 2 * SLOTS * FRAME_BYTES),
            compression: shared,
          }
    const { memory } = this.shared
    this.#counters = new Int32Array(memory, 0, COUNTERS)
    this.#unitBytes = new Int32Array(memory, 4 * COUNTERS, SLOTS)
    this.#packedBytes = new Int32Array(memory, 4 * (COUNTERS + SLOTS), SLOTS)
    const piece = (number: number): Buffer =>
      Buffer.from(memory, HEADER_BYTES + number * FRAME_BYTES, FRAME_BYTES)
    this.#units = Array.from({ length: SLOTS }, (_, slot) => piece(slot))
    this.#packed = Array.from({ length: SLOTS }, (_, slot) => piece(SLOTS + slot))
  }

  /** The memory of a slot's units. */
  units(slot: number): Buffer {
    return this.#units[slot % SLOTS] ?? Buffer.alloc(0)
  }

  /** Lets the first `unitBytes` of the next slot's units be compressed. */
  submit(slot: number, unitBytes: number): void {
    this.#unitBytes[slot % SLOTS] = unitBytes
    this.#packedBytes[slot % SLOTS] = RUNNING
    Atomics.add(this.#counters, SUBMITTED, 1)
  }

  /** Wakes the other thread. @param post sends it a message, if it waits for one. */
  wake(post: () => void): void {
    if (Atomics.compareExchange(this.#counters, IS_IDLE, 1, 0) === 1) post()
    else Atomics.notify(this.#counters, SUBMITTED, 1)
  }

  /**
   * The compressed units of a submitted slot, empty if they are not worth it. Compresses slots until that one is.
   * @returns undefined if the thread that has claimed it does not finish within `timeoutMs`.
   */
  take(slot: number, timeoutMs: number): Buffer | undefined {
    const at = slot % SLOTS
    while (Atomics.load(this.#packedBytes, at) === RUNNING)
      if (!this.compressNext() && Atomics.wait(this.#packedBytes, at, RUNNING, timeoutMs) === 'timed-out')
        return undefined
    return this.#packed[at]?.subarray(0, this.#packedBytes[at])
  }

  /** Compresses the oldest slot that is not claimed; false if there is none. */
  compressNext(): boolean {
    const ticket = this.#claim()
    if (ticket === undefined) return false
    const slot = ticket & (SLOTS - 1)
    const units = this.units(slot).subarray(0, this.#unitBytes[slot])
    const into = this.#packed[slot] ?? Buffer.alloc(0)
    let length = 0
    try {
      length = this.#compressor.compress(units, this.shared.compression, into)
    } finally {
      // A thread that fails leaves the units as they are: the writer waits for this slot.
      Atomics.store(this.#packedBytes, slot, length)
      Atomics.notify(this.#packedBytes, slot)
    }
    return true
  }

  /**
   * Compresses slots until none was submitted for `timeoutMs`; the next {@link FrameRing.wake} sends a message then. A thread that waits
   * in here cannot be ended, so the time is short.
   */
  compressAll(timeoutMs: number): void {
    do {
      do while (this.compressNext());
      while (Atomics.wait(this.#counters, SUBMITTED, this.#claimed, timeoutMs) !== 'timed-out')
      Atomics.store(this.#counters, IS_IDLE, 1)
      // Otherwise one was submitted between these two lines.
    } while (
      Atomics.load(this.#counters, SUBMITTED) !== this.#claimed &&
      Atomics.compareExchange(this.#counters, IS_IDLE, 1, 0) === 1
    )
  }

  get #claimed(): number {
    return Atomics.load(this.#counters, CLAIMED)
  }

  #claim(): number | undefined {
    for (;;) {
      const claimed = this.#claimed
      if (claimed === Atomics.load(this.#counters, SUBMITTED)) return undefined
      if (Atomics.compareExchange(this.#counters, CLAIMED, claimed, (claimed + 1) | 0) === claimed)
        return claimed
    }
  }
}
