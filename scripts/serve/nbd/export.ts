/** A file as a block device of fixed size. */
import type { File } from '../../../core/database/file.ts'
import { Allocation, Transmission } from './protocol.ts'

/** A part of a device that is data, or a hole. */
export interface Extent {
  readonly length: bigint
  /** Bits of {@link Allocation}. */
  readonly status: number
}

export class NbdExport {
  readonly name: string
  readonly size: bigint
  readonly flags: number
  readonly file: File
  readonly readOnly: boolean

  private constructor(name: string, file: File, size: bigint, readOnly: boolean) {
    this.name = name
    this.file = file
    this.size = size
    this.readOnly = readOnly
    const { HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN } =
      Transmission
    this.flags =
      HAS_FLAGS |
      CAN_MULTI_CONN |
      (readOnly ? READ_ONLY : SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES)
  }

  /** @param name as clients request it. */
  static async of(name: string, file: File, readOnly: boolean): Promise<NbdExport> {
    const { sizeExact } = await file.stat()
    return new NbdExport(name, file, sizeExact, readOnly)
  }

  /** Whether `[offset, offset + length)` lies in the device. */
  has(offset: bigint, length: number): boolean {
    return offset + BigInt(length) <= this.size
  }

  /** Bytes behind the end of the file, which was cut since, are zeros. */
  async read(offset: bigint, length: number): Promise<Buffer> {
    const data = Buffer.allocUnsafe(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await this.file.read(data, done, length - done, offset + BigInt(done))
      if (bytesRead === 0) break
      done += bytesRead
    }
    return data.fill(0, done)
  }

  /** The extents from `offset` on, at most `limit`, within `length` bytes; at least one. */
  async extents(offset: bigint, length: number, limit: number): Promise<readonly Extent[]> {
    const end = offset + BigInt(length)
    const extents: Extent[] = []
    for (let at = offset; at < end && extents.length < limit;) {
      const data = (await this.file.seek(at, 'data')) ?? end
      const isData = data === at
      const next = isData ? ((await this.file.seek(at, 'hole')) ?? end) : data
      const until = next < end ? next : end
      extents.push({ length: until - at, status: isData ? 0 : Allocation.HOLE | Allocation.ZERO })
      at = until
    }
    return extents
  }
}
