/**
 * Small reads at ascending positions of a big file, through one buffer.
 *
 * A window is read where the bytes asked for are not in it, and what lies between two windows is never read:
 * among small records the file is read from front to back, among big ones only their headers are.
 */
import { readSync } from 'node:fs'

const WINDOW_BYTES = 64 * 1024

export class Window {
  readonly #fd: number
  readonly #bytes = Buffer.allocUnsafe(WINDOW_BYTES)
  #start = 0
  #length = 0

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Forgets what was read: the file may have changed. */
  reset(): void {
    this.#length = 0
  }

  /**
   * The `length` bytes (at most 64 KiB) at `pos`, good until the next call; undefined where the file ends before.
   */
  read(pos: number, length: number): Buffer | undefined {
    if (pos < this.#start || pos + length > this.#start + this.#length) {
      this.#start = pos
      this.#length = readFully(this.#fd, this.#bytes, pos)
      if (this.#length < length) return undefined
    }
    return this.#bytes.subarray(pos - this.#start, pos - this.#start + length)
  }

  /** The same for bytes that lie elsewhere: the window stays where it is. */
  peek(pos: number, length: number): Buffer | undefined {
    if (pos >= this.#start && pos + length <= this.#start + this.#length) return this.read(pos, length)
    const bytes = Buffer.allocUnsafe(length)
    return readFully(this.#fd, bytes, pos) === length ? bytes : undefined
  }
}

/** Fills `bytes` from `pos` as far as the file goes; the number of bytes read. */
export function readFully(fd: number, bytes: Uint8Array, pos: number): number {
  let length = 0
  while (length < bytes.length) {
    const read = readSync(fd, bytes, length, bytes.length - length, pos + length)
    if (read === 0) break
    length += read
  }
  return length
}
