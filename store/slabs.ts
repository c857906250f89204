/**
 * Memory for written data, reused as soon as it has no holder. Data arrives by the gigabyte; without reuse, buffers that
 * wait for garbage collection, in two threads, would take as much memory again as the dirty data.
 *
 * Slabs are shared memory, so that the store's writer takes bytes over without a copy. A long buffer has a slab of its
 * own; short ones share one, as a slab costs each thread more than a short buffer. Each run of an overlay, and each
 * pending record whose body lies in a slab, holds it once; without holders it is free. No other code may keep a view of a
 * slab across an await: readers get copies.
 */

/** The length of slabs for several buffers; from half of it on a buffer has its own. */
const SLAB_BYTES = 256 << 10

/** The bound for free slabs. */
const FREE_BYTES = 32 << 20

export class Slabs {
  readonly #holders = new Map<ArrayBufferLike, number>()
  /** In the order in which they became free. */
  readonly #free: ArrayBufferLike[] = []
  #freeBytes = 0
  /** The slab that short buffers are taken from, which holds it once, and its first unused byte. */
  #open: ArrayBufferLike | undefined
  #taken = 0

  /** A buffer, held once, with arbitrary content. */
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

  /** Keeps a free slab, and drops the oldest ones where there are too many. */
  #keep(slab: ArrayBufferLike): void {
    this.#free.push(slab)
    this.#freeBytes += slab.byteLength
    while (this.#freeBytes > FREE_BYTES) this.#freeBytes -= this.#free.shift()?.byteLength ?? 0
  }
}

/** The process's. */
export const slabs = new Slabs()
