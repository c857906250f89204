/** Segments with frames: appended to, cut off, released, and beside segments of groups. */
import { readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseCompression } from '../../../store/compression.ts'
import { BulkDamageError, type BulkWriter } from '../../../store/indexed/bulk.ts'
import { Epochs } from '../../../store/encryption/epochs.ts'
import { FrameSeal, SEALED_PART_BYTES } from '../../../store/encryption/frame-seal.ts'
import { DatabaseKeys, newMasterKey } from '../../../store/encryption/keys.ts'
import { FRAME_BYTES, FRAME_HEADER_BYTES, FrameEncoder } from '../../../store/indexed/frame-codec.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { FramedLogWriter } from '../../../store/segment-files/framed-log-writer.ts'
import {
  ENTRY_BYTES,
  entryOffset,
  frameNumber,
  writeEntry,
} from '../../../store/segment-files/framed-layout.ts'
import { LogFiles } from '../../../store/segment-files/log-files.ts'
import { SEGMENT_BYTES, segmentPath } from '../../../store/segment-files/log-layout.ts'
import { LogReader } from '../../../store/segment-files/log-reader.ts'
import { LogWriter } from '../../../store/segment-files/log-writer.ts'
import { Random } from '../../stress/random.ts'
import { temporaryDirectory } from '../sqlite/temporary-directory.ts'

const MIB = 1 << 20
const ID = '0123456789abcdef0123456789abcdef'
let directory: string
let files: LogFiles
let writer: FramedLogWriter

const framed = (): FramedLogWriter => new FramedLogWriter(files, new FrameEncoder(parseCompression('zstd')))
const path = (index = 0): string => segmentPath(`${directory}/log`, index)
const blocks = (index = 0): number => statSync(path(index)).blocks * 512

beforeEach(async () => {
  directory = await temporaryDirectory()
  files = new LogFiles(() => `${directory}/log`, ID, 'write')
  writer = framed()
})

afterEach(async () => {
  files.close()
  await rm(directory, { recursive: true })
})

/** Bytes of which about half can be saved. */
function bytesOf(length: number, seed: number): Buffer {
  const random = new Random(seed)
  const bytes = Buffer.alloc(length)
  for (let off = 0; off < length; off += 16) bytes.writeDoubleLE(random.below(2 ** 32), off)
  return bytes
}

/** Appends one transaction; returns where it begins. */
async function append(to: BulkWriter, bytes: Uint8Array, end: number): Promise<{ pos: number; end: number }> {
  await to.begin(end)
  const pos = to.end
  await to.append([bytes])
  await to.sync()
  return { pos, end: to.end }
}

function read(pos: number, length: number): Buffer {
  const into = Buffer.alloc(length)
  new LogReader(files).readAt(pos, into)
  return into
}

test('transactions of any length round-trip, whole and in parts', async () => {
  const random = new Random(1)
  const written: { pos: number; bytes: Buffer }[] = []
  let end = 0
  for (const units of [1, 3, 4, 5, 1, 700, 2, 16, 1]) {
    const bytes = bytesOf(units * UNIT_BYTES, units)
    const { pos, end: next } = await append(writer, bytes, end)
    expect(pos % FRAME_BYTES).toBe(0)
    expect(next % FRAME_BYTES).toBe(0)
    written.push({ pos, bytes })
    end = next
  }
  const reader = new LogReader(files)
  for (const { pos, bytes } of written) {
    expect(read(pos, bytes.length).equals(bytes)).toBe(true)
    for (let i = 0; i < 20; i++) {
      const off = random.below(bytes.length)
      const into = Buffer.alloc(1 + random.below(bytes.length - off))
      reader.readAt(pos + off, into)
      expect(into.equals(bytes.subarray(off, off + into.length))).toBe(true)
    }
  }
  const { unitBytes, storedBytes } = reader.framed()
  expect(unitBytes).toBe(733 * UNIT_BYTES)
  expect(storedBytes).toBeLessThan(unitBytes * 0.7)
  expect(statSync(path()).size).toBeLessThan(storedBytes + MIB)
})

