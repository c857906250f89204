/**
 * A view of the newest moment of a database that another process may be writing.
 *
 * - {@link LiveView.refresh} moves it: if the store has a later transaction, objects that it changed are dropped here, and
 *   their pages in the kernel, if there is a notifier.
 * - The moment does not move during an operation, so that each sees one transaction's state; it moves between them.
 * - wendelin.core changes a block's record with each of its chunks, so that a changed ZBlk identifies the stale pages. If a
 *   tree of blocks has changed, every block that was served is looked up again.
 * - A database without history has no old states: an object that is missing at the view's moment is looked up at the newest.
 */
import { Connection } from '../../objects/connection.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { classOfRecord, DATA_HEAD_MAX } from '../../objects/record.ts'
import { blockParts } from '../../big-file/block-parts.ts'
import { LO } from '../../btree/kind.ts'
import { readingForeign } from '../damage.ts'
import { openForeignFile } from '../file.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { ObjectNotFoundError } from '../../../store/errors.ts'
import type { Oid, Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import { ReadWriteLock } from '../../file-system/locks.ts'
import { ServedBlocks, type ServedBlock } from './served-blocks.ts'
import type { View } from './view.ts'

/** Maximum number of moves to a later moment within an operation whose state was dropped. */
const RETRIES = 5

const STRUCTURE: ReadonlySet<string> = new Set([LO.tree, LO.bucket, ZBigFile.CLASS_NAME])

/** Receives what the kernel must drop. */
export interface Forgetting {
  /** Bytes `[off, off + len)` of a file. */
  pages(file: Oid, off: bigint, len: bigint): void
  /** Sizes and times of all files. */
  attributes(): void
}

export class LiveView implements View {
  readonly isLive = true
  readonly #store: Store
  readonly #cacheSizeBytes: number
  readonly #lock = new ReadWriteLock()
  #connection: Connection
  #served: ServedBlocks | undefined
  #forgetting: Forgetting | undefined
  #refreshing: Promise<boolean> | undefined

  private constructor(store: Store, connection: Connection, cacheSizeBytes: number) {
    this.#store = store
    this.#connection = connection
    this.#cacheSizeBytes = cacheSizeBytes
  }

  static async open(store: Store, cacheSizeBytes: number): Promise<LiveView> {
    const at = await store.lastTid()
    return new LiveView(store, await Connection.open(store, { at, cacheSizeBytes }), cacheSizeBytes)
  }

  get at(): Tid {
    return this.#connection.at
  }

  /** From now on the kernel keeps pages, and `forgetting` drops stale ones. */
  tell(forgetting: Forgetting): void {
    this.#forgetting = forgetting
    this.#served = new ServedBlocks(({ file, blk, blksize }) =>
      forgetting.pages(file, BigInt(blk) * BigInt(blksize), BigInt(blksize)),
    )
  }

  get tellsKernel(): boolean {
    return this.#forgetting !== undefined
  }

  use<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    return readingForeign(this.#store, () => this.#use(work))
  }

  async #use<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      const { at } = this
      try {
        return await this.#lock.whileShared(() => work(this.#connection))
      } catch (error) {
        if (!(error instanceof ObjectNotFoundError) || tries >= RETRIES) throw error
        await this.refresh()
        if (this.at === at) throw error
      }
    }
  }

  /** Records that the kernel gets pages of a file, for {@link LiveView.refresh}. Call within `use`. */
  async note(file: ZBigFile, off: bigint, len: number): Promise<void> {
    const served = this.#served
    if (served === undefined || len === 0) return
    await file.activate()
    const { blksize, blktab } = file
    for (const { blk } of blockParts(off, len, blksize)) {
      const ref = await blktab.get(blk)
      served.note({ file: file.oid, blk, blksize, object: ref instanceof Ref ? ref.oid : undefined })
    }
  }

  /** Moves to the newest transaction; resolves to whether there was a later one. */
  refresh(): Promise<boolean> {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined))
    return this.#refreshing
  }

  async #refresh(): Promise<boolean> {
    if ((await this.#store.lastTid()) <= this.at) return false
    await this.#lock.whileAlone(async () => await this.#moveOn(await this.#store.lastTid()))
    return true
  }

  async #moveOn(at: Tid): Promise<void> {
    const served = this.#served?.isEmpty === false ? this.#served : undefined
    let isStructural = false
    let isReplaced = false
    for await (const { oids } of this.#store.changes(this.at, at)) {
      for (const oid of oids) {
        isReplaced ||= this.#connection.known(oid) instanceof ZBigFile
        served?.changed(oid)
        if (served !== undefined && !isStructural) isStructural = STRUCTURE.has(await this.#classOf(oid, at))
      }
      this.#connection.invalidate(oids)
    }
    // A file whose tree was replaced needs another connection.
    if (isReplaced)
      this.#connection = await Connection.open(this.#store, { at, cacheSizeBytes: this.#cacheSizeBytes })
    else this.#connection.advance(at, [])
    if (isStructural && served !== undefined)
      for (const block of served.all()) if (await this.#isOther(block)) served.forget(block)
    this.#forgetting?.attributes()
  }

  async #classOf(oid: Oid, at: Tid): Promise<string> {
    const part = await this.#store.loadPart(oid, at, 0, DATA_HEAD_MAX)
    return part === undefined ? '' : classOfRecord(part.bytes)
  }

  async #isOther({ file, blk, blksize, object }: ServedBlock): Promise<boolean> {
    try {
      const found = await openForeignFile(this.#connection, file)
      const ref = await found.object.blktab.get(blk)
      return found.data.blksize !== blksize || (ref instanceof Ref ? ref.oid : undefined) !== object
    } catch {
      // The next read of the block reports the error.
      return true
    }
  }
}
