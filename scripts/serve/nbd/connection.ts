/**
 * One NBD connection: the handshake, then requests until the client disconnects.
 *
 * Requests run concurrently and are answered as they end. Reading pauses while {@link IN_FLIGHT_MAX_BYTES} of data are in use, or
 * {@link REQUESTS_MAX} requests run.
 */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { FileError } from '../../../core/database/file-error.ts'
import { ByteReader } from '../byte-reader.ts'
import { type Agreement, type FindExport, shakeHands, TRANSFER_MAX_BYTES } from './handshake.ts'
import { drained } from '../../drained.ts'
import {
  Chunk,
  CHUNK_DONE,
  Command,
  CommandFlag,
  ERRORS,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './protocol.ts'

const REQUEST_BYTES = 28
const IN_FLIGHT_MAX_BYTES = 64 << 20
const REQUESTS_MAX = 256
const EXTENTS_MAX = 1024

interface Request {
  readonly flags: number
  readonly type: number
  readonly cookie: bigint
  readonly offset: bigint
  readonly length: number
  readonly data: Buffer
}

/** Serves a client; resolves when it has disconnected and every request has ended. Never rejects. */
export async function serveNbd(
  socket: Socket,
  names: readonly string[],
  find: FindExport,
  log: Logger,
): Promise<void> {
  socket.on('error', error => log.debug({ err: error }, 'an NBD connection broke'))
  try {
    const reader = new ByteReader(socket)
    const agreement = await shakeHands(socket, reader, names, find)
    if (agreement !== undefined) await new NbdConnection(socket, reader, agreement, log).serve()
  } catch (error) {
    log.debug({ err: error }, 'an NBD connection ended')
  } finally {
    // What is not read yet is not waited for.
    socket.destroySoon()
  }
}

class NbdConnection {
  readonly #socket: Socket
  readonly #reader: ByteReader
  readonly #agreement: Agreement
  readonly #log: Logger
  readonly #running = new Set<Promise<void>>()
  #inFlightBytes = 0

  constructor(socket: Socket, reader: ByteReader, agreement: Agreement, log: Logger) {
    this.#socket = socket
    this.#reader = reader
    this.#agreement = agreement
    this.#log = log
  }

  async serve(): Promise<void> {
    for (;;) {
      const header = await this.#reader.take(REQUEST_BYTES)
      if (header === undefined || header.readUInt32BE(0) !== REQUEST_MAGIC) break
      const type = header.readUInt16BE(6)
      const length = header.readUInt32BE(24)
      if (type === Command.DISC || (type === Command.WRITE && length > TRANSFER_MAX_BYTES)) break
      const data = await this.#reader.take(type === Command.WRITE ? length : 0)
      if (data === undefined) break
      const [cookie, offset] = [header.readBigUInt64BE(8), header.readBigUInt64BE(16)]
      this.#start({ flags: header.readUInt16BE(4), type, cookie, offset, length, data })
      while (this.#inFlightBytes > IN_FLIGHT_MAX_BYTES || this.#running.size >= REQUESTS_MAX)
        await Promise.race(this.#running)
      await drained(this.#socket)
    }
    await Promise.all(this.#running)
  }

  #start(request: Request): void {
    const bytes = request.type === Command.READ || request.type === Command.WRITE ? request.length : 0
    this.#inFlightBytes += bytes
    const running = this.#run(request)
      .catch((error: unknown) => this.#fail(request, error))
      .finally(() => {
        this.#running.delete(running)
        this.#inFlightBytes -= bytes
      })
    this.#running.add(running)
  }

  async #run(request: Request): Promise<void> {
    const { type, offset, length, data, flags } = request
    const { exported, allocationId } = this.#agreement
    const { file } = exported
    const isChange = type === Command.WRITE || type === Command.TRIM || type === Command.WRITE_ZEROES
    if (isChange && exported.readOnly) return this.#error(request, 'EPERM')
    if (type !== Command.FLUSH && !exported.has(offset, length))
      return this.#error(request, isChange ? 'ENOSPC' : 'EINVAL')
    switch (type) {
      case Command.READ:
        if (length > TRANSFER_MAX_BYTES) return this.#error(request, 'EOVERFLOW')
        return this.#sendData(request, await exported.read(offset, length))
      case Command.WRITE:
        await file.write(data, 0, length, offset)
        break
      case Command.FLUSH:
        await file.datasync()
        break
      case Command.TRIM:
      case Command.WRITE_ZEROES:
        await file.punchHole(offset, length)
        break
      case Command.BLOCK_STATUS:
        if (allocationId === undefined || length === 0) return this.#error(request, 'EINVAL')
        return await this.#sendExtents(request, allocationId)
      default:
        return this.#error(request, 'EINVAL')
    }
    if (isChange && (flags & CommandFlag.FUA) !== 0) await file.datasync()
    this.#send(request, Chunk.NONE)
  }

  #sendData(request: Request, data: Buffer): void {
    if (!this.#agreement.isStructured || data.length === 0) return this.#send(request, Chunk.NONE, data)
    const offset = Buffer.alloc(8)
    offset.writeBigUInt64BE(request.offset)
    this.#send(request, Chunk.OFFSET_DATA, offset, data)
  }

  async #sendExtents(request: Request, contextId: number): Promise<void> {
    const { offset, length, flags } = request
    const limit = flags & CommandFlag.REQ_ONE ? 1 : EXTENTS_MAX
    const extents = await this.#agreement.exported.extents(offset, length, limit)
    const payload = Buffer.alloc(4 + 8 * extents.length)
    payload.writeUInt32BE(contextId, 0)
    for (const [i, extent] of extents.entries()) {
      payload.writeUInt32BE(Number(extent.length), 4 + 8 * i)
      payload.writeUInt32BE(extent.status, 8 + 8 * i)
    }
    this.#send(request, Chunk.BLOCK_STATUS, payload)
  }

  #fail(request: Request, error: unknown): void {
    const code = error instanceof FileError ? error.code : 'EIO'
    if (!(code in ERRORS) || code === 'EIO') this.#log.error({ err: error }, 'an NBD request failed')
    this.#error(request, code)
  }

  #error(request: Request, code: string): void {
    const errno = ERRORS[code] ?? ERRORS['EIO'] ?? 5
    if (!this.#agreement.isStructured) {
      this.#socket.write(simpleReply(request.cookie, errno))
      return
    }
    const payload = Buffer.alloc(6)
    payload.writeUInt32BE(errno, 0)
    this.#send(request, Chunk.ERROR, payload)
  }

  /** Sends a successful reply, or in structured form a chunk of any type, which is the last one. */
  #send({ cookie }: Request, type: number, ...pieces: readonly Buffer[]): void {
    this.#socket.cork()
    if (this.#agreement.isStructured) {
      const header = Buffer.alloc(20)
      header.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0)
      header.writeUInt16BE(CHUNK_DONE, 4)
      header.writeUInt16BE(type, 6)
      header.writeBigUInt64BE(cookie, 8)
      header.writeUInt32BE(
        pieces.reduce((sum, { length }) => sum + length, 0),
        16,
      )
      this.#socket.write(header)
    } else this.#socket.write(simpleReply(cookie, 0))
    for (const piece of pieces) this.#socket.write(piece)
    this.#socket.uncork()
  }
}

function simpleReply(cookie: bigint, errno: number): Buffer {
  const reply = Buffer.alloc(16)
  reply.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0)
  reply.writeUInt32BE(errno, 4)
  reply.writeBigUInt64BE(cookie, 8)
  return reply
}