test('large transactions are written past the page cache and across segments', async () => {
  const before = await append(writer, bytesOf(UNIT_BYTES, 1), 0)
  const large = bytesOf(5 * MIB, 2)
  const after = await append(writer, large, before.end)
  expect(read(after.pos, large.length).equals(large)).toBe(true)
  // As if a gigabyte had been written.
  const end = SEGMENT_BYTES - 2 * MIB
  const entry = Buffer.alloc(ENTRY_BYTES)
  writeEntry(entry, 0, { offset: statSync(path()).size - 100, length: 100, isReleased: false })
  writeSync(files.segment(0), entry, 0, ENTRY_BYTES, entryOffset(frameNumber(end - 1)))
  const late = await append(writer, large, end)
  expect(late.pos).toBe(SEGMENT_BYTES - 2 * MIB)
  expect(read(late.pos, large.length).equals(large)).toBe(true)
}, 60_000)

test('the positions of a failed transaction are reused, and readers do not cache its bytes', async () => {
  const { end } = await append(writer, bytesOf(5 * UNIT_BYTES, 1), 0)
  writer.begin(end)
  await writer.append([bytesOf(9 * UNIT_BYTES, 2)])
  await writer.sync()
  const reader = new LogReader(files)
  const into = Buffer.alloc(100)
  reader.readAt(end + 50, into)
  // Its rows could not be stored.
  writer.begin(end)
  expect(() => new LogReader(files).readAt(end, into)).toThrow(BulkDamageError)
  const bytes = bytesOf(2 * UNIT_BYTES, 3)
  const again = await append(writer, bytes, end)
  expect(again.pos).toBe(end)
  reader.readAt(end + 50, into)
  expect(into.equals(bytes.subarray(50, 150))).toBe(true)
  expect(() => reader.readAt(end + 2 * UNIT_BYTES, into)).toThrow(BulkDamageError)
})

test('a new writer removes the data of incomplete transactions', async () => {
  const { end } = await append(writer, bytesOf(5 * UNIT_BYTES, 1), 0)
  const size = statSync(path()).size
  await append(writer, bytesOf(40 * UNIT_BYTES, 2), end)
  framed().begin(end)
  expect(statSync(path()).size).toBe(size)
  expect(() => read(end, 10)).toThrow(BulkDamageError)
})

test('released frames free all their pages, including shared ones', async () => {
  const bytes = bytesOf(64 * FRAME_BYTES, 1)
  const { end } = await append(writer, bytes, 0)
  const full = blocks()
  const order = Array.from({ length: 63 }, (_, i) => (i * 26) % 63)
  for (const frame of order) {
    const lo = frame * FRAME_BYTES
    expect(files.isAllocated(lo, lo + FRAME_BYTES)).toBe(true)
    expect(writer.release([[lo, lo + FRAME_BYTES]], end)).toBeGreaterThan(4000)
    expect(files.isAllocated(lo, lo + FRAME_BYTES)).toBe(false)
    expect(() => read(lo, 10)).toThrow(BulkDamageError)
  }
  expect(read(63 * FRAME_BYTES, FRAME_BYTES).equals(bytes.subarray(63 * FRAME_BYTES))).toBe(true)
  // The header, the table, and the pages of the last frame.
  expect(blocks()).toBeLessThan(Math.min(full / 4, 10 * 4096))
})

test('a frame with a unit in use is kept', async () => {
  const bytes = bytesOf(3 * FRAME_BYTES, 1)
  const { end } = await append(writer, bytes, 0)
  const range = [UNIT_BYTES, 3 * FRAME_BYTES - UNIT_BYTES] as const
  expect(files.isAllocated(...range)).toBe(true)
  writer.release([range], end)
  expect(read(0, UNIT_BYTES).equals(bytes.subarray(0, UNIT_BYTES))).toBe(true)
  expect(() => read(FRAME_BYTES, 10)).toThrow(BulkDamageError)
  expect(read(2 * FRAME_BYTES, FRAME_BYTES).equals(bytes.subarray(2 * FRAME_BYTES))).toBe(true)
})

