import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseCompression, type CompressionName } from '../../../store/compression.ts'
import { BulkDamageError } from '../../../store/indexed/bulk.ts'
import {
  FRAME_BYTES,
  FrameDecoder,
  FrameEncoder,
  FRAME_HEADER_BYTES,
  STORED_FRAME_BYTES,
} from '../../../store/indexed/frame-codec.ts'
import { xxh64 } from '../../../store/checksum.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { zlibZstd, zstd } from '../../../store/zstd.ts'
import { Random } from '../../stress/random.ts'

const encoded = (units: Uint8Array, pos = 0, name: CompressionName = 'zstd'): Buffer => {
  const into = Buffer.alloc(STORED_FRAME_BYTES)
  return into.subarray(0, new FrameEncoder(parseCompression(name)).encode(pos, units, into))
}

const decoded = (stored: Buffer, pos = 0): Buffer => {
  const into = Buffer.alloc(FRAME_BYTES)
  return into.subarray(0, new FrameDecoder().decode(pos, stored, into))
}

const numbers = (length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: length / 4 }, (_, i) => 1_000_000 + i * 7 + (i % 5)).buffer)

const noise = (length: number): Buffer => {
  let state = 1
  return Buffer.from(
    Uint8Array.from({ length }, () => (state = Math.imul(state, 1_664_525) + 1_013_904_223) >>> 24),
  )
}

test.each(['off', 'lz4', 'zstd', 'zstd-3', 'zstd-shuffle2', 'zstd-shuffle4', 'zstd-shuffle8'] as const)(
  'a frame of any number of units round-trips: %s',
  name => {
    for (const units of [1, 2, 3, 4])
      for (const bytes of [
        numbers(units * UNIT_BYTES),
        noise(units * UNIT_BYTES),
        Buffer.alloc(units * UNIT_BYTES),
      ])
        expect(decoded(encoded(bytes, 7 * FRAME_BYTES, name), 7 * FRAME_BYTES).equals(bytes)).toBe(true)
  },
)

test.each([
  ['zstd', [0, 0, 2, 2], [2, 2, 4, 4]],
  ['lz4', [0, 0, 0, 0], [1, 2, 3, 4]],
] as const)('a short read expands only a part of a frame: %s', (name, los, his) => {
  const bytes = Buffer.from(numbers(FRAME_BYTES).map((byte, at) => (at % 3 === 0 ? 0 : byte)))
  const stored = encoded(bytes, 0, name)
  expect(stored.length).toBeLessThan(FRAME_BYTES)
  const decoder = new FrameDecoder()
  for (const [unit, lo] of los.entries()) {
    const into = Buffer.alloc(FRAME_BYTES, 0xa5)
    const wanted = unit * UNIT_BYTES
    expect(decoder.decode(0, stored, into, wanted, wanted + UNIT_BYTES)).toBe(FRAME_BYTES)
    const [from, to] = [lo * UNIT_BYTES, (his[unit] ?? 0) * UNIT_BYTES]
    expect([decoder.lo, decoder.hi]).toEqual([from, to])
    expect(into.subarray(from, to).equals(bytes.subarray(from, to))).toBe(true)
    for (const rest of [into.subarray(0, from), into.subarray(to)])
      expect(rest.every(byte => byte === 0xa5)).toBe(true)
  }
  const into = Buffer.alloc(FRAME_BYTES)
  decoder.decode(0, stored, into, 0, FRAME_BYTES - UNIT_BYTES)
  expect(into.subarray(0, FRAME_BYTES - UNIT_BYTES).equals(bytes.subarray(0, FRAME_BYTES - UNIT_BYTES))).toBe(
    true,
  )
})

test.each(['zstd-shuffle2', 'zstd-shuffle4', 'zstd-shuffle8'] as const)(
  'memory of any alignment has the same frame, and receives the same units: %s',
  name => {
    const bytes = numbers(FRAME_BYTES)
    const aligned = Buffer.alloc(FRAME_BYTES + 8)
    const frame = encoded(bytes, 0, name)
    for (let off = 0; off < 4; off++) {
      const shifted = aligned.subarray(off, off + FRAME_BYTES)
      bytes.copy(shifted)
      expect(encoded(shifted, 0, name).equals(frame)).toBe(true)
      shifted.fill(0)
      new FrameDecoder().decode(0, frame, shifted)
      expect(shifted.equals(bytes)).toBe(true)
    }
  },
)

test('compressible data is stored compressed, noise uncompressed', () => {
  expect(encoded(Buffer.alloc(FRAME_BYTES)).length).toBeLessThan(100)
  const lengthAs = (name: CompressionName): number => encoded(numbers(FRAME_BYTES), 0, name).length
  expect(lengthAs('zstd-3')).toBeLessThan(lengthAs('zstd'))
  expect(lengthAs('zstd-shuffle4')).toBeLessThan(lengthAs('zstd-3') / 2)
  expect(encoded(noise(FRAME_BYTES)).length).toBe(FRAME_HEADER_BYTES + FRAME_BYTES)
  expect(encoded(Buffer.alloc(FRAME_BYTES), 0, 'off').length).toBe(FRAME_HEADER_BYTES + FRAME_BYTES)
})

