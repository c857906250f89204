/** A body in very short frames takes a receiver little more memory than its bytes. */
import { expect, test } from 'vitest'
import { readHeader, readItems } from '../../../core/stream/decode.ts'
import { StreamEncoder } from '../../../core/stream/encode.ts'
import { FrameReader } from '../../../core/stream/frames.ts'
import { oid, tid, TID_NONE } from '../../../store/ids.ts'
import { ALL_MOMENTS } from '../../../store/kept-moments.ts'

/** The parts in which a body arrives that was sent in parts of these lengths. */
async function partsOf(lengths: readonly number[]): Promise<{ sent: Buffer; parts: readonly Uint8Array[] }> {
  const encoder = new StreamEncoder()
  const sent = Buffer.from(lengths.flatMap((length, i) => Array.from({ length }, () => i % 251)))
  const upTo = tid(5n)
  const header = {
    origin: '00'.repeat(16),
    base: TID_NONE,
    baseFingerprint: 0n,
    upTo,
    isUpToPresent: true,
    bytes: 0,
    retention: '',
    name: 'x',
    compression: '',
    moments: ALL_MOMENTS,
  }
  const none = Buffer.alloc(0)
  const frames = [
    encoder.begin(header),
    encoder.transaction({ tid: upTo, user: '', description: '', extension: none }),
    encoder.record({
      oid: oid(1),
      head: none,
      body: { len: sent.length, read: () => Promise.resolve([]) },
      tail: none,
    }),
  ]
  let at = 0
  for (const length of lengths) frames.push(encoder.bytes(sent.subarray(at, (at += length))))
  frames.push(encoder.committed(1), encoder.end(1, upTo, 0n))
  const reader = new FrameReader(
    (async function* () {
      yield await Promise.resolve(Buffer.concat(frames))
    })(),
  )
  await reader.begin()
  for await (const item of readItems(reader, await readHeader(reader))) {
    if (item.kind !== 'record' || item.record.body === undefined || !('read' in item.record.body)) continue
    return { sent, parts: (await item.record.body.read()) ?? [] }
  }
  throw new Error('there is no record')
}

test.each([
  [Array.from({ length: 10_000 }, () => 1), 40],
  [[1, 5000, 1, 2, 3, 5000, 5000, 7], 6],
  [Array.from({ length: 256 }, () => 2), 1],
  [[5000], 1],
  [[9], 1],
])('bodies in short frames, %#', async (lengths, count) => {
  const { sent, parts } = await partsOf(lengths)
  expect(Buffer.concat(parts).equals(sent)).toBe(true)
  expect(parts).toHaveLength(count)
})
