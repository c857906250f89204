/**
 * Caches the layout of blocks (where their data is stored), bounded in bytes, so that reading a few bytes of a block takes
 * one call to the store instead of a walk through its tree.
 *
 * A layout that was read while the block changed must not be cached: the caller reads `epoch` before it looks up a
 * layout, and passes it to `set`.
 */
import { LRUCache } from 'lru-cache'
import type { Connection } from '../objects/connection.ts'
import type { DerivedCache } from '../objects/participant.ts'
import type { Oid } from '../../store/ids.ts'
import type { ChunkIndex } from './chunk-index.ts'
import type { StoredData } from './data.ts'

/** The data of a ZBlk0 or of a long chunk, or a ZBlk1's chunks. */
export type BlockLayout = StoredData | ChunkIndex

/** Whether a block is in chunks, a ZBlk1. */
export const isChunkIndex = (layout: BlockLayout): layout is ChunkIndex => 'offs' in layout

/** In bytes of memory. */
const sizeOf = (layout: BlockLayout): number => (isChunkIndex(layout) ? 700 + 12 * layout.offs.length : 300)

const CACHES = new WeakMap<Connection, LayoutCache>()

/** Maximum bytes of layouts that stay for a prepare. */
const HELD_BYTES_MAX = 32 << 20

export class LayoutCache implements DerivedCache {
  readonly #layouts: LRUCache<Oid, BlockLayout>
  #epoch = 0
  readonly #held = new Map<Oid, BlockLayout>()
  #heldBytes = 0
  #isHolding = false

  /** The cache of a connection. */
  static of(connection: Connection): LayoutCache {
    const known = CACHES.get(connection)
    if (known !== undefined) return known
    const made = new LayoutCache(connection.derivedBytesMax)
    CACHES.set(connection, made)
    connection.attach(made)
    return made
  }

  private constructor(sizeBytes: number) {
    this.#layouts = new LRUCache({
      maxSize: sizeBytes,
      sizeCalculation: sizeOf,
    })
  }

  get sizeBytes(): number {
    return this.#layouts.calculatedSize
  }

  /** Counts changes of layouts. */
  get epoch(): number {
    return this.#epoch
  }

  get(block: Oid): BlockLayout | undefined {
    const layout = this.#layouts.get(block)
    if (!this.#isHolding) return layout
    if (layout !== undefined) this.#hold(block, layout)
    return layout ?? this.#held.get(block)
  }

  set(block: Oid, layout: BlockLayout, epoch: number): void {
    if (epoch !== this.#epoch) return
    this.#layouts.set(block, layout)
    if (this.#isHolding) this.#hold(block, layout)
  }

  startHolding(): void {
    this.#isHolding = true
  }

  endHolding(): void {
    this.#isHolding = false
    this.#held.clear()
    this.#heldBytes = 0
  }

  #hold(block: Oid, layout: BlockLayout): void {
    if (this.#heldBytes > HELD_BYTES_MAX || this.#held.has(block)) return
    this.#held.set(block, layout)
    this.#heldBytes += sizeOf(layout)
  }

  forget(block: Oid): void {
    this.#epoch++
    this.#layouts.delete(block)
    this.#held.delete(block)
  }

  clear(): void {
    this.#epoch++
    this.#layouts.clear()
    this.#held.clear()
  }
}