test.each([
  ['zstd', 'b7249e4a9a8da0ee0000010000000000010100001700000028b52ffd60000f6d0000307a626c6b66730100f78f5f8a'],
  [
    'lz4',
    '4c6232bd9ce1fbe80000010000000000020100001f0000006f7a626c6b66730600fffffffffffffffffffffffffffffff150737a626c6b',
  ],
])('the frame in docs/format.md is read: %s', (_, hex) => {
  const stored = Buffer.from(hex, 'hex')
  expect(decoded(stored, 65_536).equals(Buffer.alloc(UNIT_BYTES, 'zblkfs'))).toBe(true)
  const page = readFileSync('docs/format.md', 'utf8').replaceAll(/\s/g, '')
  expect(page).toContain(stored.toString('hex'))
})

test.each(['zstd', 'lz4'] as const)(
  'a frame with a changed bit or at another position is rejected: %s',
  name => {
    const bytes = numbers(2 * UNIT_BYTES).fill('zblkfs', UNIT_BYTES)
    const stored = encoded(bytes, FRAME_BYTES, name)
    expect(stored.length).toBeLessThan(bytes.length)
    for (let bit = 0; bit < stored.length * 8; bit++) {
      const flipped = Buffer.from(stored)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(() => decoded(flipped, FRAME_BYTES)).toThrow(BulkDamageError)
    }
    expect(() => decoded(stored, 0)).toThrow('another place')
    for (let length = 0; length < stored.length; length++)
      expect(() => decoded(stored.subarray(0, length), FRAME_BYTES)).toThrow(BulkDamageError)
  },
)

test.each(['zstd', 'lz4'] as const)(
  'a forged frame with the right checksum is rejected or has its length: %s',
  name => {
    const bytes = numbers(3 * UNIT_BYTES).fill('zblkfs', UNIT_BYTES)
    const stored = encoded(bytes, 0, name)
    const random = new Random(1)
    let rejected = 0
    for (let round = 0; round < 3000; round++) {
      const forged = Buffer.from(stored)
      for (let edits = 1 + random.below(3); edits > 0; edits--) {
        // The method, the number of units, the elements, or the body.
        const at =
          random.below(3) === 0
            ? 16 + random.below(3)
            : FRAME_HEADER_BYTES + random.below(stored.length - FRAME_HEADER_BYTES)
        forged[at] = random.below(random.below(2) === 0 ? 10 : 256)
      }
      forged.writeBigUInt64LE(xxh64(forged.subarray(8)))
      const into = Buffer.alloc(FRAME_BYTES + 64, 0xa5)
      try {
        const length = new FrameDecoder().decode(0, forged, into.subarray(0, FRAME_BYTES))
        expect(length).toBe((forged[17] ?? 0) * UNIT_BYTES)
      } catch (error) {
        expect(error).toBeInstanceOf(BulkDamageError)
        rejected++
      }
      expect(into.subarray(FRAME_BYTES).every(byte => byte === 0xa5)).toBe(true)
    }
    expect(rejected).toBeGreaterThan(500)
  },
)

test('several frames of Zstandard, one after another, are expanded by the library and by node:zlib', () => {
  const bytes = Buffer.from(numbers(FRAME_BYTES).map((byte, at) => (at % 3 === 0 ? 0 : byte)))
  const stored = encoded(bytes)
  expect(stored.length).toBeLessThan(FRAME_BYTES)
  const body = stored.subarray(FRAME_HEADER_BYTES)
  for (const codec of [zstd(), zlibZstd]) {
    const back = Buffer.alloc(FRAME_BYTES)
    expect(codec.expand(body, back)).toBe(true)
    expect(back.equals(bytes)).toBe(true)
    expect(codec.expand(body, Buffer.alloc(FRAME_BYTES - 1))).toBe(false)
    expect(codec.expand(body, Buffer.alloc(FRAME_BYTES + 1))).toBe(false)
  }
})

test('the zstd library and node:zlib decompress the output of each other', () => {
  const bytes = numbers(FRAME_BYTES)
  for (const [from, to] of [
    [zstd(), zlibZstd],
    [zlibZstd, zstd()],
  ] as const) {
    const into = Buffer.alloc(FRAME_BYTES)
    const length = from.compress(bytes, into, 1)
    const back = Buffer.alloc(FRAME_BYTES)
    expect(to.expand(into.subarray(0, length), back)).toBe(true)
    expect(back.equals(bytes)).toBe(true)
    expect(to.expand(into.subarray(0, length), Buffer.alloc(FRAME_BYTES - 1))).toBe(false)
    expect(to.expand(into.subarray(0, length - 1), back)).toBe(false)
    expect(from.compress(noise(FRAME_BYTES), Buffer.alloc(FRAME_BYTES / 2), 1)).toBe(0)
  }
  expect(zstd()).not.toBe(zlibZstd)
})
