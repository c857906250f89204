/** An open file. */
import { Duplex, type Writable } from 'node:stream'
import { constants } from 'node:fs'
import { ErrnoError } from '../file-system/errno.ts'
import type { Caller, Fh, Ino, Operations } from '../file-system/operations.ts'
import { asFileError } from './file-error.ts'
import { Stats } from './stats.ts'

const { O_ACCMODE, O_RDONLY, O_WRONLY, O_APPEND } = { O_ACCMODE: 3, ...constants }
/** Unit in which whole-file calls and streams read and write: one block of a file. */
const PIECE_BYTES = 2 << 20

/** Runs each operation of a {@link Files} or {@link File}; it may delay or reject it. */
export type Guard = <T>(work: () => Promise<T>) => Promise<T>

/** What an open file needs. */
export interface FileParts {
  readonly operations: Operations
  readonly caller: Caller
  readonly guard: Guard
  readonly ino: Ino
  readonly fh: Fh
  /** The flags of open(2). */
  readonly flags: number
  /** The path as the caller gave it, for error messages. */
  readonly path: string
}

export interface ReadStreamOptions {
  /** First byte to read. */
  readonly start?: number
  /** Last byte to read, inclusive. */
  readonly end?: number
  readonly encoding?: BufferEncoding
  readonly signal?: AbortSignal | undefined
}

/**
 * An open file, modelled on `FileHandle` of node:fs/promises. Positions and lengths are in bytes. Concurrent operations are each
 * atomic, in no defined order; await one before the next to order them.
 *
 * Writes are not durable by themselves: call {@link File.sync}. Every method throws a FileError with a POSIX code (EBADF once
 * the file is closed), or a coded error if the database fails.
 */
export class File implements AsyncDisposable {
  readonly #parts: FileParts
  #position = 0n
  #isClosed = false
  /** Serialises appends, so that the pieces of a long one follow each other. */
  #appending: Promise<unknown> = Promise.resolve()

  constructor(parts: FileParts) {
    this.#parts = parts
  }

