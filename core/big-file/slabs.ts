/**
 * Memory for written data, used again as soon as nobody holds it: data comes by the gigabyte, and what waits for a
 * garbage collection in two threads would be as much again as what is dirty.
 *
 * Slabs are shared memory, so that the store's writer can take bytes over without a copy. A long buffer has a slab of
 * its own; short ones lie side by side in one that several hold, as a slab costs each thread more than a short buffer.
 * Each run of an overlay and each pending record whose body lies in a slab holds it once; at zero it is free. Nobody
 * else may keep a view of one across an await: what readers get is copied.
 */

/** The length of slabs for several buffers; from half of it on a buffer has its own. */
const SLAB_BYTES = 256 << 10

/** How much is kept for later at most. */
const FREE_BYTES = 32 << 20

export class Slabs {
  readonly #holders = new Map<ArrayBufferLike, number>()
  /** By length. */
  readonly #free = new Map<number, ArrayBufferLike[]>()
  #freeBytes = 0
  /** Where short buffers are taken from, held once for that, and from which byte on. */
  #open: ArrayBufferLike | undefined
  #taken = 0

  /** A buffer with whatever is in it, held once. */
  take(length: number): Uint8Array {
    if (length * 2 >= SLAB_BYTES) return new Uint8Array(this.#takeSlab(length))
    if (this.#open === undefined || this.#taken + length > SLAB_BYTES) {
      if (this.#open !== undefined) this.#letGo(this.#open)
      this.#open = this.#takeSlab(SLAB_BYTES)
      this.#taken = 0
    }
    const bytes = new Uint8Array(this.#open, this.#taken, length)
    this.#taken += length
    this.hold(bytes)
    return bytes
  }

  hold({ buffer }: Uint8Array): void {
    const holders = this.#holders.get(buffer)
    if (holders !== undefined) this.#holders.set(buffer, holders + 1)
  }

  letGo({ buffer }: Uint8Array): void {
    this.#letGo(buffer)
  }

  #letGo(slab: ArrayBufferLike): void {
    const holders = this.#holders.get(slab)
    if (holders === undefined) return
    if (holders > 1) {
      this.#holders.set(slab, holders - 1)
      if (holders === 2 && slab === this.#open) this.#taken = 0
    } else {
      this.#holders.delete(slab)
      this.#keep(slab)
    }
  }

  #takeSlab(length: number): ArrayBufferLike {
    const known = this.#free.get(length)?.pop()
    if (known !== undefined) this.#freeBytes -= length
    const slab = known ?? new SharedArrayBuffer(length)
    this.#holders.set(slab, 1)
    return slab
  }

  #keep(slab: ArrayBufferLike): void {
    if (this.#freeBytes + slab.byteLength > FREE_BYTES) return
    this.#freeBytes += slab.byteLength
    const free = this.#free.get(slab.byteLength)
    if (free === undefined) this.#free.set(slab.byteLength, [slab])
    else free.push(slab)
  }
}

/** The process's. */
export const slabs = new Slabs()
