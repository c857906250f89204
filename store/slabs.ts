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
  /** As they became free. */
  readonly #free: ArrayBufferLike[] = []
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
    const slab = this.#takeFree(length) ?? new SharedArrayBuffer(length)
    this.#holders.set(slab, 1)
    return slab
  }

  #takeFree(length: number): ArrayBufferLike | undefined {
    const index = this.#free.findLastIndex(({ byteLength }) => byteLength === length)
    if (index < 0) return undefined
    this.#freeBytes -= length
    return this.#free.splice(index, 1)[0]
  }

  /** In the place of those that nobody has wanted for longest, where there are too many: of another length perhaps. */
  #keep(slab: ArrayBufferLike): void {
    this.#free.push(slab)
    this.#freeBytes += slab.byteLength
    while (this.#freeBytes > FREE_BYTES) this.#freeBytes -= this.#free.shift()?.byteLength ?? 0
  }
}

/** The process's. */
export const slabs = new Slabs()
