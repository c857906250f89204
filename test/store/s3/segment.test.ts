import { expect, test } from 'vitest'
import { parseCompression, type CompressionName } from '../../../store/compression.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { FRAME_UNIT_BYTES, SegmentBuilder, StoredFrame, type Segment } from '../../../store/s3/segment.ts'
import { Random } from '../../stress/random.ts'

const ID = '0123456789abcdef0123456789abcdef'

/** Rows of numbers that grow, then noise. */
function data(): Buffer {
  const random = new Random(1)
  const numbers = Uint32Array.from(
    { length: (FRAME_UNIT_BYTES * 3) / 4 },
    (_, i) => 1000 * i + random.below(900),
  )
  const noise = Uint8Array.from({ length: FRAME_UNIT_BYTES + UNIT_BYTES }, () => random.below(256))
  return Buffer.concat([Buffer.from(numbers.buffer), noise])
}

interface Built {
  readonly segment: Segment
  readonly object: Buffer
  readonly builder: SegmentBuilder
}

async function build(name: CompressionName): Promise<Built> {
  const builder = new SegmentBuilder(parseCompression(name))
  const bytes = data()
  for (let off = 0; off < bytes.length;) off += builder.add(off + UNIT_BYTES, bytes.subarray(off))
  const { segment, object } = await builder.finish({ epoch: 1, counter: 2 }, ID)
  return { segment, object: Buffer.concat(object), builder }
}

function framesOf({ segment, object }: { segment: Segment; object: Buffer }): readonly StoredFrame[] {
  return Array.from({ length: segment.frames.length }, (_, index) => {
    const entry = segment.frames.at(index)
    return new StoredFrame(entry, object.subarray(entry.offset, entry.offset + entry.bytes))
  })
}

test.each(['off', 'lz4', 'zstd', 'zstd-shuffle4'] as const)(
  'frames of a segment round-trip: %s',
  async name => {
    const built = await build(name)
    expect(built.object.length).toBe(built.segment.bytes)
    const frames = framesOf(built)
    expect(frames.every(({ isIntact }) => isIntact)).toBe(true)
    expect(Buffer.concat(frames.map(({ units }) => units)).equals(data())).toBe(true)
    expect(Buffer.concat(built.builder.units()).equals(data())).toBe(true)
  },
)

test('numbers compress, best with shuffled bytes; noise does not grow', async () => {
  const lengthAs = async (name: CompressionName): Promise<number> => (await build(name)).object.length
  const [off, zstd, shuffled] = [
    await lengthAs('off'),
    await lengthAs('zstd-3'),
    await lengthAs('zstd-shuffle4'),
  ]
  expect(zstd).toBeLessThan(off)
  expect(shuffled).toBeLessThan(zstd * 0.9)
  const last = (await build('zstd')).segment.frames
  const { bytes, len } = last.at(last.length - 1)
  expect(bytes).toBe((len / UNIT_BYTES) * (UNIT_BYTES + 8))
})

test('a changed byte anywhere in a compressed frame is detected', async () => {
  const built = await build('zstd-shuffle4')
  const entry = built.segment.frames.at(1)
  const stored = built.object.subarray(entry.offset, entry.offset + entry.bytes)
  const random = new Random(2)
  for (let i = 0; i < 200; i++) {
    const damaged = Buffer.from(stored)
    const at = random.below(damaged.length)
    damaged[at] = (damaged[at] ?? 0) ^ (1 << random.below(8))
    const frame = new StoredFrame(entry, damaged)
    for (let off = 0; off < entry.len; off += UNIT_BYTES)
      if (frame.isIntactIn(entry.pos + off, entry.pos + off + UNIT_BYTES))
        expect(
          frame.units
            .subarray(off, off + UNIT_BYTES)
            .equals(new StoredFrame(entry, stored).units.subarray(off, off + UNIT_BYTES)),
        ).toBe(true)
    if (at < (entry.len / UNIT_BYTES) * 8) expect(frame.isIntact).toBe(false)
  }
})

test.each(['lz4', 'zstd', 'zstd-shuffle4'] as const)(
  'frames are compressed off the event loop: %s',
  async name => {
    let turns = 0
    let isDone = false
    const count = (): void => {
      turns++
      if (!isDone) setImmediate(count)
    }
    setImmediate(count)
    const { segment } = await build(name)
    isDone = true
    // Two at a time, and a turn at least for each two.
    expect(turns).toBeGreaterThanOrEqual(Math.floor(segment.frames.length / 2))
  },
)

test('units for rows are those that were added, and are not compressed', () => {
  const builder = new SegmentBuilder(parseCompression('zstd'))
  const bytes = data().subarray(0, 2 * FRAME_UNIT_BYTES)
  for (let off = 0; off < bytes.length;) off += builder.add(off + UNIT_BYTES, bytes.subarray(off))
  expect(Buffer.concat(builder.units()).equals(bytes)).toBe(true)
  expect(builder.unitBytes).toBe(bytes.length)
})
