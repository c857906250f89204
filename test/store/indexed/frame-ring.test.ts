import { expect, test } from 'vitest'
import { FrameRing } from '../../../store/indexed/frame-ring.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'

test('a thread that fails leaves its frame to the writer, to be stored as it is', () => {
  const ring = new FrameRing({ method: 'zstd', level: 1, elementBytes: 0 })
  const failing = new FrameRing({
    memory: ring.shared.memory,
    compression: {
      method: 'zstd',
      elementBytes: 0,
      get level(): number {
        throw new Error('out of memory')
      },
    },
  })
  ring.units(0).fill(1, 0, UNIT_BYTES)
  ring.submit(0, UNIT_BYTES)
  expect(() => failing.compressNext()).toThrow('out of memory')
  expect(ring.take(0, 0)?.length).toBe(0)
  ring.units(1).fill(2, 0, UNIT_BYTES)
  ring.submit(1, UNIT_BYTES)
  expect(ring.take(1, 0)?.length).toBeGreaterThan(0)
})
