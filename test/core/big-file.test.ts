/** Files of blocks and chunks, beside a buffer with the same bytes. Longer than 400 lines: the cases of one class, with one set-up. */
/* oxlint-disable max-lines -- see above */
import * as fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { BigFile } from '../../core/big-file/big-file.ts'
import { checkTree } from '../../core/btree/check.ts'
import { Connection } from '../../core/objects/connection.ts'
import { Ref } from '../../core/objects/pickle/value.ts'
import { ZBigFile } from '../../core/zblk/zbigfile.ts'
import type { ZBlk1 } from '../../core/zblk/zblk.ts'
import { TestStore } from '../tools/test-store.ts'
import { type ZBlkFormat } from '../../core/objects/zblk-format.ts'

const BLK = 64 << 10
const CHUNK = 4096

let store: TestStore
beforeEach(() => {
  store = new TestStore()
})

async function create(
  zblkFormat: ZBlkFormat = 'auto',
  blksize = BLK,
  chunkBytesMax = Infinity,
): Promise<[BigFile, Connection]> {
  const connection = await Connection.open(store, { cacheSizeBytes: 4 << 20, zblkFormat, chunkBytesMax })
  return [await BigFile.create(connection, blksize), connection]
}

async function reopen(file: BigFile, zblkFormat: ZBlkFormat = 'auto'): Promise<[BigFile, Connection]> {
  const connection = await Connection.open(store, { cacheSizeBytes: 4 << 20, zblkFormat })
  const object = connection.get(file.file.oid, ZBigFile.CLASS_NAME) as ZBigFile
  return [await BigFile.open(connection, object), connection]
}

async function commit(connection: Connection): Promise<void> {
  await connection.prepare()
  await connection.commit()
}

const read = async (file: BigFile, off: number, len: number): Promise<Buffer> =>
  Buffer.concat(await file.read(BigInt(off), len))

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = ((i * 31 + seed * 17) % 255) + 1
  return bytes
}

async function formatOf(file: BigFile, blk: number): Promise<string | undefined> {
  const ref = await file.file.blktab.get(blk)
  return ref instanceof Ref ? ref.className.split('.').at(-1) : undefined
}

