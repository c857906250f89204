import { constants } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import type { AllocateMode } from '../../../core/file-system/operations.ts'
import { codeOf, type OpenedFile, type Paths } from '../../tools/paths.ts'
import { memoryPaths } from '../../tools/temporary-database.ts'

const MIB = 1 << 20
const BLKSIZE = 2 * MIB
const SIZE_MAX = 0x7fff_ffff_ffff_ffffn
const KEEP: AllocateMode = { keepSize: true, punchHole: false, zeroRange: false }

let paths: Paths
let file: OpenedFile

beforeEach(async () => {
  paths = await memoryPaths()
  file = await paths.create('file')
})

const write = async (off: bigint, data: string | Uint8Array): Promise<number> =>
  await paths.fs.write(file.ino, file.fh, off, Buffer.from(data))
const read = (off: bigint, len: number): Promise<Buffer> => paths.readAt(file, off, len)
const size = async (): Promise<bigint> => (await paths.fs.getattr(file.ino)).size
const seek = (off: bigint, whence: 'data' | 'hole'): Promise<bigint> =>
  paths.fs.seek(file.ino, file.fh, off, whence)
const allocate = (mode: Partial<AllocateMode>, off: bigint, len: bigint): Promise<void> =>
  paths.fs.allocate(
    file.ino,
    file.fh,
    { keepSize: false, punchHole: false, zeroRange: false, ...mode },
    off,
    len,
  )

/** Each case once with everything in memory, once with everything stored. */
const STATES: readonly [name: string, settle: () => Promise<unknown>][] = [
  ['in memory', () => Promise.resolve()],
  ['stored', () => paths.fs.sync()],
]

describe.each(STATES)('data that is %s', (_name, settle) => {
  test('round-trips, truncated at the end of the file', async () => {
    await write(0n, 'abcdefgh')
    await settle()
    expect((await read(2n, 3)).toString()).toBe('cde')
    expect((await read(6n, 100)).toString()).toBe('gh')
    expect(await read(8n, 10)).toHaveLength(0)
    expect(await read(SIZE_MAX - 1n, 10)).toHaveLength(0)
  })

  test('far beyond the end leaves a hole of zeros', async () => {
    await write(0n, 'begin')
    await write(1n << 40n, 'end')
    await settle()
    expect(await size()).toBe((1n << 40n) + 3n)
    expect(await read((1n << 40n) - 5n, 100)).toEqual(Buffer.from('\0\0\0\0\0end'))
    expect(await read(BigInt(7 * MIB), 1000)).toEqual(Buffer.alloc(1000))
    expect((await paths.fs.getattr(file.ino)).blocks).toBeLessThanOrEqual(16)
  })

  test('at the largest offset is stored, one byte more is EFBIG', async () => {
    await write(SIZE_MAX - 3n, 'end')
    await settle()
    expect(await size()).toBe(SIZE_MAX)
    expect((await read(SIZE_MAX - 3n, 10)).toString()).toBe('end')
    expect(await codeOf(write(SIZE_MAX - 3n, 'more'))).toBe('EFBIG')
    expect(await codeOf(write(-1n, 'x'))).toBe('EINVAL')
  })

  test.each([0, 1, 4096, 5000, BLKSIZE, BLKSIZE + 1, 3 * BLKSIZE - 1])(
    'is gone after a truncation to %i and back',
    async cut => {
      const data = Buffer.alloc(3 * BLKSIZE, 'x')
      await write(0n, data)
      await settle()
      await paths.fs.setattr(file.ino, { size: BigInt(cut) })
      await settle()
      await paths.fs.setattr(file.ino, { size: BigInt(data.length) })
      await settle()
      const found = Buffer.concat([await read(0n, BLKSIZE), await read(BigInt(BLKSIZE), 2 * BLKSIZE)])
      expect(found.equals(Buffer.concat([data.subarray(0, cut)], data.length))).toBe(true)
      expect(await read(BigInt(data.length), 1)).toHaveLength(0)
    },
  )

  test('has holes where they are punched, and keeps its size', async () => {
    await write(0n, Buffer.alloc(BLKSIZE + 20_000, 'x'))
    await settle()
    await allocate({ ...KEEP, punchHole: true }, 5000n, 10_000n)
    await allocate({ ...KEEP, punchHole: true }, BigInt(BLKSIZE), 1n << 40n)
    await settle()
    const expected = Buffer.alloc(BLKSIZE + 20_000, 'x')
    expected.fill(0, 5000, 15_000).fill(0, BLKSIZE)
    expect((await read(0n, expected.length)).equals(expected)).toBe(true)
    expect(await size()).toBe(BigInt(expected.length))
    expect(await seek(0n, 'hole')).toBe(8192n)
    expect(await seek(8192n, 'data')).toBe(12_288n)
    expect(await seek(12_288n, 'hole')).toBe(BigInt(BLKSIZE))
    expect(await codeOf(seek(BigInt(BLKSIZE), 'data'))).toBe('ENXIO')
  })

  test('is copied within and between files, holes as holes', async () => {
    await write(BigInt(3 * BLKSIZE), 'data behind a hole')
    await write(BigInt(5 * BLKSIZE), 'more')
    await settle()
    const copy = await paths.create('copy')
    await paths.fs.write(copy.ino, copy.fh, 0n, Buffer.alloc(100_000, 'y'))
    await settle()
    const length = await paths.fs.copyFileRange({ ...file, off: 0n }, { ...copy, off: 10n }, 1n << 50n)
    expect(length).toBe(await size())
    expect((await paths.fs.getattr(copy.ino)).size).toBe(length + 10n)
    expect((await paths.readAt(copy, 0n, 20)).toString()).toBe(`yyyyyyyyyy${'\0'.repeat(10)}`)
    expect(await paths.readAt(copy, 90_000n, 10_000)).toEqual(Buffer.alloc(10_000))
    expect((await paths.readAt(copy, BigInt(3 * BLKSIZE) + 10n, 18)).toString()).toBe('data behind a hole')
    await paths.fs.sync()
    expect((await paths.fs.getattr(copy.ino)).blocks).toBeLessThanOrEqual(64)
    const same = await paths.fs.copyFileRange({ ...file, off: BigInt(5 * BLKSIZE) }, { ...file, off: 0n }, 4n)
    expect(same).toBe(4n)
    expect((await read(0n, 6)).toString()).toBe('more\0\0')
    expect(await codeOf(paths.fs.copyFileRange({ ...file, off: 0n }, { ...file, off: 5n }, 10n))).toBe(
      'EINVAL',
    )
  })

  test('counts as used until its file is removed', async () => {
    await settle()
    const before = (await paths.fs.statfs()).blocks - (await paths.fs.statfs()).blocksFree
    await write(0n, Buffer.alloc(4 * MIB, 'x'))
    expect((await paths.fs.getattr(file.ino)).blocks).toBe((4 * MIB) / 512)
    await paths.fs.sync()
    const during = await paths.fs.statfs()
    expect((during.blocks - during.blocksFree - before) * during.blockSize).toBe(4 * MIB)
    await paths.close(file)
    await paths.unlink('file')
    await paths.fs.sync()
    const after = await paths.fs.statfs()
    expect(after.blocks - after.blocksFree).toBe(before)
  })
})

