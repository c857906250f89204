import { expect, test } from 'vitest'
import { lz4 } from '../../store/lz4.ts'
import { typescriptLz4 } from '../../store/lz4-block.ts'
import { Random } from '../stress/random.ts'

const GUARD = 64

/** Expands in memory with guards around it, which must not change; undefined if it is rejected. */
function expanded(codec: typeof typescriptLz4, block: Uint8Array, length: number): Buffer | undefined {
  const memory = Buffer.alloc(length + 2 * GUARD, 0xa5)
  const target = memory.subarray(GUARD, GUARD + length)
  target.fill(0)
  const isExpanded = codec.expand(block, target)
  expect(memory.subarray(0, GUARD).every(byte => byte === 0xa5)).toBe(true)
  expect(memory.subarray(GUARD + length).every(byte => byte === 0xa5)).toBe(true)
  return isExpanded ? target : undefined
}

/** Bytes that repeat earlier ones, at all distances, between random ones. */
function sample(random: Random, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length;) {
    const count = Math.min(length - at, 1 + random.below(random.below(10) === 0 ? 2000 : 30))
    const distance = 1 + random.below(at)
    if (at > 0 && random.below(3) > 0)
      for (let i = 0; i < count; i++) bytes[at + i] = bytes[at + i - distance] ?? 0
    else for (let i = 0; i < count; i++) bytes[at + i] = random.below(256)
    at += count
  }
  return bytes
}

const codecs = { library: lz4(), typescript: typescriptLz4 }

test('this machine has the library', () => {
  expect(lz4()).not.toBe(typescriptLz4)
})

test.each(['library', 'typescript'] as const)(
  'both implementations expand what the other one wrote: %s',
  name => {
    const random = new Random(1)
    for (let round = 0; round < 300; round++) {
      const length = round < 40 ? round : random.below(round % 20 === 0 ? 131_073 : 20_000)
      const bytes = round % 7 === 0 ? Buffer.alloc(length, round) : sample(random, length)
      const into = Buffer.alloc(length + 1024)
      const end = codecs[name].compress(bytes, into, 1 + random.below(8))
      expect(end).toBeGreaterThan(0)
      for (const codec of Object.values(codecs))
        expect(expanded(codec, into.subarray(0, end), length)?.equals(bytes)).toBe(true)
    }
  },
)

test.each(['library', 'typescript'] as const)('%s writes nothing beyond the room that it has', name => {
  const random = new Random(2)
  const bytes = sample(random, 4096)
  const whole = codecs[name].compress(bytes, Buffer.alloc(8192), 1)
  for (let room = 0; room < whole; room++) {
    const into = Buffer.alloc(room + GUARD, 0xa5)
    expect(codecs[name].compress(bytes, into.subarray(0, room), 1)).toBe(0)
    expect(into.subarray(room).every(byte => byte === 0xa5)).toBe(true)
  }
  expect(codecs[name].compress(bytes, Buffer.alloc(whole + 2), 1)).toBe(whole)
})

test('damaged blocks are rejected by both, or expanded to the same bytes', () => {
  const random = new Random(3)
  const outcomes = { same: 0, rejected: 0, changed: 0 }
  for (let round = 0; round < 4000; round++) {
    const bytes = sample(random, 13 + random.below(3000))
    const memory = Buffer.alloc(bytes.length + 256)
    const block = memory.subarray(0, codecs.library.compress(bytes, memory, 1))
    for (let edits = 1 + random.below(3); edits > 0; edits--)
      block[random.below(block.length)] = random.below(256)
    const cut = random.below(4) === 0 ? block.subarray(0, random.below(block.length)) : block
    const length = random.below(4) === 0 ? random.below(4000) : bytes.length
    const own = expanded(codecs.typescript, cut, length)
    const other = expanded(codecs.library, cut, length)
    // The library accepts a distance of 0, and copies what the output's memory contained.
    if (own === undefined) outcomes.rejected++
    else {
      expect(other?.equals(own)).toBe(true)
      outcomes[own.equals(bytes) ? 'same' : 'changed']++
    }
    if (own === undefined && other !== undefined) expect(hasDistanceZero(cut)).toBe(true)
  }
  expect(outcomes.rejected).toBeGreaterThan(1000)
  expect(outcomes.changed).toBeGreaterThan(100)
})

/** Whether a well-formed block has a match of distance 0. */
function hasDistanceZero(block: Uint8Array): boolean {
  const lengthAt = (at: number, start: number): readonly [length: number, at: number] => {
    if (start < 15) return [start, at]
    let length = start
    for (let byte = 255; byte === 255; length += byte) byte = block[at++] ?? 0
    return [length, at]
  }
  for (let at = 0; at < block.length;) {
    const token = block[at] ?? 0
    const [literals, start] = lengthAt(at + 1, token >> 4)
    at = start + literals
    if (at + 1 < block.length && block[at] === 0 && block[at + 1] === 0) return true
    at = lengthAt(at + 2, token & 15)[1]
  }
  return false
}

test('hostile blocks are rejected', () => {
  const hostile = {
    empty: '',
    'literals beyond the end of the block': 'f0ff',
    'a length without an end': `f0${'ff'.repeat(300)}`,
    'literals beyond the output': `f0ff00${'61'.repeat(270)}`,
    'a match before the start': `1061050000${'00'.repeat(20)}`,
    'a match beyond the output': `1f610100ffffffffff00${'00'.repeat(5)}`,
    'a match at the end': '1f61010028',
    'no last literals': '1f6101002c00',
    'half a distance': '106101',
  }
  for (const [name, hex] of Object.entries(hostile))
    for (const codec of Object.values(codecs))
      expect(expanded(codec, Buffer.from(hex, 'hex'), 64), name).toBeUndefined()
})
