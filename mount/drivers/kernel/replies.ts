/**
 * Replies, written to /dev/fuse with one writev each: header, structure, and data without a copy.
 *
 * | at | bytes | struct fuse_out_header                     |
 * |----|-------|--------------------------------------------|
 * | 0  | 4     | len, this header included                  |
 * | 4  | 4     | error: 0 or a negative errno               |
 * | 8  | 8     | unique, of the request; 0: a notification  |
 *
 * Every reply is encoded and sent within one call, so all share one scratch buffer.
 */
import { constants } from 'node:os'
import type { Logger } from 'pino'
import type {
  Attributes,
  DirectoryEntry,
  Entry,
  Fh,
  FileSystemStatistics,
  OpenFile,
  RequestedLock,
} from '../../../core/file-system/operations.ts'
import { writeAbsence, writeAttributes, writeEntry, writeStatx } from './abi/attributes.ts'
import { writeDirectoryEntry, writeDirectoryEntryPlus } from './abi/directory.ts'
import { setU64 } from './abi/fields.ts'
import { OpenFlag } from './abi/flags.ts'
import { type Agreement, MAX_TRANSFER_BYTES, writeInit } from './abi/init.ts'
import { writeLock } from './abi/lock.ts'
import type { RequestHeader } from './abi/message.ts'
import { opcodeName } from './abi/opcodes.ts'
import { addressOf, errno, writev } from './system-calls.ts'

const { ENOENT, ENODEV, ECONNABORTED, EIO } = constants.errno
const OUT_HEADER_BYTES = 16
/** Maximum number of buffers of one writev (IOV_MAX). */
const VECTORS_MAX = 1024
/** Flags of the reply to open. */
const PAGES_FLAG: Readonly<Record<OpenFile['pages'], number>> = {
  keep: OpenFlag.KEEP_CACHE,
  drop: 0,
  bypass: OpenFlag.DIRECT_IO,
  stream: OpenFlag.DIRECT_IO | OpenFlag.STREAM,
}

export class Replies {
  readonly #fd: number
  readonly #log: Logger
  readonly #bytes = Buffer.from(new ArrayBuffer(OUT_HEADER_BYTES + MAX_TRANSFER_BYTES))
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #vectors = new BigUint64Array(2 * VECTORS_MAX)
  readonly #vectorsAddress = addressOf(this.#vectors)
  /** The pieces of the reply that is being sent: the garbage collector must not free them before writev, which gets addresses. */
  readonly #sending: { pieces: readonly Uint8Array[] | undefined } = { pieces: undefined }

  constructor(fd: number, log: Logger) {
    this.#fd = fd
    this.#log = log
    this.#vectors[0] = addressOf(this.#bytes)
  }

  empty(request: RequestHeader): void {
    this.#send(request, 0)
  }

  /** @param errno positive. */
  error(request: RequestHeader, errno: number): void {
    this.#send(request, 0, errno)
  }

  init(request: RequestHeader, agreement: Agreement): void {
    this.#send(request, writeInit(this.#view, OUT_HEADER_BYTES, agreement))
  }

  entry(request: RequestHeader, entry: Entry): void {
    this.#send(request, writeEntry(this.#view, OUT_HEADER_BYTES, entry))
  }

  /** A name does not exist, which the kernel caches. */
  absence(request: RequestHeader): void {
    this.#send(request, writeAbsence(this.#view, OUT_HEADER_BYTES))
  }

  attributes(request: RequestHeader, attributes: Attributes): void {
    this.#send(request, writeAttributes(this.#view, OUT_HEADER_BYTES, attributes))
  }

  statx(request: RequestHeader, attributes: Attributes): void {
    this.#send(request, writeStatx(this.#view, OUT_HEADER_BYTES, attributes))
  }

  opened(request: RequestHeader, file: OpenFile): void {
    this.#send(request, this.#writeOpen(OUT_HEADER_BYTES, file))
  }

  openedDirectory(request: RequestHeader, fh: Fh): void {
    this.#send(request, this.#writeOpen(OUT_HEADER_BYTES, { fh, pages: 'drop' }))
  }

