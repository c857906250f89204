/**
 * The blocks of which the kernel may have cached pages: when another process changes a file, only the pages of changed blocks are
 * invalidated. The number is bounded: a block that is evicted is invalidated at once, so that no stale page remains.
 */
import { LRUCache } from 'lru-cache'
import type { Oid } from '../../../store/ids.ts'

export interface ServedBlock {
  readonly file: Oid
  readonly blk: number
  /** In bytes. */
  readonly blksize: number
  /** The block's object; undefined for a hole. */
  readonly object: Oid | undefined
}

const BLOCKS_MAX = 1 << 16

export class ServedBlocks {
  readonly #blocks: LRUCache<string, ServedBlock>
  readonly #byObject = new Map<Oid, string>()

  /** @param forget called for a block whose pages the kernel must drop. */
  constructor(forget: (block: ServedBlock) => void) {
    this.#blocks = new LRUCache({
      max: BLOCKS_MAX,
      dispose: ({ object }, key) => {
        if (object !== undefined && this.#byObject.get(object) === key) this.#byObject.delete(object)
      },
      disposeAfter: (block, _key, reason) => {
        if (reason !== 'set') forget(block)
      },
    })
  }

  get isEmpty(): boolean {
    return this.#blocks.size === 0
  }

  /** Records that pages of a block are sent to the kernel. */
  note(block: ServedBlock): void {
    const key = `${block.file}:${block.blk}`
    const known = this.#blocks.get(key)
    if (known?.object === block.object && known?.blksize === block.blksize) return
    this.#blocks.set(key, block)
    if (block.object !== undefined) this.#byObject.set(block.object, key)
  }

  /** Forgets the block of a changed object. */
  changed(object: Oid): void {
    const key = this.#byObject.get(object)
    if (key !== undefined) this.#blocks.delete(key)
  }

  forget({ file, blk }: ServedBlock): void {
    this.#blocks.delete(`${file}:${blk}`)
  }

  /** All blocks. */
  *all(): Generator<ServedBlock> {
    for (const block of this.#blocks.values()) yield block
  }
}
