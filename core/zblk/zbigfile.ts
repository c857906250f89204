/**
 * A file's object: its block size and the tree from block number to block (ZBlk0 or ZBlk1).
 * State: `(blksize, ref LOBTree)`. Source: wendelin.core, bigfile/file_zodb.py.
 */
import { LOBTree } from '../btree/tree.ts'
import { Persistent } from '../objects/persistent.ts'
import { Ref, Tuple, type PickleValue } from '../objects/pickle/value.ts'

/** The block size of new files. */
export const BLKSIZE = 2 << 20

/** Maximum block size: a block must fit easily into memory. */
const MAX_BLKSIZE = 256 << 20

export class ZBigFile extends Persistent {
  static readonly CLASS_NAME = 'wendelin.bigfile.file_zodb.ZBigFile'
  #blksize = 0
  #blktab: LOBTree | undefined

  /** In bytes. */
  get blksize(): number {
    if (this.#blktab === undefined) throw this.ghostError()
    return this.#blksize
  }

  /** From block number to block. */
  get blktab(): LOBTree {
    if (this.#blktab === undefined) throw this.ghostError()
    return this.#blktab
  }

  /** Sets the block size and tree of a new file. */
  begin(blksize: number, blktab: LOBTree): void {
    this.changing()
    this.#blktab = blktab
    this.#blksize = blksize
  }

  /** Includes the objects that read and write its bytes. */
  override get sizeBytes(): number {
    return 1400
  }

  protected override decode(state: PickleValue): void {
    const [blksize, ref] = state instanceof Tuple ? state.items : []
    if (
      !Number.isSafeInteger(blksize) ||
      typeof blksize !== 'number' ||
      !(blksize > 0 && blksize <= MAX_BLKSIZE)
    )
      throw this.corrupt(`a file's block size is not in (0, ${MAX_BLKSIZE}]`)
    if (!(ref instanceof Ref)) throw this.corrupt("a file's tree of blocks is not a reference")
    const blktab = this.jar.resolve(ref)
    if (!(blktab instanceof LOBTree)) throw this.corrupt(`its blocks are in a ${blktab.className}`)
    this.#blksize = blksize
    this.#blktab = blktab
  }

  protected override encode(): PickleValue {
    return new Tuple([this.blksize, this.blktab.ref])
  }

  protected override clear(): void {
    this.#blktab = undefined
  }

  protected override initialize(): void {
    this.#blktab = undefined
  }
}
