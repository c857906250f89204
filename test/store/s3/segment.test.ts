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

function build(name: CompressionName): { segment: Segment; object: Buffer; builder: SegmentBuilder } {
  const builder = new SegmentBuilder(parseCompression(name))
  const bytes = data()
  for (let off = 0; off < bytes.length;) off += builder.add(off + UNIT_BYTES, bytes.subarray(off))
  const { segment, object } = builder.finish({ epoch: 1, counter: 2 }, ID)
  return { segment, object: Buffer.concat(object), builder }
}

function framesOf({ segment, object }: { segment: Segment; object: Buffer }): readonly StoredFrame[] {
  return Array.from({ length: segment.frames.length }, (_, index) => {
    const entry = segment.frames.at(index)
    return new StoredFrame(entry, object.subarray(entry.offset, entry.offset + entry.bytes))
  })
}

test.each(['off', 'lz4', 'zstd', 'zstd-shuffle4'] as const)('frames of a segment round-trip: %s', name => {
  const built = build(name)
  expect(built.object.length).toBe(built.segment.bytes)
  const frames = framesOf(built)
  expect(frames.every(({ isIntact }) => isIntact)).toBe(true)
  expect(Buffer.concat(frames.map(({ units }) => units)).equals(data())).toBe(true)
  expect(Buffer.concat(built.builder.units()).equals(data())).toBe(true)
})

test('numbers compress, best with shuffled bytes; noise does not grow', () => {
  const [off, zstd, shuffled] = (['off', 'zstd-3', 'zstd-shuffle4'] as const).map(
    name => build(name).object.length,
  )
  expect(zstd).toBeLessThan(off ?? 0)
  expect(shuffled).toBeLessThan((zstd ?? 0) * 0.9)
  const last = build('zstd').segment.frames
  const { bytes, len } = last.at(last.length - 1)
  expect(bytes).toBe((len / UNIT_BYTES) * (UNIT_BYTES + 8))
})

test('a changed byte anywhere in a compressed frame is detected', () => {
  const built = build('zstd-shuffle4')
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
