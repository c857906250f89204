/** Raw streams (store/raw-stream.ts) as bytes: the parts of an encrypted database in frames (frames.ts). No step needs the key. */
import { createReadStream } from '../../store/os-files.ts'
import { open } from '../../store/os-files-async.ts'
import { StoreError } from '../../store/errors.ts'
import {
  decodeEnd,
  decodeHeader,
  RAW,
  RAW_END_BYTES,
  type RawEnd,
  type RawHeader,
  type RawPart,
} from '../../store/raw-stream.ts'
import { FRAME_SUM_BYTES, RAW_STREAM } from './format.ts'
import { type Frame, FrameReader, FrameWriter, OVERHEAD_BYTES, refuse } from './frames.ts'

/** The bytes of a stream with these parts. @param onSent receives the bytes so far, and an estimate of all. */
export async function* rawStream(
  parts: AsyncIterable<RawPart>,
  onSent: (done: number, total: number) => void = () => undefined,
): AsyncGenerator<Buffer> {
  yield RAW_STREAM.magic
  const frames = new FrameWriter(RAW_STREAM)
  let [done, total] = [0, 0]
  for await (const { kind, payload } of parts) {
    if (kind === RAW.begin) total = decodeHeader(payload)?.bytes ?? 0
    const frame = frames.frame(kind, payload)
    done += frame.length
    yield frame
    onSent(done, Math.max(done, total))
  }
}

/** Whether some input begins as a raw stream. @param start its first bytes. */
export const isRawStream = (start: Uint8Array): boolean => {
  const magic = Buffer.from(RAW_STREAM.magicStart)
  return start.length >= magic.length && magic.equals(start.subarray(0, magic.length))
}

/** The first bytes of some input, and all of it. */
export async function startOf(
  input: AsyncIterable<Uint8Array>,
): Promise<{ readonly start: Uint8Array; readonly whole: AsyncIterable<Uint8Array> }> {
  const rest = input[Symbol.asyncIterator]()
  let start = Buffer.alloc(0)
  while (start.length < RAW_STREAM.magic.length) {
    const { done, value } = await rest.next()
    if (done === true) break
    start = Buffer.concat([start, value])
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    try {
      if (start.length > 0) yield start
      for (;;) {
        const { done, value } = await rest.next()
        if (done === true) return
        yield value
      }
    } finally {
      await rest.return?.()
    }
  }
  return { start, whole: whole() }
}

/** Reads raw streams that may follow each other. */
export class RawStreamReader {
  readonly #frames: FrameReader

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#frames = new FrameReader(input, RAW_STREAM)
  }

  /** The first part of the next stream; undefined if there is none. @throws StoreError */
  async begin(): Promise<Frame | undefined> {
    return (await this.#frames.begin()) ? await this.#frames.next() : undefined
  }

  /** The parts after the first one. @throws StoreError */
  async *parts(): AsyncGenerator<RawPart> {
    for (;;) {
      const part = await this.#frames.next()
      yield part
      if (part.kind === RAW.end) return
    }
  }

  async close(): Promise<void> {
    await this.#frames.close()
  }
}

/** What a file of a raw stream begins with, and ends with. */
export interface Ends {
  readonly header: RawHeader
  readonly end: RawEnd
}

/** What such a file has, after all of it was read and its checksums were verified. */
export interface VerifiedRawStream extends Ends {
  readonly bytes: number
}

/** @throws StoreError if it is damaged. */
export async function verifyRawStream(
  path: string,
  onRead: (bytes: number) => void = () => undefined,
): Promise<VerifiedRawStream> {
  let bytes = 0
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
      bytes += chunk.length
      onRead(chunk.length)
      yield chunk
    }
  }
  const reader = new RawStreamReader(counted())
  try {
    const header = headerIn(await reader.begin())
    for await (const { kind, payload } of reader.parts()) {
      const end = kind === RAW.end ? decodeEnd(payload) : undefined
      if (end !== undefined) return { header, end, bytes }
    }
    return refuse('its end is malformed')
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new StoreError(`${path}: ${error.message}`, { code: error.code, path, cause: error })
  } finally {
    await reader.close()
  }
}

function headerIn(part: Frame | undefined): RawHeader {
  if (part === undefined) throw new StoreError('the stream ends early', { code: 'cut-stream' })
  return (
    (part.kind === RAW.begin ? decodeHeader(part.payload) : undefined) ?? refuse('it does not begin as one')
  )
}

/** Of a file that was verified when it was written. @throws StoreError */
export async function endsOfRawStream(path: string): Promise<Ends> {
  const reader = new RawStreamReader(createReadStream(path) as AsyncIterable<Buffer>)
  let header: RawHeader
  try {
    header = headerIn(await reader.begin())
  } finally {
    await reader.close()
  }
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const last = Buffer.alloc(RAW_END_BYTES)
    await file.read(last, 0, last.length, Math.max(0, size - last.length - FRAME_SUM_BYTES))
    const end = size < last.length + OVERHEAD_BYTES ? undefined : decodeEnd(last)
    if (end === undefined)
      throw new StoreError(`${path} has no end of a stream`, { code: 'cut-stream', path })
    return { header, end }
  } finally {
    await file.close()
  }
}
