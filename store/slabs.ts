/**
 * Reference-counted memory for written data, reused as soon as its count is zero. Data arrives by the gigabyte; without
 * reuse, buffers awaiting garbage collection in two threads would take as much memory again as the dirty data.
 *
 * Slabs are shared memory, so that the store's writer thread needs no copy. A long buffer has its own slab; short ones
 * share one, as a slab costs each thread more than a short buffer. Each run of an overlay, and each pending record whose
 * body is in a slab, holds one reference; at zero the slab is free. No other code may keep a view of a slab across an
 * await: readers get copies.
 */

/**
 * The length of slabs for several buffers; a buffer of at least half of it has its own. It is the length of the longest write, because
 * slabs of one length are reused for the other kind of writes, while those of another length are dropped and wait for the garbage
 * collection of two threads.
 */
const SLAB_BYTES = 1 << 20
/** The length of a longer slab is a multiple of this, so that slabs of records of similar length are reused. */
const ROUND_BYTES = 64 << 10

/** Maximum total length of all slabs up to which free ones are kept. */
const KEPT_BYTES = 32 << 20

export class Slabs {
  readonly #holders = new Map<ArrayBufferLike, number>()
  /** Oldest first. */
  readonly #free: ArrayBufferLike[] = []
  /** The lengths of all slabs, free or not. */
  #bytes = 0
  /** The slab that short buffers are taken from (one reference), and its first unused byte. */
  #open: ArrayBufferLike | undefined
  #taken = 0

  /** A buffer with one reference and arbitrary content. */
  take(length: number): Uint8Array {
    if (length * 2 >= SLAB_BYTES) {
      const slab = this.#takeSlab(Math.ceil(length / ROUND_BYTES) * ROUND_BYTES)
      return new Uint8Array(slab, 0, length)
    }
    if (this.#open === undefined || this.#taken + length > SLAB_BYTES) {
      if (this.#open !== undefined) this.#release(this.#open)
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

  release({ buffer }: Uint8Array): void {
    this.#release(buffer)
  }

  #release(slab: ArrayBufferLike): void {
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
    const slab = this.#takeFree(length) ?? this.#newSlab(length)
    this.#holders.set(slab, 1)
    return slab
  }

  #takeFree(length: number): ArrayBufferLike | undefined {
    const index = this.#free.findLastIndex(({ byteLength }) => byteLength === length)
    if (index < 0) return undefined
    return this.#free.splice(index, 1)[0]
  }

  #newSlab(length: number): ArrayBufferLike {
    this.#bytes += length
    this.#dropFree(KEPT_BYTES)
    return new SharedArrayBuffer(length)
  }

  /** Keeps a free slab, unless there are too many. */
  #keep(slab: ArrayBufferLike): void {
    this.#free.push(slab)
    this.#dropFree(KEPT_BYTES)
  }

  /** Drops all free slabs. */
  dropFree(): void {
    this.#dropFree(0)
  }

  /** Drops free slabs, the oldest first, until all slabs together have at most `bytes`, or none is free. */
  #dropFree(bytes: number): void {
    while (this.#bytes > bytes && this.#free.length > 0) this.#bytes -= this.#free.shift()?.byteLength ?? 0
  }
}

/** The slabs of this process. */
export const slabs = new Slabs()
