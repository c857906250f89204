/** An open file. */
import { Duplex, type Writable } from 'node:stream'
import { constants } from 'node:fs'
import { ErrnoError } from '../file-system/errno.ts'
import type { Caller, Fh, Ino, Operations } from '../file-system/operations.ts'
import { asFileError } from './file-error.ts'
import { Stats } from './stats.ts'

const { O_ACCMODE, O_RDONLY, O_WRONLY, O_APPEND } = { O_ACCMODE: 3, ...constants }
/** Read and written at once by whole-file calls and streams: a block of a file. */
const PIECE_BYTES = 2 << 20

/** Runs each operation of a {@link Files} or {@link File}; it may wait, or refuse. */
export type Guard = <T>(work: () => Promise<T>) => Promise<T>

/** What a file is opened with. */
export interface FileParts {
  readonly operations: Operations
  readonly caller: Caller
  readonly guard: Guard
  readonly ino: Ino
  readonly fh: Fh
  /** As open(2) has them. */
  readonly flags: number
  /** As it was named, for errors. */
  readonly path: string
}

export interface ReadStreamOptions {
  /** The first byte that is read. */
  readonly start?: number
  /** The last byte that is read. */
  readonly end?: number
  readonly encoding?: BufferEncoding
  readonly signal?: AbortSignal | undefined
}

/**
 * An open file, as `FileHandle` of node:fs/promises has it. Positions and lengths are in bytes. Operations run in the order in
 * which they are called as far as each awaits the one before; those that run at once are atomic each.
 *
 * Writing makes nothing durable: call {@link File.sync}. Every method throws a FileError with a POSIX code (EBADF once
 * the file is closed), or a coded error where the database fails.
 */
export class File implements AsyncDisposable {
  readonly #parts: FileParts
  #position = 0n
  #isClosed = false
  /** Appends follow one another: each begins where the file ends. */
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

  /** From the current position on; what the file has behind it stays. */
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
    return new Stats(await this.#run('fstat', () => operations.getattr(ino, fh)))
  }

  /** Sets the size; what is added reads as zeros and takes no room. */
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

  /** Makes `[offset, offset + length)` a hole: it reads as zeros and takes no room. The size stays. */
  async punchHole(offset: number | bigint, length: number | bigint): Promise<void> {
    const { operations, ino, fh, caller } = this.#parts
    const mode = { keepSize: true, punchHole: true, zeroRange: false }
    await this.#run('fallocate', async () => {
      this.#assertOpenFor(O_WRONLY)
      await operations.allocate(ino, fh, mode, BigInt(offset), BigInt(length), () => caller.uid === 0)
    })
  }

  /** The next position of data, or of a hole, from `position` on; undefined where there is none. */
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

  /** Resolves when everything that was written to the file is on disk. */
  async sync(): Promise<void> {
    const { operations, ino, fh } = this.#parts
    await this.#run('fsync', () => operations.fsync(ino, fh, false))
  }

  /** The same but for attributes that are not needed to read the data. */
  async datasync(): Promise<void> {
    const { operations, ino, fh } = this.#parts
    await this.#run('fdatasync', () => operations.fsync(ino, fh, true))
  }

  /** The bytes of a range, a few at a time. The current position moves along. */
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

  /** What the operations know the open file by. @internal */
  get handle(): { readonly ino: Ino; readonly fh: Fh } {
    return this.#parts
  }

  /** Closing makes nothing durable. A second time it does nothing. */
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
    const { operations, ino, fh } = this.#parts
    const append = this.#appending.then(async () => {
      const { size } = await operations.getattr(ino, fh)
      await this.#writeAt(bytes, size)
      this.#position = size + BigInt(bytes.length)
    })
    this.#appending = append.catch(() => undefined)
    await append
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

/** Copies pieces that follow one another into `into`, unless they lie there; returns their length. */
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

/** A stream into a file, which it opens first and closes at its end. */
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