test('each kind of writer has its own segment; one without appends does not move the end', async () => {
  const [one, two, three] = [1, 2, 3].map(seed => bytesOf(2 * UNIT_BYTES, seed)) as [Buffer, Buffer, Buffer]
  const first = await append(new LogWriter(files), one, 0)
  writer.begin(first.end)
  await writer.sync()
  expect(writer.end).toBe(first.end)
  const second = await append(writer, two, first.end)
  expect(second.pos).toBe(SEGMENT_BYTES)
  const plain = new LogWriter(files)
  plain.begin(second.end)
  await plain.sync()
  expect(plain.end).toBe(second.end)
  const third = await append(plain, three, second.end)
  expect(third.pos).toBe(2 * SEGMENT_BYTES)
  for (const [pos, bytes] of [
    [first.pos, one],
    [second.pos, two],
    [third.pos, three],
  ] as const)
    expect(read(pos, bytes.length).equals(bytes)).toBe(true)
})

test('a segment with a damaged header is read, and its header is restored', async () => {
  const bytes = bytesOf(2 * UNIT_BYTES, 1)
  await append(writer, bytes, 0)
  files.close()
  const content = readFileSync(path())
  const damaged = Buffer.from(content)
  damaged[16] = (damaged[16] ?? 0) ^ 3
  writeFileSync(path(), damaged)
  expect(files.hasHeader(0)).toBe(false)
  expect(read(0, bytes.length).equals(bytes)).toBe(true)
  files.mendHeader(0)
  expect(files.hasHeader(0)).toBe(true)
  expect(read(0, bytes.length).equals(bytes)).toBe(true)
})

test('parts of an encrypted frame are read and verified by themselves', async () => {
  const seal = new FrameSeal(new DatabaseKeys(newMasterKey()), new Epochs(() => []))
  const encrypted = new FramedLogWriter(files, new FrameEncoder(parseCompression('zstd'), seal))
  const random = new Random(3)
  const bytes = Buffer.from(Uint8Array.from({ length: 11 * UNIT_BYTES }, () => random.below(256)))
  const { pos } = await append(encrypted, bytes, 0)
  const readUnits = (lo: number, hi: number): Buffer => {
    const into = Buffer.alloc((hi - lo) * UNIT_BYTES)
    new LogReader(files, seal).readAt(pos + lo * UNIT_BYTES, into)
    return into
  }
  const expectUnits = (lo: number, hi: number): void =>
    expect(readUnits(lo, hi).equals(bytes.subarray(lo * UNIT_BYTES, hi * UNIT_BYTES))).toBe(true)
  for (let lo = 0; lo < 11; lo++) for (let hi = lo + 1; hi <= 11; hi++) expectUnits(lo, hi)
  // A read that is not of whole units.
  const piece = Buffer.alloc(5000)
  new LogReader(files, seal).readAt(pos + 3000, piece)
  expect(piece.equals(bytes.subarray(3000, 8000))).toBe(true)

  const whole = readFileSync(path())
  const second = whole.readUInt32LE(entryOffset(frameNumber(pos) + 1)) + FRAME_HEADER_BYTES
  const flipped = Buffer.from(whole)
  flipped.writeUInt8(flipped.readUInt8(second + SEALED_PART_BYTES + 50) ^ 1, second + SEALED_PART_BYTES + 50)
  writeFileSync(path(), flipped)
  expectUnits(4, 6)
  for (const [lo, hi] of [
    [6, 7],
    [7, 8],
    [5, 7],
    [4, 8],
  ] as const)
    expect(() => readUnits(lo, hi)).toThrow(BulkDamageError)
  // Both parts in each other's place.
  const swapped = Buffer.from(whole)
  whole.copy(swapped, second, second + SEALED_PART_BYTES, second + 2 * SEALED_PART_BYTES)
  whole.copy(swapped, second + SEALED_PART_BYTES, second, second + SEALED_PART_BYTES)
  writeFileSync(path(), swapped)
  for (let unit = 4; unit < 8; unit++) expect(() => readUnits(unit, unit + 1)).toThrow(BulkDamageError)
  // The part of the frame before it.
  const first = whole.readUInt32LE(entryOffset(frameNumber(pos))) + FRAME_HEADER_BYTES
  const moved = Buffer.from(whole)
  whole.copy(moved, second, first, first + SEALED_PART_BYTES)
  writeFileSync(path(), moved)
  expect(() => readUnits(4, 5)).toThrow(BulkDamageError)
  writeFileSync(path(), whole)
  expectUnits(0, 11)
})
