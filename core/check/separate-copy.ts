/** A copy of a file in objects of its own, for a file that shares objects with another one. It shares the stored bytes. */
import { BigFile } from '../big-file/big-file.ts'
import { CHUNK_BYTES, chunkUp } from '../big-file/chunks.ts'
import type { Connection } from '../objects/connection.ts'
import type { ZBigFile } from '../zblk/zbigfile.ts'

/** Copied at once, so that memory is bounded. */
const SHARED_BYTES = 32n << 20n
/** The same for a file whose blocks are not whole chunks, so that its bytes cannot be shared. */
const COPIED_BYTES = 1n << 20n

/** @param commit stores what was copied so far if it takes much memory. */
export async function separateCopy(
  connection: Connection,
  from: BigFile,
  size: bigint,
  commit: () => Promise<void>,
): Promise<ZBigFile> {
  const made = await BigFile.create(connection)
  const isShared = from.blksize % CHUNK_BYTES === 0
  for (let off = 0n; off < size;) {
    const data = await from.seekData(off)
    if (data === undefined || data >= size) break
    const hole = await from.seekHole(data, size)
    const part = min(hole - data, isShared ? SHARED_BYTES : COPIED_BYTES)
    if (isShared) await made.share(from, data, data, chunkUp(Number(part)))
    else await made.write(data, Buffer.concat(await from.read(data, Number(part))))
    off = data + part
    await made.prepare()
    await commit()
  }
  await made.truncate(size)
  await made.prepare()
  return made.file
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)
