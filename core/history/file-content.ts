/** The bytes of a file at a moment. */
import { BigFile } from '../big-file/big-file.ts'
import type { Inode } from '../tree/inode.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import type { MomentView } from './moment-view.ts'

const PIECE_BYTES = 2n << 20n

export class FileContent {
  readonly size: bigint
  /** Absent if nothing was ever written; the first bytes if they are in the inode. */
  readonly #data: BigFile | Uint8Array | undefined

  private constructor(size: bigint, data: BigFile | Uint8Array | undefined) {
    this.size = size
    this.#data = data
  }

  /** @param inode a regular file's in that view, activated. @throws CorruptRecordError */
  static async of({ connection }: MomentView, { size, data, inlineData }: Inode): Promise<FileContent> {
    const object = data === undefined ? undefined : connection.resolve(data)
    if (object !== undefined && !(object instanceof ZBigFile))
      throw object.corrupt(`a file's data is a ${object.className}`)
    return new FileContent(size, object === undefined ? inlineData : await BigFile.open(connection, object))
  }

  /** Bytes `[lo, hi)`, as far as the file reaches, in consecutive pieces. Each is valid until the next is requested. */
  async *pieces(lo = 0n, hi = this.size): AsyncGenerator<Uint8Array> {
    const end = hi < this.size ? hi : this.size
    for (let off = lo; off < end; off += PIECE_BYTES) {
      const len = Number(end - off < PIECE_BYTES ? end - off : PIECE_BYTES)
      if (this.#data instanceof BigFile) yield* await this.#data.read(off, len)
      else yield inlinePart(this.#data, Number(off), len)
    }
  }

  /** The whole content. Only for files that are known to be small. */
  async whole(): Promise<Buffer> {
    const pieces: Uint8Array[] = []
    for await (const piece of this.pieces()) pieces.push(Uint8Array.from(piece))
    return Buffer.concat(pieces)
  }
}

function inlinePart(data: Uint8Array | undefined, off: number, len: number): Uint8Array {
  const bytes = new Uint8Array(len)
  if (data !== undefined) bytes.set(data.subarray(off, off + len))
  return bytes
}
