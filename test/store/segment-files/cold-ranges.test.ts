/** Reads that would wait for the disk are all started before one of them waits. */
import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { StoreError } from '../../../store/errors.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { ColdRanges } from '../../../store/segment-files/cold-ranges.ts'
import { isCached, startReading } from '../../../store/segment-files/file-ranges.ts'
import { LogFiles } from '../../../store/segment-files/log-files.ts'
import { offsetOf } from '../../../store/segment-files/log-layout.ts'
import { LogReader } from '../../../store/segment-files/log-reader.ts'
import { LogWriter } from '../../../store/segment-files/log-writer.ts'
import { temporaryDirectory } from '../sqlite/temporary-directory.ts'

const ID = '0123456789abcdef0123456789abcdef'
const UNITS = 40
const SLOW_MS = 8
const PROBES = 64
const BYTES = Buffer.alloc(UNITS * UNIT_BYTES, 'some bytes of the log ')

let directory: string
let files: LogFiles
let isInCache: boolean
let started: { readonly offset: number; readonly length: number }[]
let cold: ColdRanges
let reader: LogReader

beforeEach(async () => {
  directory = await temporaryDirectory()
  files = new LogFiles(() => `${directory}/log`, ID, 'write')
  const writer = new LogWriter(files)
  writer.begin(0)
  await writer.append([BYTES])
  await writer.sync()
  isInCache = false
  started = []
  cold = new ColdRanges(files, {
    isCached: () => isInCache,
    startReading: (_fd, offset, length) => void started.push({ offset, length }),
  })
  reader = new LogReader(files, undefined, cold)
})

afterEach(async () => {
  files.close()
  await rm(directory, { recursive: true, force: true })
})

const unit = (index: number): { readonly pos: number; readonly into: Buffer } => ({
  pos: index * UNIT_BYTES,
  into: Buffer.alloc(UNIT_BYTES),
})
const isRead = ({ pos, into }: ReturnType<typeof unit>): boolean =>
  into.equals(BYTES.subarray(pos, pos + UNIT_BYTES))

test('each is started at once, and filled later', async () => {
  cold.took(SLOW_MS, [unit(0)])
  const reads = [3, 9, 14].map(unit)
  const reading = reads.map(read => reader.read([read]))
  expect(started).toStrictEqual(reads.map(({ pos }) => ({ offset: offsetOf(pos), length: UNIT_BYTES })))
  expect(reads.some(isRead)).toBe(false)
  await Promise.all(reading.map(async one => await one))
  expect(reads.every(isRead)).toBe(true)
})

test('cached bytes are read at once, and after several such reads the kernel is no longer asked', () => {
  cold.took(SLOW_MS, [unit(0)])
  isInCache = true
  for (let index = 0; index < PROBES; index++) {
    const read = unit(index % UNITS)
    expect(cold.isWarm).toBe(false)
    expect(reader.read([read])).toBe(undefined)
    expect(isRead(read)).toBe(true)
  }
  expect(cold.isWarm).toBe(true)
  isInCache = false
  const read = unit(1)
  void reader.read([read])
  expect([isRead(read), started.length]).toStrictEqual([true, 0])
})

test('a read that was fast for its length did not wait for the disk', () => {
  cold.took(0.01, [unit(0)])
  cold.took(0.4, [{ pos: 0, into: Buffer.alloc(1 << 20) }])
  expect(cold.isWarm).toBe(true)
})

test('a read that is started but not filled when the store is closed rejects', async () => {
  cold.took(SLOW_MS, [unit(0)])
  const reading = reader.read([unit(2)])
  files.close()
  await expect(reading).rejects.toThrow(StoreError)
})

test('the kernel reports what is cached, and starts reads', () => {
  const fd = files.segment(0)
  startReading(fd, offsetOf(0), BYTES.length)
  void new LogReader(files).read([{ pos: 0, into: Buffer.alloc(BYTES.length) }])
  expect(isCached(fd, offsetOf(0))).toBe(true)
  expect(isCached(-1, 0)).toBe(true)
})

test('a long read is left to the read-ahead of the kernel', () => {
  const long = { pos: 0, into: Buffer.alloc(BYTES.length) }
  cold.took(SLOW_MS, [unit(0)])
  expect(reader.read([long])).toBeUndefined()
  expect(started).toStrictEqual([])
  expect(long.into.equals(BYTES)).toBe(true)
})
