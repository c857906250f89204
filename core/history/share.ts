/**
 * Creates a file with the data of another file, or of an earlier moment, without reading or copying the data.
 *
 * Objects can change, so files do not share objects, but bytes in the store. The new file has its own tree, blocks and
 * chunks, and each of its data records is a slice of a record of the source. A later change of either file makes a new
 * record of only that file. The work is proportional to the number of records.
 *
 * The file is created in steps, so that any size takes bounded memory: between two steps the caller may let other
 * operations run, and commit. It is not visible until the caller refers to it.
 */
import { isChunkIndex } from '../zblk/layout-cache.ts'
import { IOBTree, LOBTree } from '../btree/tree.ts'
import { Blocks } from '../big-file/blocks.ts'
import type { Connection } from '../objects/connection.ts'
import { Ref } from '../objects/pickle/value.ts'
import { ZBLK0, ZDATA, type DataClass } from '../objects/record.ts'
import { dataRecord, findData } from '../zblk/data.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { TID_NONE, type Oid, knownOid } from '../../store/ids.ts'

/** Approximate memory of a record until it is committed, in bytes. */
export const SHARED_RECORD_BYTES = 1000

export class SharedFile {
  readonly #source: Blocks
  readonly #target: Connection
  readonly #file: ZBigFile
  /** The next block. */
  #next = 0

  private constructor(source: Blocks, target: Connection, file: ZBigFile) {
    this.#source = source
    this.#target = target
    this.#file = file
  }

  /**
   * Begins a file in `target` with the data of a file of `source`, a view that does not change.
   * @throws ReadOnlyError, StoreError
   */
  static async begin(source: Connection, data: Ref, target: Connection): Promise<SharedFile> {
    const from = source.resolve(data)
    if (!(from instanceof ZBigFile)) throw source.corrupt(data.oid, "a file's data is not a ZBigFile")
    await from.activate()
    const blocks = new Blocks(source, from)
    const file = await target.create(ZBigFile)
    file.begin(blocks.blksize, await target.create(LOBTree))
    return new SharedFile(blocks, target, file)
  }

  /** The new file. */
  get ref(): Ref {
    return this.#file.ref
  }

  /**
   * Creates about this number of records; resolves to the number created, 0 at the end. No prepare may run meanwhile.
   * @throws CorruptRecordError, StoreError
   */
  async step(records: number): Promise<number> {
    let made = 0
    while (made < records) {
      const { keys } = await this.#source.blktab.batch({ lo: this.#next }, records)
      if (keys.length === 0) break
      for (const blk of keys) {
        if (made >= records) break
        made += await this.#shareBlock(blk)
        this.#next = blk + 1
      }
    }
    return made
  }

  async #shareBlock(blk: number): Promise<number> {
    const ref = await this.#source.find(blk)
    if (ref === undefined) return 0
    const layout = await this.#source.layout(blk, ref)
    await this.#file.activate()
    const { blktab } = this.#file
    if (!isChunkIndex(layout)) {
      for (const oid of await this.#shareRecords(ZBLK0, [ref.oid])) await blktab.set(blk, new Ref(oid, ZBLK0))
      return 1
    }
    const chunks = await this.#shareRecords(ZDATA, Array.from(layout.oids, knownOid))
    const block = await this.#target.create(ZBlk1)
    const chunktab = await this.#target.create(IOBTree)
    block.setChunktab(chunktab)
    for (const [i, oid] of chunks.entries()) await chunktab.set(layout.offs[i] as number, new Ref(oid, ZDATA))
    await blktab.set(blk, block.ref)
    return 1 + chunks.length
  }

  async #shareRecords(className: DataClass, from: readonly Oid[]): Promise<readonly Oid[]> {
    if (from.length === 0) return []
    const first = await this.#target.newOids(from.length)
    const made: Oid[] = []
    for (const [i, oid] of from.entries()) {
      const { body } = await findData(this.#source.connection.records, oid)
      const to = knownOid(first + i)
      this.#target.putRecord(to, className, dataRecord(className, body), TID_NONE)
      made.push(to)
    }
    return made
  }
}