  created(request: RequestHeader, entry: Entry, file: OpenFile): void {
    const length = writeEntry(this.#view, OUT_HEADER_BYTES, entry)
    this.#send(request, length + this.#writeOpen(OUT_HEADER_BYTES + length, file))
  }

  /** Plain bytes (file data, a link's target, an attribute's value), at most `limit` of them. */
  data(request: RequestHeader, pieces: readonly Uint8Array[], limit: number): void {
    if (pieces.length >= VECTORS_MAX) return this.data(request, [Buffer.concat(pieces)], limit)
    this.#sending.pieces = pieces
    let vector = 1
    let left = limit
    for (const piece of pieces) {
      const length = Math.min(piece.length, left)
      if (length === 0) continue
      this.#vectors[2 * vector] = addressOf(piece)
      this.#vectors[2 * vector + 1] = BigInt(length)
      left -= length
      vector++
    }
    this.#writev(request, OUT_HEADER_BYTES, limit - left, vector, 0)
    this.#sending.pieces = undefined
  }

  /** A count of bytes in 32 bits: bytes written, the length of an attribute. */
  count(request: RequestHeader, count: number): void {
    setU64(this.#view, OUT_HEADER_BYTES, count)
    this.#send(request, 8)
  }

  /** A conflicting lock; undefined: none. */
  lock(request: RequestHeader, lock: RequestedLock | undefined): void {
    this.#send(request, writeLock(this.#view, OUT_HEADER_BYTES, lock))
  }

  /** A 64-bit number: an offset. */
  big(request: RequestHeader, value: bigint): void {
    this.#view.setBigUint64(OUT_HEADER_BYTES, value, true)
    this.#send(request, 8)
  }

  /** Entries of a directory; for readdirplus `found` has the result of each entry's lookup. */
  directory(
    request: RequestHeader,
    entries: readonly DirectoryEntry[],
    found?: readonly (Entry | undefined)[],
  ): void {
    let at = OUT_HEADER_BYTES
    for (const [index, entry] of entries.entries())
      at += found
        ? writeDirectoryEntryPlus(this.#bytes, this.#view, at, entry, found[index])
        : writeDirectoryEntry(this.#bytes, this.#view, at, entry)
    this.#send(request, at - OUT_HEADER_BYTES)
  }

  statistics(request: RequestHeader, statistics: FileSystemStatistics): void {
    const view = this.#view
    const { blocks, blocksFree, blocksAvailable, files, filesFree, blockSize, nameMax } = statistics
    this.#bytes.fill(0, OUT_HEADER_BYTES, OUT_HEADER_BYTES + 80)
    for (const [index, value] of [blocks, blocksFree, blocksAvailable, files, filesFree].entries())
      setU64(view, OUT_HEADER_BYTES + index * 8, value)
    for (const [index, value] of [blockSize, nameMax, blockSize].entries())
      view.setUint32(OUT_HEADER_BYTES + 40 + index * 4, value, true)
    this.#send(request, 80)
  }

  #writeOpen(at: number, file: OpenFile): number {
    setU64(this.#view, at, file.fh)
    setU64(this.#view, at + 8, PAGES_FLAG[file.pages])
    return 16
  }

  /** Sends the `length` bytes encoded behind the header. */
  #send(request: RequestHeader, length: number, errno = 0): void {
    this.#writev(request, OUT_HEADER_BYTES + length, 0, 1, errno)
  }

  #writev(request: RequestHeader, head: number, data: number, vectors: number, code: number): void {
    const view = this.#view
    view.setUint32(0, head + data, true)
    view.setInt32(4, -code, true)
    setU64(view, 8, request.unique)
    this.#vectors[1] = BigInt(head)
    if (writev(this.#fd, this.#vectorsAddress, vectors) >= 0) return
    const failure = errno()
    // The kernel does not wait for this reply any more: the caller was killed, or the mount is gone.
    if (failure === ENOENT || failure === ENODEV || failure === ECONNABORTED) return
    this.#log.error(
      { opcode: opcodeName(request.opcode), errno: failure, bytes: head + data },
      'the kernel rejected a reply',
    )
    if (code !== EIO) this.error(request, EIO)
  }
}
