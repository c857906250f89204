/** What the reader of a bucket's segments remembers of the map, while that changes. */
import { expect, test } from 'vitest'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { FrameFetcher } from '../../../store/s3/frame-fetcher.ts'
import { S3BulkReader } from '../../../store/s3/s3-bulk-reader.ts'
import type { Extent, SegmentMap } from '../../../store/s3/segment-map.ts'
import { FrameTable, type Segment, type SegmentId } from '../../../store/s3/segment.ts'

const segmentOf = (counter: number): Segment => {
  const entry = Buffer.alloc(16)
  entry.writeUInt8(1, 6)
  entry.writeUInt32LE(UNIT_BYTES + 8, 12)
  return { epoch: 1, counter, bytes: 100 + counter, frames: new FrameTable(entry) }
}
const extentOf = (counter: number): Extent => ({
  pos: 0,
  len: UNIT_BYTES,
  segment: { epoch: 1, counter },
})
const none = (): Promise<never> => Promise.reject(new Error('not expected'))

/** A reader whose look-ups in the map end when the test says, and the segments whose objects it asked for. */
function held(): {
  readonly reader: S3BulkReader
  readonly answers: ((extents: readonly Extent[]) => void)[]
  readonly asked: number[]
} {
  const answers: ((extents: readonly Extent[]) => void)[] = []
  const asked: number[] = []
  const map: SegmentMap = {
    find: () => new Promise(resolve => answers.push(resolve)),
    segments: ids => ids.map(({ counter }: SegmentId) => segmentOf(counter)),
    windows: none,
    bytes: none,
  }
  const rows = { read: none, segments: none, isAllocated: none, bytes: none, verify: none }
  const fetcher = new FrameFetcher({ get: none }, undefined)
  const sizeOf = async ({ counter }: SegmentId): Promise<number> => {
    asked.push(counter)
    return 100 + counter
  }
  return { reader: new S3BulkReader({ map, rows, fetcher, sizeOf }), answers, asked }
}

test('extents are remembered', async () => {
  const { reader, answers, asked } = held()
  const first = reader.verify([0, UNIT_BYTES], false)
  answers.at(-1)?.([extentOf(1)])
  expect(await first).toEqual([])
  expect(await reader.verify([0, UNIT_BYTES], false)).toEqual([])
  expect(answers).toHaveLength(1)
  expect(asked).toEqual([1])
})

test('extents that were looked up before their positions were discarded are not remembered', async () => {
  const { reader, answers, asked } = held()
  const before = reader.verify([0, UNIT_BYTES], false)
  reader.forgetFrom(0)
  answers.at(-1)?.([extentOf(1)])
  expect(await before).toEqual([])
  const after = reader.verify([0, UNIT_BYTES], false)
  await Promise.resolve()
  expect(answers).toHaveLength(2)
  answers.at(-1)?.([extentOf(2)])
  expect(await after).toEqual([])
  expect(asked).toEqual([1, 2])
})