const FAILURES: readonly [what: string, code: string, doing: () => Promise<unknown>][] = [
  ['reading a directory', 'EISDIR', async () => await paths.fs.read(1 as never, file.fh, 0n, 1)],
  ['truncating a directory', 'EISDIR', () => paths.truncate('', 0n)],
  ['truncating to a negative size', 'EINVAL', () => paths.fs.setattr(file.ino, { size: -1n })],
  ['truncating beyond the largest size', 'EFBIG', () => paths.fs.setattr(file.ino, { size: SIZE_MAX + 1n })],
  ['fallocate of nothing', 'EINVAL', () => allocate({}, 0n, 0n)],
  ['fallocate beyond the largest size', 'EFBIG', () => allocate({}, SIZE_MAX, 1n)],
  ['fallocate of more than there is', 'ENOSPC', () => allocate({}, 0n, 1n << 60n)],
  ['punching without KEEP_SIZE', 'EOPNOTSUPP', () => allocate({ punchHole: true }, 0n, 1n)],
  ['seeking data in an empty file', 'ENXIO', () => seek(0n, 'data')],
  ['seeking a hole at the end', 'ENXIO', () => seek(0n, 'hole')],
  ['releasing a handle twice', 'EBADF', async () => [await paths.close(file), await paths.close(file)]],
]

test.each(FAILURES)('%s: %s', async (_what, code, doing) => {
  expect(await codeOf(doing)).toBe(code)
})

test('fallocate sets the size unless KEEP_SIZE is given, and zeroes a range on request', async () => {
  await write(0n, 'abcdef')
  await allocate({ keepSize: true }, 0n, 1000n)
  expect(await size()).toBe(6n)
  await allocate({ zeroRange: true }, 2n, 2n)
  expect((await read(0n, 10)).toString()).toBe('ab\0\0ef')
  await allocate({}, 0n, 1000n)
  expect(await size()).toBe(1000n)
  await allocate({ zeroRange: true }, 1000n, 1000n)
  expect(await size()).toBe(2000n)
})

test('O_TRUNC truncates a file at open', async () => {
  await write(0n, 'content')
  await paths.close(await paths.open('file', constants.O_WRONLY | constants.O_TRUNC))
  expect(await size()).toBe(0n)
})

test('concurrent writers and readers of one file see whole writes', async () => {
  const block = 10_000
  const writers = Array.from({ length: 20 }, (_, i) => write(0n, Buffer.alloc(block, 65 + i)))
  const readers = Array.from({ length: 20 }, () => read(0n, block))
  await Promise.all(writers)
  for (const seen of await Promise.all(readers)) expect(new Set(seen).size).toBeLessThanOrEqual(1)
})
