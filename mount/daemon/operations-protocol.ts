/**
 * File operations over a control connection, for a program that uses a database which a daemon has mounted.
 *
 * After the call `operations` and its answer, each a line of JSON as for every call, both sides send frames:
 *
 *     u32 LE  length of the header
 *     u32 LE  length of the payload
 *     header  JSON: {"id", "operation", "parameters"} or {"id", "result"} or {"id", "errno"} or {"id", "error"}
 *     payload the bytes of the header's buffers, one after the other
 *
 * A bigint is {"$n": "decimal digits"}, a buffer {"$b": its length}. Requests run concurrently, and answers arrive in the
 * order of completion.
 */
import type { Socket } from 'node:net'
import { isObject } from './answers.ts'

const PREFIX_BYTES = 8
const HEADER_MAX_BYTES = 1 << 20
/** More than any operation's data. */
const PAYLOAD_MAX_BYTES = 8 << 20

/** The peer has sent an invalid frame. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

/** Sends a frame. @throws FrameError for a value that is too large. */
export function sendFrame(socket: Socket, value: unknown): void {
  const buffers: Uint8Array[] = []
  const header = Buffer.from(JSON.stringify(encode(value, buffers)))
  const payloadBytes = buffers.reduce((sum, { length }) => sum + length, 0)
  if (header.length > HEADER_MAX_BYTES || payloadBytes > PAYLOAD_MAX_BYTES)
    throw new FrameError(`a frame of ${header.length} and ${payloadBytes} bytes is too large`)
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.writeUInt32LE(header.length, 0)
  prefix.writeUInt32LE(payloadBytes, 4)
  // The parts leave in one call of the kernel, without being copied together.
  socket.cork()
  for (const part of [prefix, header, ...buffers]) socket.write(part)
  socket.uncork()
}

/** Assembles frames from a byte stream. */
export class FrameReader {
  readonly #pieces: Buffer[] = []
  #length = 0

  /** The frames that these bytes complete. @throws FrameError */
  push(bytes: Buffer): readonly unknown[] {
    this.#pieces.push(bytes)
    this.#length += bytes.length
    const frames: unknown[] = []
    while (this.#length >= PREFIX_BYTES) {
      const prefix = this.#first(PREFIX_BYTES)
      const [headerBytes, payloadBytes] = [prefix.readUInt32LE(0), prefix.readUInt32LE(4)]
      if (headerBytes > HEADER_MAX_BYTES || payloadBytes > PAYLOAD_MAX_BYTES)
        throw new FrameError(`a frame of ${headerBytes} and ${payloadBytes} bytes is too large`)
      const frameBytes = PREFIX_BYTES + headerBytes + payloadBytes
      if (this.#length < frameBytes) break
      const frame = this.#first(frameBytes)
      this.#pieces[0] = frame.subarray(frameBytes)
      this.#length -= frameBytes
      const headerEnd = PREFIX_BYTES + headerBytes
      frames.push(decodeFrame(frame.subarray(PREFIX_BYTES, headerEnd), frame.subarray(headerEnd, frameBytes)))
    }
    return frames
  }

  /** The first piece, joined with later ones until it has at least `length` bytes. */
  #first(length: number): Buffer {
    let first = this.#pieces[0]
    if (first === undefined || first.length < length) {
      first = Buffer.concat(this.#pieces)
      this.#pieces.splice(0, Infinity, first)
    }
    return first
  }
}

function decodeFrame(header: Buffer, payload: Buffer): unknown {
  let value: unknown
  try {
    value = JSON.parse(header.toString())
  } catch (error) {
    throw new FrameError('a frame has a header that is not JSON', { cause: error })
  }
  const taken = { bytes: 0 }
  return decode(value, payload, taken)
}

function encode(value: unknown, buffers: Uint8Array[]): unknown {
  if (typeof value === 'bigint') return { $n: String(value) }
  if (value instanceof Uint8Array) {
    buffers.push(value)
    return { $b: value.length }
  }
  if (Array.isArray(value)) return value.map(item => encode(item, buffers))
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, encode(field, buffers)]))
}

/** @throws FrameError */
function decode(value: unknown, payload: Buffer, taken: { bytes: number }): unknown {
  if (value === null) return undefined
  if (Array.isArray(value)) return value.map(item => decode(item, payload, taken))
  if (!isObject(value)) return value
  const { $n: digits, $b: length } = value
  if (typeof digits === 'string' && /^-?\d{1,20}$/.test(digits)) return BigInt(digits)
  if (typeof length === 'number') {
    const end = taken.bytes + length
    if (!Number.isInteger(length) || length < 0 || end > payload.length)
      throw new FrameError(`a frame has no ${length} bytes at ${taken.bytes}`)
    const bytes = payload.subarray(taken.bytes, end)
    taken.bytes = end
    return bytes
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, decode(field, payload, taken)]),
  )
}
