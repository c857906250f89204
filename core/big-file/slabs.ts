/**
 * Memory for written data, used again as soon as nobody holds it: data comes by the gigabyte, and what waits for a
 * garbage collection in two threads would be as much again as what is dirty.
 *
 * Buffers are shared memory, so that the store's writer can take them over without a copy. Each run of an overlay and
 * each pending record whose body lies in a buffer holds it once; at zero it is free. Nobody else may keep a view of
 * one across an await: what readers get is copied.
 */

/** Shorter buffers are left to the garbage collector. */
const POOLED_BYTES = 65_536

/** How much is kept for later at most. */
const FREE_BYTES = 32 << 20

export class Slabs {
  readonly #holders = new Map<ArrayBufferLike, number>()
  /** By length. */
  readonly #free = new Map<number, ArrayBufferLike[]>()
  #freeBytes = 0

  /** A zeroed buffer, held once. */
  take(length: number): Uint8Array {
    if (length < POOLED_BYTES) return new Uint8Array(new SharedArrayBuffer(length))
    const known = this.#free.get(length)?.pop()
    if (known !== undefined) this.#freeBytes -= length
    const buffer = known ?? new SharedArrayBuffer(length)
    this.#holders.set(buffer, 1)
    const bytes = new Uint8Array(buffer)
    return known === undefined ? bytes : bytes.fill(0)
  }

  hold({ buffer }: Uint8Array): void {
    const holders = this.#holders.get(buffer)
    if (holders !== undefined) this.#holders.set(buffer, holders + 1)
  }

  letGo({ buffer }: Uint8Array): void {
    const holders = this.#holders.get(buffer)
    if (holders === undefined) return
    if (holders > 1) this.#holders.set(buffer, holders - 1)
    else {
      this.#holders.delete(buffer)
      this.#keep(buffer)
    }
  }

  #keep(buffer: ArrayBufferLike): void {
    if (this.#freeBytes + buffer.byteLength > FREE_BYTES) return
    this.#freeBytes += buffer.byteLength
    const free = this.#free.get(buffer.byteLength)
    if (free === undefined) this.#free.set(buffer.byteLength, [buffer])
    else free.push(buffer)
  }
}

/** The process's. */
export const slabs = new Slabs()
