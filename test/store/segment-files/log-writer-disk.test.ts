/** What the log's writer does while the disk is slow, takes a part, or refuses. */
import type * as Fs from 'node:fs'
import { statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { LogFiles } from '../../../store/segment-files/log-files.ts'
import { GROUP_BYTES } from '../../../store/indexed/frame.ts'
import { SEGMENT_BYTES, segmentPath } from '../../../store/segment-files/log-layout.ts'
import { LogReader } from '../../../store/segment-files/log-reader.ts'
import { LogWriter } from '../../../store/segment-files/log-writer.ts'
import { temporaryDirectory } from '../sqlite/temporary-directory.ts'

type Write = (
  fd: number,
  bytes: Uint8Array,
  off: number,
  length: number,
  position: number,
) => Promise<{ bytesWritten: number }>

/** The disk: what happened, and how much it takes of a write past the cache, or why none. */
const disk = vi.hoisted(() => ({
  events: [] as string[],
  take: (length: number): number | Error => length,
}))

/** As util.promisify.custom is. */
const PROMISIFIED = vi.hoisted(() => Symbol.for('nodejs.util.promisify.custom'))

vi.mock('node:fs', async importOriginal => {
  const fs = await importOriginal<typeof Fs>()
  const slowly: Write = async (fd, bytes, off, length, position) => {
    const taken = disk.take(length)
    await sleep(20)
    if (taken instanceof Error) throw taken
    const bytesWritten = fs.writeSync(fd, bytes, off, taken, position)
    disk.events.push('written')
    return { bytesWritten }
  }
  const fdatasyncSync = (fd: number): void => {
    disk.events.push('synced')
    fs.fdatasyncSync(fd)
  }
  return { ...fs, fdatasyncSync, write: Object.assign(() => undefined, { [PROMISIFIED]: slowly }) }
})

const MIB = 1 << 20
const ID = '0123456789abcdef0123456789abcdef'
const path = (): string => `${directory}/log`
let directory: string
let files: LogFiles
let writer: LogWriter

beforeEach(async () => {
  directory = await temporaryDirectory()
  files = new LogFiles(path, ID, 'write')
  writer = new LogWriter(files)
  disk.events.length = 0
  disk.take = length => length
})
afterEach(async () => {
  files.close()
  await rm(directory, { recursive: true, force: true })
})

const failure = (code: string): Error => Object.assign(new Error(code), { code })
const pattern = (length: number): Uint8Array =>
  new Uint8Array(length).map((_, at) => (at * 7 + (at >> 12)) % 251)

function expectInLog(pos: number, bytes: Uint8Array): void {
  const read = Buffer.alloc(bytes.length)
  new LogReader(files).readAt(pos, read)
  expect(Buffer.compare(read, bytes)).toBe(0)
}

test('a sync covers all writes in flight', async () => {
  const bytes = pattern(5 * MIB)
  writer.begin(0)
  await writer.append([bytes])
  await writer.sync()
  expect(disk.events).toEqual(['written', 'written', 'written', 'synced'])
  expectInLog(0, bytes)
})

test('a short write continues after its last byte', async () => {
  disk.take = length => Math.min(length, 3 << 18)
  const bytes = pattern(5 * MIB)
  writer.begin(0)
  await writer.append([bytes.subarray(0, 1000), bytes.subarray(1000)])
  await writer.sync()
  expect(disk.events.length).toBeGreaterThan(6)
  expectInLog(0, bytes)
})

test('writes fall back to the page cache if the filesystem refuses O_DIRECT', async () => {
  disk.take = () => failure('EINVAL')
  const bytes = pattern(5 * MIB)
  writer.begin(0)
  await writer.append([bytes])
  await writer.sync()
  expect(disk.events).toEqual(['synced'])
  expectInLog(0, bytes)
})

test('a failed write is reported by the next sync, and the next transaction reuses its place', async () => {
  const first = pattern(MIB)
  writer.begin(0)
  await writer.append([first])
  await writer.sync()
  let writes = 0
  disk.take = length => (++writes === 2 ? failure('ENOSPC') : length)
  const failed = (async () => {
    writer.begin(MIB)
    await writer.append([pattern(6 * MIB)])
    await writer.sync()
  })()
  await expect(failed).rejects.toThrow('ENOSPC')
  await writer.settle()
  writer.begin(MIB)
  const length = statSync(segmentPath(path(), 0)).size
  expect(length).toBeLessThan(MIB + 5 * 4096)
  const second = pattern(3 * MIB).toReversed()
  await writer.append([second])
  await writer.sync()
  expectInLog(0, first)
  expectInLog(MIB, second)
})

test('a segment ends and the next one begins while writes are in flight', async () => {
  files.create(0, 'groups')
  const pos = SEGMENT_BYTES - GROUP_BYTES
  const bytes = pattern(3 * GROUP_BYTES)
  writer.begin(pos)
  await writer.append([bytes])
  await writer.sync()
  expect(disk.events).toEqual(['written', 'written', 'written', 'synced', 'synced'])
  expectInLog(pos, bytes)
})
