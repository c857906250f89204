/** When the blocks of a file were last changed, at one moment. */
import { BLKSIZE, ZBigFile } from '../zblk/zbigfile.ts'
import { Ref } from '../objects/pickle/value.ts'
import type { Inode } from '../tree/inode.ts'
import type { Store } from '../../store/store.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { Connection } from '../objects/connection.ts'
import { Turns } from '../turns.ts'
import type { MomentView } from './moment-view.ts'

/** Maximum number of blocks of a cell whose transactions are read. */
const SAMPLE_MAX = 8

/** Consecutive blocks of a file. */
export interface Cell {
  /** Blocks `[lo, hi)`. */
  readonly lo: number
  readonly hi: number
  /** The last transaction that changed one of them; undefined if none of them has data. */
  readonly tid: Tid | undefined
  /** Whether the cell has more blocks with data than were read, so that `tid` is a lower bound. */
  readonly isSampled: boolean
}

export interface BlockAges {
  /** Size of a block, in bytes. */
  readonly blksize: number
  readonly cells: readonly Cell[]
}

/**
 * The blocks of bytes `[lo, hi)` of a regular file, in at most `count` cells of equal length. The time it takes is in proportion to
 * `count`, not to the file.
 * @throws CorruptRecordError, StoreError
 */
export async function blockAges(
  store: Store,
  { connection, at }: MomentView,
  inode: Inode,
  { lo, hi, count }: { readonly lo: bigint; readonly hi: bigint; readonly count: number },
): Promise<BlockAges> {
  const file = await dataOf(connection, inode)
  const blksize = file?.blksize ?? BLKSIZE
  const size = BigInt(blksize)
  const [first, end] = [Number(lo / size), Number((hi + size - 1n) / size)]
  const length = Math.max(1, Math.ceil((end - first) / count))
  const cells: Cell[] = []
  const turns = new Turns()
  for (let cell = first; cell < end; cell += length) {
    await turns.pass()
    const next = Math.min(cell + length, end)
    let tid: Tid | undefined
    let found = 0
    for await (const oid of blocksIn(inode, file, cell, next)) {
      if (++found > SAMPLE_MAX) break
      const part = await store.loadPart(oid, at, 0, 0)
      if (part !== undefined && (tid === undefined || part.tid > tid)) tid = part.tid
    }
    cells.push({ lo: cell, hi: next, tid, isSampled: found > SAMPLE_MAX })
  }
  return { blksize, cells }
}

async function dataOf(connection: Connection, { data }: Inode): Promise<ZBigFile | undefined> {
  if (data === undefined) return undefined
  const file = connection.resolve(data)
  if (!(file instanceof ZBigFile)) throw file.corrupt(`it is a ${file.className}`)
  await file.activate()
  return file
}

/** The objects with the data of blocks `[lo, hi)`: inline data is in the inode. */
async function* blocksIn(
  inode: Inode,
  file: ZBigFile | undefined,
  lo: number,
  hi: number,
): AsyncGenerator<Oid> {
  if (file !== undefined) {
    for await (const [, ref] of file.blktab.range({ lo, hi })) if (ref instanceof Ref) yield ref.oid
  } else if (lo === 0 && inode.inlineData !== undefined) yield inode.oid
}
