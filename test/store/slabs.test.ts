import { describe, expect, it } from 'vitest'
import { Slabs } from '../../store/slabs.ts'

const CHUNK = 4096
const SLAB = 1 << 20

describe('Slabs', () => {
  it('places short buffers side by side and allocates separate memory for a long one', () => {
    const slabs = new Slabs()
    const [first, second] = [slabs.take(CHUNK), slabs.take(CHUNK)]
    expect(second.buffer).toBe(first.buffer)
    expect(second.byteOffset).toBe(first.byteOffset + CHUNK)
    expect(slabs.take(SLAB).buffer).not.toBe(first.buffer)
  })

  it('never reuses memory that is still held', () => {
    const slabs = new Slabs()
    const held: Uint8Array[] = []
    for (let i = 0; i < 1000; i++) {
      const bytes = slabs.take(((i * 7) % 40) * 1000 + 1).fill(i)
      if (i % 3 === 0) slabs.release(bytes)
      else held.push(bytes)
    }
    const [twice] = held
    if (twice !== undefined) slabs.hold(twice)
    for (const bytes of held) expect(new Set(bytes).size).toBe(1)
    expect(held.map(([byte]) => byte)).toEqual(
      Array.from({ length: 1000 }, (_, i) => i % 256).filter((_, i) => i % 3 !== 0),
    )
  })

  it('reuses memory after its last holder has released it', () => {
    const slabs = new Slabs()
    const memory = new Set<ArrayBufferLike>()
    for (let round = 0; round < 10; round++) {
      const taken = Array.from({ length: 800 }, () => slabs.take(CHUNK))
      const long = slabs.take(2 << 20)
      slabs.hold(long)
      for (const bytes of [...taken, long, long]) {
        memory.add(bytes.buffer)
        slabs.release(bytes)
      }
    }
    // 800 chunks take 3.1 slabs.
    expect(memory.size).toBe(5)
  })

  it('reuses the memory of short buffers for long ones, which are writes of the kernel', () => {
    const slabs = new Slabs()
    const short = Array.from({ length: 20 * (SLAB / CHUNK) }, () => slabs.take(CHUNK))
    const known = new Set(short.map(({ buffer }) => buffer))
    for (const bytes of short) slabs.release(bytes)
    const long = Array.from({ length: 20 }, () => slabs.take(SLAB))
    // The last slab stays open for short buffers.
    expect(long.filter(({ buffer }) => known.has(buffer))).toHaveLength(19)
  })

  it('bounds free memory across all lengths, and releases it on request', () => {
    const slabs = new Slabs()
    const long = Array.from({ length: 32 }, () => slabs.take(1 << 20))
    const known = new Set(long.map(({ buffer }) => buffer))
    for (const bytes of long) slabs.release(bytes)
    const others = Array.from({ length: 8 }, () => slabs.take(2 << 20))
    const again = Array.from({ length: 32 }, () => slabs.take(1 << 20))
    expect(again.filter(({ buffer }) => known.has(buffer))).toHaveLength(16)
    for (const bytes of [...others, ...again]) slabs.release(bytes)
    slabs.dropFree()
    expect([...others, ...again].map(({ buffer }) => buffer)).not.toContain(slabs.take(1 << 20).buffer)
  })
})