describe('BigFile', () => {
  it('reads zeros where nothing was written', async () => {
    const [file] = await create()
    expect(await read(file, 12_345, 100)).toEqual(Buffer.alloc(100))
    expect(await read(file, 3 * BLK - 10, 3 * BLK)).toEqual(Buffer.alloc(3 * BLK))
  })

  it('works beyond 2^53 and at the largest offset', async () => {
    const [file, connection] = await create('auto', 2 << 20)
    const off = 2n ** 63n - 5000n
    await file.write(off, pattern(4999, 1))
    await commit(connection)
    const [again] = await reopen(file)
    expect(Buffer.concat(await again.read(off, 4999))).toEqual(pattern(4999, 1))
    expect(await again.seekData(0n)).toBe(2n ** 63n - 8192n)
  })

  describe('in format auto', () => {
    it('stores blocks written whole as ZBlk0 and others as ZBlk1', async () => {
      const [file, connection] = await create()
      await file.write(0n, pattern(BLK + 5000, 1))
      await commit(connection)
      expect([await formatOf(file, 0), await formatOf(file, 1)]).toEqual(['ZBlk0', 'ZBlk1'])
    })

    it('stores a single first chunk as ZBlk0, and more as ZBlk1', async () => {
      const [file, connection] = await create()
      const expected = Buffer.alloc(3 * 4096)
      const put = async (off: number, bytes: Uint8Array): Promise<void> => {
        await file.write(BigInt(off), bytes)
        await commit(connection)
        expected.set(bytes, off)
      }
      for (const [off, length] of [
        [100, 50],
        [10, 2000],
        [4000, 96],
      ] as const) {
        await put(off, pattern(length, off))
        expect(await formatOf(file, 0)).toBe('ZBlk0')
      }
      await file.truncate(1500n)
      await commit(connection)
      expected.fill(0, 1500)
      expect(await formatOf(file, 0)).toBe('ZBlk0')
      expect(await read(file, 0, expected.length)).toEqual(expected)
      await put(9000, pattern(10, 4))
      expect(await formatOf(file, 0)).toBe('ZBlk1')
      await put(20, pattern(30, 5))
      expect(await formatOf(file, 0)).toBe('ZBlk1')
      const [again] = await reopen(file)
      expect(await read(again, 0, expected.length)).toEqual(expected)
    })

    it('converts a block filled by appends to ZBlk0 when writing leaves it', async () => {
      const [file, connection] = await create()
      for (let off = 0; off < BLK + 1000; off += 1000) {
        await file.write(BigInt(off), pattern(1000, off))
        await commit(connection)
        expect(await formatOf(file, 0)).toBe(off + 1000 <= 4096 || off + 1000 > BLK ? 'ZBlk0' : 'ZBlk1')
      }
      const [again] = await reopen(file)
      for (let off = 0; off < BLK + 1000; off += 1000)
        expect(await read(again, off, 1000)).toEqual(pattern(1000, off))
    })

    it('migrates a full ZBlk1 when a later transaction begins the next block', async () => {
      const [file, connection] = await create()
      await file.write(0n, pattern(BLK / 2, 1))
      await commit(connection)
      await file.write(BigInt(BLK / 2), pattern(BLK / 2, 2))
      await commit(connection)
      expect(await formatOf(file, 0)).toBe('ZBlk1')
      await file.write(BigInt(BLK), pattern(10, 3))
      await commit(connection)
      expect(await formatOf(file, 0)).toBe('ZBlk0')
      const [again] = await reopen(file)
      expect(await read(again, 0, BLK)).toEqual(Buffer.concat([pattern(BLK / 2, 1), pattern(BLK / 2, 2)]))
    })

    it('reads all parts of a fragmented block with one call', async () => {
      const [file, connection] = await create()
      const expected = pattern(BLK, 1)
      await file.write(0n, expected)
      await commit(connection)
      for (const chunk of [1, 5, 6, 11]) {
        await file.write(BigInt(chunk * CHUNK), pattern(CHUNK, chunk))
        pattern(CHUNK, chunk).copy(expected, chunk * CHUNK)
      }
      await commit(connection)
      const [again] = await reopen(file)
      await read(again, 0, 1)
      store.reads.calls = 0
      expect(await read(again, 0, BLK)).toEqual(expected)
      expect(store.reads.calls).toBe(1)
      expect(await read(again, 3 * CHUNK + 7, 5 * CHUNK)).toEqual(
        expected.subarray(3 * CHUNK + 7, 8 * CHUNK + 7),
      )
    })

    it('cuts a ZBlk0 by slices for a small change, reading nothing of it', async () => {
      const [file, connection] = await create()
      await file.write(0n, pattern(BLK, 1))
      await commit(connection)
      const [again, other] = await reopen(file)
      store.reads.bytes = 0
      const sources: unknown[] = []
      store.beforeCommit = ({ changes }) => {
        for (const { record } of changes) sources.push(record?.body)
        return Promise.resolve()
      }
      await again.write(BigInt(8 * CHUNK), pattern(CHUNK, 2))
      await commit(other)
      expect(await formatOf(again, 0)).toBe('ZBlk1')
      expect(sources.filter(body => body !== undefined && 'oid' in (body as object))).toHaveLength(2)
      expect(store.reads.bytes).toBeLessThan(2000)
      const expected = pattern(BLK, 1)
      pattern(CHUNK, 2).copy(expected, 8 * CHUNK)
      const [third, last] = await reopen(file)
      expect(await read(third, 0, BLK)).toEqual(expected)
      await third.write(BigInt(2 * CHUNK + 5), pattern(100, 3))
      pattern(100, 3).copy(expected, 2 * CHUNK + 5)
      await commit(last)
      expect(await read((await reopen(file))[0], 0, BLK)).toEqual(expected)
    })
  })

  it('keeps the requested format', async () => {
    for (const [format, name] of [
      ['zblk0', 'ZBlk0'],
      ['zblk1', 'ZBlk1'],
    ] as const) {
      const [file, connection] = await create(format)
      await file.write(0n, pattern(BLK, 1))
      await file.write(BigInt(BLK + 5), pattern(10, 2))
      await commit(connection)
      await file.write(77n, pattern(10, 3))
      await commit(connection)
      expect([await formatOf(file, 0), await formatOf(file, 1)]).toEqual([name, name])
      const expected = pattern(BLK, 1)
      pattern(10, 3).copy(expected, 77)
      expect(await read((await reopen(file))[0], 0, BLK)).toEqual(expected)
    }
  })

  it('reads nothing from the store while chunks that keep their places are serialised', async () => {
    const [file, connection] = await create('zblk1', 2 << 20, CHUNK)
    await file.write(0n, pattern(2 << 20, 1))
    await commit(connection)
    const model = Buffer.from(pattern(2 << 20, 1))
    for (let i = 0; i < 40; i++) {
      const [off, bytes] = [i * 3 * CHUNK + (i % 5), pattern(CHUNK + 700, i)]
      await file.write(BigInt(off), bytes)
      model.set(bytes, off)
    }
    store.reads.calls = 0
    await connection.prepare()
    expect(store.reads.calls).toBe(0)
    await connection.commit()
    expect((await read((await reopen(file))[0], 0, model.length)).equals(model)).toBe(true)
  })

  it('reads nothing from the store for writes of whole chunks to a block with a cached layout, until they are stored', async () => {
    const [file, connection] = await create('zblk1', 2 << 20, CHUNK)
    await file.write(0n, pattern(2 << 20, 1))
    await commit(connection)
    const [again, reopened] = await reopen(file)
    await again.write(0n, pattern(CHUNK, 2))
    store.reads.calls = 0
    for (let i = 1; i < 40; i++) await again.write(BigInt(i * 5 * CHUNK), pattern(CHUNK, i))
    await reopened.prepare()
    expect(store.reads.calls).toBe(0)
    await reopened.commit()
    expect((await read((await reopen(file))[0], 195 * CHUNK, CHUNK)).equals(pattern(CHUNK, 39))).toBe(true)
  })

  it('does not reread the chunk tree for further writes to a block with unchanged layout', async () => {
    const [file, connection] = await create('zblk1', 2 << 20, CHUNK)
    await file.write(0n, pattern(2 << 20, 1))
    await commit(connection)
    const [again, reopened] = await reopen(file)
    for (let i = 0; i < 10; i++) {
      await again.write(BigInt(i * 5 * CHUNK), pattern(CHUNK, i))
      await commit(reopened)
      if (i === 0) store.reads.calls = 0
    }
    expect(store.reads.calls).toBe(0)
    await again.write(BigInt(5 * CHUNK), Buffer.alloc(CHUNK))
    await commit(reopened)
    expect(await read(again, 5 * CHUNK, CHUNK)).toEqual(Buffer.alloc(CHUNK))
  })

  it('allocates the oids of a block contiguously and in order', async () => {
    const [file, connection] = await create('zblk1', 2 << 20, CHUNK)
    await file.write(0n, pattern(2 << 20, 1))
    await commit(connection)
    const block = connection.resolve((await file.file.blktab.get(0)) as Ref) as ZBlk1
    await block.activate()
    const oids: number[] = []
    for await (const [, chunk] of block.chunktab.range()) oids.push((chunk as Ref).oid)
    expect(oids).toEqual(Array.from({ length: 512 }, (_, i) => oids[0]! + i))
    expect(await checkTree(block.chunktab)).toMatchObject({ entries: 512, buckets: 17 })
  })

  it('rewrites the record of a ZBlk1 and the changed chunks only', async () => {
    const [file, connection] = await create('zblk1', BLK, CHUNK)
    await file.write(0n, pattern(BLK, 1))
    await commit(connection)
    const block = (await file.file.blktab.get(0)) as Ref
    let changed: number[] = []
    store.beforeCommit = ({ changes }) => {
      changed = changes.map(({ oid }) => oid)
      return Promise.resolve()
    }
    await file.write(BigInt(CHUNK), pattern(CHUNK, 2))
    await commit(connection)
    expect(changed).toHaveLength(2)
    expect(changed).toContain(block.oid)
  })

  it('stores a long run as one chunk, splits it around later changes, and omits holes', async () => {
    const [file, connection] = await create('zblk1', 2 << 20)
    const expected = pattern(2 << 20, 1)
    expected.fill(0, 1 << 20, (1 << 20) + 2 * CHUNK)
    await file.write(0n, expected)
    await commit(connection)
    const offsets = async (): Promise<number[]> => {
      const block = connection.resolve((await file.file.blktab.get(0)) as Ref) as ZBlk1
      await block.activate()
      const found: number[] = []
      for await (const [off] of block.chunktab.range()) found.push(off)
      return found
    }
    expect(await offsets()).toEqual([0, (1 << 20) + 2 * CHUNK])
    expect(await file.seekHole(0n, 1n << 40n)).toBe(1n << 20n)
    expect(await file.seekHole(0n, 5n)).toBe(5n)
    pattern(CHUNK, 2).copy(expected, 16 * CHUNK)
    await file.write(BigInt(16 * CHUNK), pattern(CHUNK, 2))
    await commit(connection)
    expect(await offsets()).toEqual([0, 16 * CHUNK, 17 * CHUNK, (1 << 20) + 2 * CHUNK])
    for (let off = 0; off < 2 << 20; off += 100_003)
      expect(await read(file, off, 5000)).toEqual(Buffer.concat([expected.subarray(off, off + 5000)], 5000))
    await file.write(0n, expected)
    await commit(connection)
    expect(await offsets()).toEqual([0, (1 << 20) + 2 * CHUNK])
    expect(await read((await reopen(file))[0], 0, 2 << 20)).toEqual(expected)
  })

  it('patches small appends in place and counts their memory', async () => {
    const [file, connection] = await create()
    for (let i = 0; i < 100; i++) await file.write(BigInt(i * 100), pattern(100, i))
    expect(connection.dirtyBytes).toBe(3 * CHUNK)
    await connection.prepare()
    await connection.commit()
    expect(connection.dirtyBytes).toBe(0)
  })

  it('keeps the entry of a zeroed block, and drops truncated ones', async () => {
    const [file, connection] = await create()
    await file.write(0n, pattern(3 * BLK, 1))
    await commit(connection)
    await file.write(0n, Buffer.alloc(BLK))
    await file.truncate(BigInt(BLK + 10))
    await commit(connection)
    expect([await formatOf(file, 0), await formatOf(file, 1), await formatOf(file, 2)]).toEqual([
      'ZBlk0',
      'ZBlk1',
      undefined,
    ])
    const expected = Buffer.alloc(3 * BLK)
    pattern(3 * BLK, 1).copy(expected, BLK, BLK, BLK + 10)
    expect(await read((await reopen(file))[0], 0, 3 * BLK)).toEqual(expected)
  })

  it.each<ZBlkFormat>(['auto', 'zblk1'])(
    'shares the stored bytes of another file, reading none, in format %s',
    async format => {
      const [source, connection] = await create(format, 2 << 20, format === 'auto' ? Infinity : CHUNK)
      const data = pattern((4 << 20) + 5000, 1)
      await source.write(0n, data)
      await commit(connection)
      const target = await BigFile.create(connection, 2 << 20)
      let stored = 0
      target.onGrowth = bytes => (stored += bytes)
      const shared = (4 << 20) + 4096
      store.reads.bytes = 0
      await target.share(source, 0n, 0n, shared)
      expect(connection.dirtyBytes).toBeLessThan(1 << 20)
      let slices = 0
      store.beforeCommit = ({ changes }) => {
        for (const { record } of changes)
          if (record?.body !== undefined && 'oid' in record.body) slices += record.body.len
        return Promise.resolve()
      }
      await connection.prepare()
      expect(store.reads.bytes).toBeLessThan(200 * 2000)
      await source.write(100n, pattern(100, 2))
      expect((await read(target, 0, shared)).equals(data.subarray(0, shared))).toBe(true)
      await connection.commit()
      expect([slices, stored]).toEqual([shared, shared])
      expect(await formatOf(target, 0)).toBe(format === 'auto' ? 'ZBlk0' : 'ZBlk1')
      await target.write(BigInt(3 * CHUNK + 7), pattern(10_000, 3))
      await commit(connection)
      const [first, second] = [Buffer.from(data), Buffer.from(data.subarray(0, shared))]
      pattern(100, 2).copy(first, 100)
      pattern(10_000, 3).copy(second, 3 * CHUNK + 7)
      expect((await read((await reopen(source))[0], 0, data.length)).equals(first)).toBe(true)
      expect((await read((await reopen(target))[0], 0, shared)).equals(second)).toBe(true)
    },
  )

  it('serves reads while it is prepared and committed', async () => {
    const [file, connection] = await create('zblk1')
    const data = pattern(4 * BLK, 1)
    await file.write(0n, data)
    await commit(connection)
    const state = { done: false }
    let reads = 0
    const reading = (async () => {
      while (!state.done) {
        const off = (reads++ * 10_007) % (3 * BLK)
        expect((await read(file, off, BLK)).equals(data.subarray(off, off + BLK))).toBe(true)
        await new Promise(resolve => setImmediate(resolve))
      }
    })()
    store.beforeCommit = () => new Promise(resolve => setImmediate(resolve))
    for (let i = 0; i < 50; i++) {
      const off = (i * 7919) % (4 * BLK - 20_000)
      await file.write(BigInt(off), data.subarray(off, off + 20_000))
      await commit(connection)
    }
    state.done = true
    await reading
    expect(reads).toBeGreaterThan(50)
  })

  it('matches a plain file under random operations, commits, failures and reloads', async () => {
    const off = fc.integer({ min: 0, max: 4 * BLK })
    const len = fc.oneof(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 2 * BLK }),
      fc.constant(CHUNK),
    )
    const kind = fc.constantFrom(
      ...([
        'write',
        'write',
        'write',
        'share',
        'share',
        'align',
        'zero',
        'truncate',
        'commit',
        'fail',
        'reload',
        'seek',
        'abort',
      ] as const),
    )
    const format = fc.constantFrom<ZBlkFormat>('auto', 'auto', 'zblk0', 'zblk1')
    await fc.assert(
      fc.asyncProperty(
        format,
        fc.array(fc.record({ kind, off, len, seed: fc.integer({ min: 0, max: 255 }) }), { maxLength: 40 }),
        async (format, operations) => {
          store = new TestStore()
          let [file, connection] = await create(format)
          await commit(connection)
          let stored = 0
          file.onGrowth = bytes => (stored += bytes)
          file.onEmptied = () => (stored = 0)
          const model = Buffer.alloc(8 * BLK)
          let saved = Buffer.from(model)
          let savedStored = 0
          for (const { kind, off, len, seed } of operations) {
            if (kind === 'write') {
              const data = seed === 0 ? Buffer.alloc(len) : pattern(len, seed)
              await file.write(BigInt(off), data)
              data.copy(model, off)
            } else if (kind === 'align') {
              const start = off - (off % CHUNK)
              const data = pattern(Math.ceil(len / CHUNK) * CHUNK, seed)
              await file.write(BigInt(start), data)
              data.copy(model, start)
            } else if (kind === 'share') {
              const from = off - (off % CHUNK)
              const to = ((seed * 7 * CHUNK) % (4 * BLK)) + (seed % 2 === 0 ? 0 : from % BLK)
              const length = Math.min(Math.ceil(len / CHUNK) * CHUNK, Math.abs(to - from))
              await file.share(file, BigInt(from), BigInt(to), length)
              model.copy(model, to, from, from + length)
            } else if (kind === 'zero') {
              await file.zero(BigInt(off), BigInt(len))
              model.fill(0, off, off + len)
            } else if (kind === 'truncate') {
              await file.truncate(BigInt(off))
              model.fill(0, off)
            } else if (kind === 'abort') {
              await connection.abort()
              file = await BigFile.open(connection, file.file)
              saved.copy(model)
              stored = savedStored
            } else if (kind === 'seek') await expectSeek(file, model, off)
            else {
              await connection.prepare()
              if (kind === 'fail') {
                store.beforeCommit = () => Promise.reject(new Error('full'))
                await expect(connection.commit()).rejects.toThrow('full')
                store.beforeCommit = () => Promise.resolve()
                continue
              }
              await connection.commit()
              expect(connection.dirtyBytes).toBe(0)
              saved = Buffer.from(model)
              savedStored = stored
              if (kind === 'reload') {
                const { onGrowth, onEmptied } = file
                ;[file, connection] = await reopen(file, format)
                file.onGrowth = onGrowth
                file.onEmptied = onEmptied
                expect((await read(file, 0, model.length)).equals(model)).toBe(true)
                await checkTree(file.file.blktab)
              }
            }
            expect((await read(file, off, len)).equals(model.subarray(off, off + len))).toBe(true)
          }
          expect((await read(file, 0, model.length)).equals(model)).toBe(true)
          await commit(connection)
          expect((await read((await reopen(file))[0], 0, model.length)).equals(model)).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })
})

/** What is not found as data is zeros, and what is called a hole is. */
async function expectSeek(file: BigFile, model: Buffer, off: number): Promise<void> {
  const data = await file.seekData(BigInt(off))
  expect(model.subarray(off, Number(data ?? model.length)).every(byte => byte === 0)).toBe(true)
  const hole = Number(await file.seekHole(BigInt(off), 1n << 40n))
  for (const upTo of [off, off + 5000, hole, hole + 1])
    expect(await file.seekHole(BigInt(off), BigInt(upTo))).toBe(BigInt(Math.min(hole, upTo)))
  expect(hole).toBeGreaterThanOrEqual(off)
  const end = Math.ceil((hole + 1) / CHUNK) * CHUNK
  expect(model.subarray(hole, Math.min(end, model.length)).every(byte => byte === 0)).toBe(true)
}
