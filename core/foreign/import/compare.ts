/** Compares an imported file with its source: every block of either, byte by byte. */
import { joinBytes } from '../../bytes.ts'
import type { Connection } from '../../objects/connection.ts'
import { readingForeign } from '../damage.ts'
import { openForeignFile, type ForeignFile } from '../file.ts'
import { ObjectNotFoundError } from '../../../store/errors.ts'
import type { Oid } from '../../../store/ids.ts'

/** Bytes compared together. */
const PIECE_BYTES = 4 << 20

/** A file and the connection through which it is read. */
export interface ComparedFile {
  readonly connection: Connection
  readonly file: Oid
}

export interface CompareOptions {
  /** Receives the number of bytes compared. */
  readonly progress: (bytes: number) => void
  /** Receives each missing object that the source refers to. */
  readonly onMissing: (oid: Oid) => void
}

/**
 * Compares two files. Data that cannot be read in the source because an object is missing must not be readable in the
 * copy either.
 * @returns the first difference in words; undefined if there is none.
 */
export async function compareFiles(
  source: ComparedFile,
  copy: ComparedFile,
  { progress, onMissing }: CompareOptions,
): Promise<string | undefined> {
  const both = async <T>(read: (file: ComparedFile) => Promise<T>) => {
    const theirs = await readingForeign(source.connection, () => present(() => read(source)))
    const ours = await present(() => read(copy))
    if (theirs.missing !== undefined) onMissing(theirs.missing)
    return { theirs, ours, isMissing: theirs.missing !== undefined || ours.missing !== undefined }
  }
  const files = await both(({ connection, file }) => openForeignFile(connection, file))
  const [a, b] = [files.theirs.value, files.ours.value]
  if (a === undefined || b === undefined) return a === b ? undefined : missingIn(a, 'its table of blocks')
  if (a.data.blksize !== b.data.blksize) return `its blksize is ${b.data.blksize}, not ${a.data.blksize}`
  if (a.size !== b.size) return `its size is ${b.size}, not ${a.size}`
  const of = (side: ComparedFile): ForeignFile => (side === source ? a : b)
  const { blksize } = a.data
  for (let blk = -1; ;) {
    const next = await both(side => nextBlock(of(side), blk))
    const [at, ours] = [next.theirs.value, next.ours.value]
    if (at !== ours) return `it has other blocks from ${blk + 1} on`
    if (at === undefined) return undefined
    blk = at
    for (let lo = 0; lo < blksize; lo += PIECE_BYTES) {
      const len = Math.min(PIECE_BYTES, blksize - lo)
      const off = BigInt(at) * BigInt(blksize) + BigInt(lo)
      const bytes = await both(async side => joinBytes(await of(side).data.read(off, len)))
      const [x, y] = [bytes.theirs.value, bytes.ours.value]
      if (x === undefined || y === undefined) {
        if (x !== y) return missingIn(x, `block ${at}`)
      } else if (Buffer.compare(x, y) !== 0) return `block ${at} differs`
      progress(len)
    }
  }
}

const missingIn = (theirs: unknown, what: string): string =>
  `${what} is missing only in the ${theirs === undefined ? 'source' : 'copy'}`

interface Found<T> {
  readonly value?: T
  readonly missing?: Oid
}

async function present<T>(read: () => Promise<T>): Promise<Found<T>> {
  try {
    return { value: await read() }
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return { missing: error.oid }
    throw error
  }
}

async function nextBlock({ object }: ForeignFile, blk: number): Promise<number | undefined> {
  await object.activate()
  return await object.blktab.minKey(blk + 1)
}
