/** Compares an imported file with the one that it was made from: every block that either has, byte by byte. */
import { joinBytes } from '../../bytes.ts'
import type { Connection } from '../../objects/connection.ts'
import { readingForeign } from '../damage.ts'
import { openForeignFile, type ForeignFile } from '../file.ts'
import type { Oid } from '../../../store/ids.ts'

/** Bytes compared at once. */
const PIECE_BYTES = 4 << 20

/**
 * The first difference in words; undefined where there is none.
 * @param progress told how many bytes were compared.
 */
export async function compareFiles(
  source: Connection,
  file: Oid,
  ours: Connection,
  copy: Oid,
  progress: (bytes: number) => void,
): Promise<string | undefined> {
  const a = await readingForeign(source, () => openForeignFile(source, file))
  const b = await openForeignFile(ours, copy)
  if (a.data.blksize !== b.data.blksize) return `its blksize is ${b.data.blksize}, not ${a.data.blksize}`
  if (a.size !== b.size) return `its size is ${b.size}, not ${a.size}`
  for (let blk = -1; ;) {
    const next = await readingForeign(source, () => nextBlock(a, blk))
    if (next !== (await nextBlock(b, blk))) return `it has other blocks from ${blk + 1} on`
    if (next === undefined) return undefined
    blk = next
    const { blksize } = a.data
    for (let lo = 0; lo < blksize; lo += PIECE_BYTES) {
      const len = Math.min(PIECE_BYTES, blksize - lo)
      const off = BigInt(blk) * BigInt(blksize) + BigInt(lo)
      const bytes = joinBytes(await readingForeign(source, () => a.data.read(off, len)))
      if (Buffer.compare(bytes, joinBytes(await b.data.read(off, len))) !== 0) return `block ${blk} differs`
      progress(len)
    }
  }
}

const nextBlock = ({ object }: ForeignFile, blk: number): Promise<number | undefined> =>
  object.activate().then(() => object.blktab.minKey(blk + 1))
