/**
 * Small reads at ascending positions of a big file, through one buffer.
 *
 * A new window is read when the requested bytes are outside the current one; bytes between two windows are never read.
 * So small records are read sequentially, and of big ones only the headers.
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

  /** Discards the window: the file may have changed. */
  reset(): void {
    this.#length = 0
  }

  /**
   * The `length` bytes (at most 64 KiB) at `pos`, valid until the next call; undefined if the file ends earlier.
   */
  read(pos: number, length: number): Buffer | undefined {
    if (pos < this.#start || pos + length > this.#start + this.#length) {
      this.#start = pos
      this.#length = readFully(this.#fd, this.#bytes, pos)
      if (this.#length < length) return undefined
    }
    return this.#bytes.subarray(pos - this.#start, pos - this.#start + length)
  }

  /** Reads bytes elsewhere without moving the window. */
  peek(pos: number, length: number): Buffer | undefined {
    if (pos >= this.#start && pos + length <= this.#start + this.#length) return this.read(pos, length)
    const bytes = Buffer.allocUnsafe(length)
    return readFully(this.#fd, bytes, pos) === length ? bytes : undefined
  }
}

/** Fills `bytes` from `pos` up to the file's end; returns the number of bytes read. */
export function readFully(fd: number, bytes: Uint8Array, pos: number): number {
  let length = 0
  while (length < bytes.length) {
    const read = readSync(fd, bytes, length, bytes.length - length, pos + length)
    if (read === 0) break
    length += read
  }
  return length
}
