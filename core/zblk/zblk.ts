/**
 * Blocks of a file, in the two formats of wendelin.core (bigfile/file_zodb.py):
 *
 * - **ZBlk0**: the whole block's data in one record.
 * - **ZBlk1**: a tree, `chunktab`, from offsets in the block to ZData objects. Chunks do not overlap; gaps between
 *   chunks are zeros. Its own record changes with any of its chunks.
 *
 * Data is stored without trailing zeros. Reading and writing files uses records directly; ZBlk0 and ZData objects are
 * for access to single ones.
 */
import { Persistent } from '../objects/persistent.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'
import { ZBLK0, ZDATA } from '../objects/record.ts'
import { IOBTree } from '../btree/tree.ts'
import { NO_BYTES } from '../../store/bytes.ts'

abstract class DataObject extends Persistent {
  #data: Uint8Array | undefined

  /** Its bytes, which must not be changed. */
  get data(): Uint8Array {
    if (this.#data === undefined) throw this.ghostError()
    return this.#data
  }

  override get sizeBytes(): number {
    return 200 + (this.#data?.length ?? 0)
  }

  protected override decode(state: PickleValue): void {
    if (state instanceof Uint8Array) this.#data = state
    else if (state instanceof ByteString) this.#data = state.bytes
    else throw this.corrupt(`the state of a ${this.className} is not a string of bytes`)
  }

  protected override encode(): PickleValue {
    return this.data
  }

  protected override clear(): void {
    this.#data = undefined
  }

  protected override initialize(): void {
    this.#data = NO_BYTES
  }
}

/** A chunk of a ZBlk1. */
export class ZData extends DataObject {
  static readonly CLASS_NAME = ZDATA
}

/** A block as one record. */
export class ZBlk0 extends DataObject {
  static readonly CLASS_NAME = ZBLK0
}

/** A block as a tree of chunks. State: a bare reference to the tree. */
export class ZBlk1 extends Persistent {
  static readonly CLASS_NAME = 'wendelin.bigfile.file_zodb.ZBlk1'
  #chunktab: IOBTree | undefined

  /** The tree of chunks, usually a ghost. */
  get chunktab(): IOBTree {
    if (this.#chunktab === undefined) throw this.ghostError()
    return this.#chunktab
  }

  /** Sets the tree of a new block. */
  setChunktab(chunktab: IOBTree): void {
    this.changing()
    this.#chunktab = chunktab
  }

  /** Marks its record as changed, as for a change of one of its chunks. */
  markChanged(): void {
    this.changing()
  }

  override get sizeBytes(): number {
    return 500
  }

  protected override decode(state: PickleValue): void {
    if (!(state instanceof Ref)) throw this.corrupt("a ZBlk1's state is not a reference")
    const chunktab = this.jar.resolve(state)
    if (!(chunktab instanceof IOBTree)) throw this.corrupt(`its chunks are in a ${chunktab.className}`)
    this.#chunktab = chunktab
  }

  protected override encode(): PickleValue {
    return this.chunktab.ref
  }

  protected override clear(): void {
    this.#chunktab = undefined
  }

  protected override initialize(): void {
    this.#chunktab = undefined
  }
}
