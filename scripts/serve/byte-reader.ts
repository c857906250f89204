/** Reads a socket by exact lengths. */
import type { Socket } from 'node:net'

export class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.#chunks = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]()
  }

  /** The next `length` bytes; undefined if the connection ended before. The memory belongs to the caller. */
  async take(length: number): Promise<Buffer | undefined> {
    if (this.#rest.length >= length) return this.#cut(length)
    const parts = [this.#rest]
    let left = length - this.#rest.length
    while (left > 0) {
      const { value, done } = await this.#chunks.next()
      if (done === true) return undefined
      parts.push(value)
      left -= value.length
    }
    this.#rest = Buffer.concat(parts)
    return this.#cut(length)
  }

  #cut(length: number): Buffer {
    const taken = this.#rest.subarray(0, length)
    this.#rest = this.#rest.subarray(length)
    return taken
  }
}