  /**
   * Reads up to `length` bytes into `buffer` from `offset` on; fewer only at the end of the file.
   * @param position in the file; null or absent: the current position, which moves.
   */
  async read<T extends Uint8Array>(
    buffer: T,
    offset = 0,
    length: number = buffer.byteLength - offset,
    position: number | bigint | null = null,
  ): Promise<{ readonly bytesRead: number; readonly buffer: T }> {
    assertWithin(buffer, offset, length)
    const into = new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length)
    const at = position === null ? this.#position : BigInt(position)
    const bytesRead = await this.#run('read', () => this.#readInto(into, at))
    if (position === null) this.#position = at + BigInt(bytesRead)
    return { bytesRead, buffer }
  }

  /**
   * Writes `length` bytes of `data` from `offset` on; all of them. A file that was opened for appending is written at its end.
   * @param position in the file; null or absent: the current position, which moves.
   */
  async write<T extends Uint8Array>(
    data: T,
    offset = 0,
    length: number = data.byteLength - offset,
    position: number | bigint | null = null,
  ): Promise<{ readonly bytesWritten: number; readonly buffer: T }> {
    assertWithin(data, offset, length)
    const bytes = new Uint8Array(data.buffer, data.byteOffset + offset, length)
    await this.#run('write', async () => {
      this.#assertOpenFor(O_WRONLY)
      if (this.#parts.flags & O_APPEND) return await this.#append(bytes)
      const at = position === null ? this.#position : BigInt(position)
      await this.#writeAt(bytes, at)
      if (position === null) this.#position = at + BigInt(length)
    })
    return { bytesWritten: length, buffer: data }
  }

  /** From the current position to the end. */
  async readFile(): Promise<Buffer>
  async readFile(options: {
    readonly encoding: BufferEncoding
    readonly signal?: AbortSignal | undefined
  }): Promise<string>
  async readFile(options: {
    readonly encoding?: BufferEncoding | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<Buffer | string>
  async readFile({
    encoding,
    signal,
  }: {
    readonly encoding?: BufferEncoding | undefined
    readonly signal?: AbortSignal | undefined
  } = {}): Promise<Buffer | string> {
    const { sizeExact } = await this.stat()
    const rest = sizeExact > this.#position ? sizeExact - this.#position : 0n
    if (rest > BigInt(Number.MAX_SAFE_INTEGER)) throw this.#failure(new ErrnoError('EFBIG'), 'read')
    const bytes = Buffer.alloc(Number(rest))
    let length = 0
    while (length < bytes.length) {
      signal?.throwIfAborted()
      const { bytesRead } = await this.read(bytes, length, Math.min(PIECE_BYTES, bytes.length - length))
      if (bytesRead === 0) break
      length += bytesRead
    }
    const read = bytes.subarray(0, length)
    return encoding === undefined ? read : read.toString(encoding)
  }

  /** Writes from the current position on; the file is not truncated. */
  async writeFile(
    data: string | Uint8Array,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    for (let offset = 0; offset < bytes.byteLength; offset += PIECE_BYTES) {
      signal?.throwIfAborted()
      await this.write(bytes, offset, Math.min(PIECE_BYTES, bytes.byteLength - offset))
    }
  }

  async stat(): Promise<Stats> {
    const { operations, ino, fh } = this.#parts
    return new Stats(await this.#run('fstat', async () => await operations.getattr(ino, fh)))
  }

  /** Sets the size; an extension reads as zeros and takes no space. */
  async truncate(size: number | bigint = 0): Promise<void> {
    const { operations, ino, fh, caller } = this.#parts
    await this.#run('ftruncate', async () => {
      this.#assertOpenFor(O_WRONLY)
      await operations.setattr(ino, { size: BigInt(size), fh, dropsSetuid: caller.uid !== 0 }, caller)
    })
  }

  async chmod(mode: number): Promise<void> {
    const { operations, ino, fh, caller } = this.#parts
    await this.#run('fchmod', () => operations.setattr(ino, { mode, fh }, caller))
  }

  /** Makes `[offset, offset + length)` a hole: it reads as zeros and takes no space. The size is unchanged. */
  async punchHole(offset: number | bigint, length: number | bigint): Promise<void> {
    const { operations, ino, fh, caller } = this.#parts
    const mode = { keepSize: true, punchHole: true, zeroRange: false }
    await this.#run('fallocate', async () => {
      this.#assertOpenFor(O_WRONLY)
      await operations.allocate(ino, fh, mode, BigInt(offset), BigInt(length), () => caller.uid === 0)
    })
  }

  /** The next position of data, or of a hole, from `position` on; undefined if there is none. */
  async seek(position: number | bigint, whence: 'data' | 'hole'): Promise<bigint | undefined> {
    const { operations, ino, fh } = this.#parts
    return await this.#run('lseek', async () => {
      try {
        return await operations.seek(ino, fh, BigInt(position), whence)
      } catch (error) {
        if (error instanceof ErrnoError && error.code === 'ENXIO') return undefined
        throw error
      }
    })
  }

  /** Resolves when all data written to the file is on disk. */
  async sync(): Promise<void> {
    const { operations, ino, fh } = this.#parts
    await this.#run('fsync', () => operations.fsync(ino, fh, false))
  }

  /** As {@link File.sync}, without attributes that reading the data does not need. */
  async datasync(): Promise<void> {
    const { operations, ino, fh } = this.#parts
    await this.#run('fdatasync', () => operations.fsync(ino, fh, true))
  }

  /** Yields the bytes of a range in pieces. Advances the current position. */
  async *pieces({ start, end, signal }: ReadStreamOptions = {}): AsyncGenerator<Buffer> {
    if (start !== undefined) this.#position = BigInt(start)
    let left = end === undefined ? Infinity : end + 1 - Number(this.#position)
    while (left > 0) {
      signal?.throwIfAborted()
      const { bytesRead, buffer } = await this.read(Buffer.allocUnsafe(Math.min(PIECE_BYTES, left)))
      if (bytesRead === 0) return
      left -= bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  /** The handle that operations use for the open file. @internal */
  get handle(): { readonly ino: Ino; readonly fh: Fh } {
    return this.#parts
  }

  /** Closes the file without making it durable. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const { operations, ino, fh } = this.#parts
    await operations.release(ino, fh)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #readInto(into: Uint8Array, at: bigint): Promise<number> {
    const { operations, ino, fh } = this.#parts
    this.#assertOpenFor(O_RDONLY)
    let done = 0
    while (done < into.length) {
      const wanted = Math.min(PIECE_BYTES, into.length - done)
      const rest = into.subarray(done, done + wanted)
      const pieces = await operations.read(ino, fh, at + BigInt(done), wanted, rest)
      const read = gather(pieces, rest)
      done += read
      if (read < wanted) break
    }
    return done
  }

  async #writeAt(bytes: Uint8Array, at: bigint): Promise<void> {
    const { operations, ino, fh, caller } = this.#parts
    for (let done = 0; done < bytes.length; done += PIECE_BYTES) {
      const piece = bytes.subarray(done, done + PIECE_BYTES)
      await operations.write(ino, fh, at + BigInt(done), piece, () => caller.uid === 0)
    }
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const append = this.#appending.then(() => this.#appendPieces(bytes))
    this.#appending = append.catch(() => undefined)
    await append
  }

  async #appendPieces(bytes: Uint8Array): Promise<void> {
    const { operations, ino, fh, caller } = this.#parts
    for (let done = 0; done < bytes.length; done += PIECE_BYTES) {
      const piece = bytes.subarray(done, done + PIECE_BYTES)
      this.#position = await operations.append(ino, fh, piece, () => caller.uid === 0)
    }
  }

  #assertOpenFor(access: number): void {
    const mode = this.#parts.flags & O_ACCMODE
    if (mode === (access === O_WRONLY ? O_RDONLY : O_WRONLY)) throw new ErrnoError('EBADF')
  }

  async #run<T>(syscall: string, work: () => Promise<T>): Promise<T> {
    try {
      if (this.#isClosed) throw new ErrnoError('EBADF')
      return await this.#parts.guard(work)
    } catch (error) {
      throw this.#failure(error, syscall)
    }
  }

  #failure(error: unknown, syscall: string): unknown {
    return asFileError(error, { syscall, path: this.#parts.path })
  }
}

/** Copies consecutive pieces into `into`, unless they are already there; returns their length. */
function gather(pieces: readonly Uint8Array[], into: Uint8Array): number {
  let length = 0
  for (const piece of pieces) {
    const isThere = piece.buffer === into.buffer && piece.byteOffset === into.byteOffset + length
    if (!isThere) into.set(piece, length)
    length += piece.length
  }
  return length
}

function assertWithin(buffer: Uint8Array, offset: number, length: number): void {
  if (offset < 0 || length < 0 || offset + length > buffer.byteLength)
    throw new RangeError(
      `offset ${offset} and length ${length} are not within a buffer of ${buffer.byteLength} bytes`,
    )
}

/** A stream that opens a file, writes to it and closes it at the end. */
export function writableTo(open: () => Promise<File>, start?: number): Writable {
  return Duplex.from(async (source: AsyncIterable<string | Uint8Array>) => {
    const file = await open()
    try {
      let position = start
      for await (const piece of source) {
        const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece
        await file.write(bytes, 0, bytes.byteLength, position)
        if (position !== undefined) position += bytes.byteLength
      }
    } finally {
      await file.close()
    }
  })
}
