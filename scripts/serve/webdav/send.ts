/** Sends the body of an answer in parts. */
import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/** Short parts are sent together. */
const CHUNK_LENGTH = 32 << 10

/** Sends a body of any length in bounded memory, no faster than it is read; ends with the connection. */
export async function send(response: ServerResponse, parts: AsyncIterable<string>): Promise<void> {
  await pipeline(Readable.from(inChunks(parts), { highWaterMark: 1 }), response)
}

async function* inChunks(parts: AsyncIterable<string>): AsyncGenerator<Buffer> {
  let chunk = ''
  for await (const part of parts) {
    chunk += part
    if (chunk.length < CHUNK_LENGTH) continue
    yield Buffer.from(chunk)
    chunk = ''
  }
  yield Buffer.from(chunk)
}
