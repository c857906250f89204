/** Writes the frames of a stream (format.ts), and reads them in bounded memory, each verified before it is used. */
import { xxh64 } from '../../store/checksum.ts'
import { StoreError } from '../../store/errors.ts'
import {
  FRAME,
  FRAME_HEADER_BYTES,
  FRAME_SUM_BYTES,
  type Framing,
  PAYLOAD_BYTES_MAX,
  STREAM,
} from './format.ts'

export interface Frame {
  readonly kind: number
  readonly payload: Buffer
}

/** The greatest number of a kind, of both framings. */
const LAST_KIND = FRAME.end

/** @throws always: StoreError with the code `bad-stream` */
export function refuse(reason: string): never {
  throw new StoreError(`this is not a sound stream: ${reason}`, { code: 'bad-stream' })
}

/** The bytes of a frame besides its payload. */
export const OVERHEAD_BYTES = FRAME_HEADER_BYTES + FRAME_SUM_BYTES

export class FrameWriter {
  #sum: bigint

  constructor({ magic }: Framing = STREAM) {
    this.#sum = xxh64(magic)
  }

  /** @throws StoreError if a receiver would refuse the frame. */
  frame(kind: number, ...parts: readonly Uint8Array[]): Buffer {
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    if (length > PAYLOAD_BYTES_MAX) throw new StoreError(`a record of ${length} bytes cannot be sent`)
    const frame = Buffer.allocUnsafe(OVERHEAD_BYTES + length)
    frame.writeUInt32LE(kind, 0)
    frame.writeUInt32LE(length, 4)
    let at = FRAME_HEADER_BYTES
    for (const part of parts) {
      frame.set(part, at)
      at += part.length
    }
    this.#sum = xxh64(frame.subarray(0, at), this.#sum)
    frame.writeBigUInt64LE(this.#sum, at)
    return frame
  }
}

/** Bytes of a stream, which arrive in pieces. */
export class FrameReader {
  readonly #input: AsyncIterator<Uint8Array>
  readonly #framing: Framing
  readonly #pieces: Buffer[] = []
  #length = 0
  #sum = 0n

  constructor(input: AsyncIterable<Uint8Array>, framing = STREAM) {
    this.#input = input[Symbol.asyncIterator]()
    this.#framing = framing
  }

  /** Reads the magic of a stream; resolves to false at the end of the input. @throws StoreError */
  async begin(): Promise<boolean> {
    if (!(await this.#fill(1))) return false
    const { magic, magicStart } = this.#framing
    const start = await this.#take(magic.length)
    if (!start.equals(magic)) {
      const isOther = start.toString('latin1').startsWith(magicStart)
      refuse(isOther ? 'it has the format of another version of zblkfs' : 'it does not begin as one')
    }
    this.#sum = xxh64(magic)
    return true
  }

  /** @throws StoreError with the code `cut-stream` at the end of the input, or `bad-stream`. */
  async next(): Promise<Frame> {
    const header = await this.#peek(FRAME_HEADER_BYTES)
    const kind = header.readUInt32LE(0)
    const length = header.readUInt32LE(4)
    if (kind < FRAME.begin || kind > LAST_KIND) refuse(`it has a frame of an unknown kind, ${kind}`)
    if (length > PAYLOAD_BYTES_MAX) refuse(`it has a frame of ${length} bytes`)
    const end = FRAME_HEADER_BYTES + length
    const frame = await this.#take(end + FRAME_SUM_BYTES)
    const sum = xxh64(frame.subarray(0, end), this.#sum)
    if (frame.readBigUInt64LE(end) !== sum) refuse('a checksum differs')
    this.#sum = sum
    return { kind, payload: frame.subarray(FRAME_HEADER_BYTES, end) }
  }

  /** Ends the input early. */
  async close(): Promise<void> {
    await this.#input.return?.()
  }

  async #take(length: number): Promise<Buffer> {
    const taken = await this.#peek(length)
    const [first] = this.#pieces
    this.#length -= length
    if (first === undefined || first.length === length) this.#pieces.shift()
    else this.#pieces[0] = first.subarray(length)
    return taken
  }

  /** The next bytes, which stay. */
  async #peek(length: number): Promise<Buffer> {
    if (!(await this.#fill(length))) throw new StoreError('the stream ends early', { code: 'cut-stream' })
    const [first] = this.#pieces
    const all = first !== undefined && first.length >= length ? first : Buffer.concat(this.#pieces)
    if (all !== first) this.#pieces.splice(0, this.#pieces.length, all)
    return all.subarray(0, length)
  }

  /** Whether this many bytes are there. */
  async #fill(length: number): Promise<boolean> {
    while (this.#length < length) {
      const { done, value } = await this.#input.next()
      if (done === true) return false
      if (value.length === 0) continue
      this.#pieces.push(Buffer.from(value.buffer, value.byteOffset, value.length))
      this.#length += value.length
    }
    return true
  }
}
