/**
 * Finds the files and byte ranges in which two moments of an external ZODB database differ. A block is compared only if
 * it is another object, or was changed by another transaction: wendelin.core changes a block's record with each of its
 * chunks. Memory does not grow with the number of names or the length of a file.
 */
import { constants } from 'node:fs'
import { Ref } from '../objects/pickle/value.ts'
import { joinBytes } from '../bytes.ts'
import { Connection } from '../objects/connection.ts'
import type { Difference } from '../history/difference.ts'
import { ROOT_OID, type Oid, type Tid } from '../../store/ids.ts'
import type { Progress } from '../../store/capabilities.ts'
import type { Store } from '../../store/store.ts'
import { eachOfForeign } from './damage.ts'
import type { ForeignFile } from './file.ts'
import { ForeignMoment } from './foreign-moment.ts'
import { walkNames } from './import/walk-names.ts'

const CACHE_BYTES = 8 << 20
/** Ranges are reported in units of this length. */
const UNIT_BYTES = 4096
const PIECE_BYTES = 1 << 20
/** Maximum number of ranges of a file; the last one covers the rest. */
const RANGES_MAX = 65_536
const FILE_MODE = constants.S_IFREG | 0o444

/** Compares the files at or below `path`, '' for all. @throws ObjectNotFoundError, CorruptRecordError, StoreError */
export async function* foreignDifferences(
  store: Store,
  before: Tid,
  after: Tid,
  path: string,
  progress: Progress = () => {},
): AsyncGenerator<Difference> {
  // Before the first transaction there is no root object.
  if ((await store.loadPart(ROOT_OID, before, 0, 1)) === undefined)
    return yield* eachOfForeign(store, allAdded(store, after, path))
  const comparison = new Comparison(
    store,
    await ForeignMoment.open(store, before),
    await ForeignMoment.open(store, after),
    progress,
  )
  return yield* eachOfForeign(store, comparison.run(path))
}

async function* allAdded(store: Store, at: Tid, path: string): AsyncGenerator<Difference> {
  if ((await store.loadPart(ROOT_OID, at, 0, 1)) === undefined) return
  const moment = await ForeignMoment.open(store, at)
  for await (const { name, file } of filesOf(store, at, path))
    yield { ...plain(name), kind: 'added', sizeAfter: (await moment.open(file)).size }
}

/** The files at or below `path`. */
async function* filesOf(
  store: Store,
  at: Tid,
  path: string,
): AsyncGenerator<{ readonly name: string; readonly file: Oid }> {
  const connection = await Connection.open(store, { at, cacheSizeBytes: CACHE_BYTES })
  for await (const { path: name, file } of walkNames(connection))
    if (path === '' || name === path || name.startsWith(`${path}/`)) yield { name, file }
}

class Comparison {
  readonly #store: Store
  readonly #before: ForeignMoment
  readonly #after: ForeignMoment
  readonly #progress: Progress
  #blocks = 0

  constructor(store: Store, before: ForeignMoment, after: ForeignMoment, progress: Progress) {
    this.#progress = progress
    this.#store = store
    this.#before = before
    this.#after = after
  }

  async *run(path: string): AsyncGenerator<Difference> {
    for await (const { name, file } of filesOf(this.#store, this.#before.at, path)) {
      const place = await this.#after.find(name)
      const sizeBefore = (await this.#before.open(file)).size
      if (place?.kind === 'file') {
        const difference = await this.#compare(name, file, place.file)
        if (difference !== undefined) yield difference
      } else yield { ...plain(name), kind: 'removed', sizeBefore }
    }
    for await (const { name, file } of filesOf(this.#store, this.#after.at, path)) {
      if ((await this.#before.find(name))?.kind === 'file') continue
      yield { ...plain(name), kind: 'added', sizeAfter: (await this.#after.open(file)).size }
    }
  }

  async #compare(name: string, file: Oid, other: Oid): Promise<Difference | undefined> {
    const [a, b] = [await this.#before.open(file), await this.#after.open(other)]
    const ranges: { lo: bigint; hi: bigint }[] = []
    const add = (lo: bigint, hi: bigint): void => {
      const last = ranges.at(-1)
      if (last !== undefined && (last.hi === lo || ranges.length === RANGES_MAX)) last.hi = hi
      else ranges.push({ lo, hi })
    }
    if (a.data.blksize === b.data.blksize) await this.#compareBlocks(a, b, add)
    else add(0n, b.size)
    if (ranges.length === 0 && a.size === b.size) return undefined
    return { ...plain(name), kind: 'changed', sizeBefore: a.size, sizeAfter: b.size, ranges }
  }

  async #compareBlocks(a: ForeignFile, b: ForeignFile, add: (lo: bigint, hi: bigint) => void): Promise<void> {
    const { blksize } = a.data
    for (let blk = -1; ;) {
      const from = blk + 1
      const next = [await nextBlock(a, from), await nextBlock(b, from)].filter(found => found !== undefined)
      if (next.length === 0) return
      blk = Math.min(...next)
      this.#progress('blocks compared', ++this.#blocks, 0)
      if (await this.#isSame(a, b, blk)) continue
      for (let lo = 0; lo < blksize; lo += PIECE_BYTES) {
        const off = BigInt(blk) * BigInt(blksize) + BigInt(lo)
        await this.#comparePiece(a, b, off, Math.min(PIECE_BYTES, blksize - lo), add)
      }
    }
  }

  async #comparePiece(
    a: ForeignFile,
    b: ForeignFile,
    off: bigint,
    len: number,
    add: (lo: bigint, hi: bigint) => void,
  ): Promise<void> {
    const x = joinBytes(await this.#before.read(a, off, len))
    const y = joinBytes(await this.#after.read(b, off, len))
    for (let lo = 0; lo < len; lo += UNIT_BYTES) {
      const hi = Math.min(len, lo + UNIT_BYTES)
      if (Buffer.compare(x.subarray(lo, hi), y.subarray(lo, hi)) === 0) continue
      // There are no differences beyond the larger file's end.
      const end = a.size > b.size ? a.size : b.size
      const [start, stop] = [off + BigInt(lo), off + BigInt(hi)]
      if (start < end) add(start, stop < end ? stop : end)
    }
  }

  /** Whether a block is the same object, of the same transaction, at both moments. */
  async #isSame(a: ForeignFile, b: ForeignFile, blk: number): Promise<boolean> {
    const [x, y] = [await a.object.blktab.get(blk), await b.object.blktab.get(blk)]
    if (!(x instanceof Ref) || !(y instanceof Ref) || x.oid !== y.oid) return false
    const [before, after] = [
      await this.#store.loadPart(x.oid, this.#before.at, 0, 1),
      await this.#store.loadPart(y.oid, this.#after.at, 0, 1),
    ]
    return before !== undefined && before.tid === after?.tid
  }
}

const plain = (path: string) => ({ path, mode: FILE_MODE, attributes: [], ranges: [] })

async function nextBlock({ object }: ForeignFile, from: number): Promise<number | undefined> {
  await object.activate()
  return await object.blktab.minKey(from)
}
