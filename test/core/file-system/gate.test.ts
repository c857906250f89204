/** What a commit reads from the store while the gate is exclusive, that is, while no change may run: nothing. */
import { constants } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Bookkeeping } from '../../../core/file-system/commit/bookkeeping.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { ReadWriteLock } from '../../../core/file-system/locks.ts'
import { NoSpaceError } from '../../../store/errors.ts'
import { Connection } from '../../../core/objects/connection.ts'
import { Paths } from '../../tools/paths.ts'
import { TestStore } from '../../tools/test-store.ts'

const BLOCK = 2 << 20
const CHUNK = 4096
/** Whole blocks, of more than 64 MiB together. */
const BLOCKS = 40
/** The least that a cache may have: what is loaded for one operation does not stay for long. */
const OPTIONS = { cacheSizeBytes: 1 << 20, commitIntervalMs: 1e9 }

const PUNCH = { keepSize: true, punchHole: true, zeroRange: false }

const bytes = (length: number, seed: number): Buffer => Buffer.alloc(length, `${seed} some bytes `)

function methodOf<T extends object>(prototype: T, name: string & keyof T): (this: T) => unknown {
  return Object.getOwnPropertyDescriptor(prototype, name)?.value as (this: T) => unknown
}

describe('a commit reads nothing while the gate is exclusive', () => {
  let store: TestStore
  let paths: Paths
  /** Calls of the store while a lock was held exclusively; the commit is the only operation. */
  let readsInside = 0

  beforeEach(async () => {
    store = new TestStore()
    const fs = await FileSystem.open(store, OPTIONS)
    await fill(new Paths(fs))
    await fs.close()
    store = store.found()
    paths = new Paths(await FileSystem.open(store, OPTIONS))
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    await paths.fs.close()
  })

  /** Blocks in chunks, with a tree of many nodes; a file that was appended to; directories. */
  async function fill(at: Paths): Promise<void> {
    const file = await at.create('chunks')
    for (let blk = 0; blk < 40; blk++)
      for (let chunk = 0; chunk < 90; chunk += 2)
        await at.fs.write(file.ino, file.fh, BigInt(blk * BLOCK + chunk * CHUNK), bytes(CHUNK, chunk))
    await at.write('appended', bytes(BLOCK - 100 * CHUNK, 1))
    await at.write('moved on', bytes(BLOCK - CHUNK, 2))
    await at.fs.sync()
    await at.write('moved on', bytes(CHUNK, 3), BigInt(BLOCK - CHUNK))
    await at.write('small', 'text')
    for (let i = 0; i < 200; i++) await at.write(`file ${i}`, 'text')
    await at.fs.sync()
  }

  const work: Record<string, () => Promise<void>> = {
    'chunks that are written again, and new ones': async () => {
      const file = await paths.open('chunks')
      for (let blk = 0; blk < 40; blk += 3)
        for (const chunk of [0, 1, 33, 60, 300])
          await paths.fs.write(file.ino, file.fh, BigInt(blk * BLOCK + chunk * CHUNK), bytes(CHUNK, 9))
    },
    'holes in chunks': async () => {
      const file = await paths.open('chunks')
      for (let blk = 1; blk < 40; blk += 3)
        await paths.fs.allocate(file.ino, file.fh, PUNCH, BigInt(blk * BLOCK + 2 * CHUNK), BigInt(80 * CHUNK))
    },
    'a block that becomes full, and the next one': () =>
      paths.write('appended', bytes(120 * CHUNK, 4), BigInt(BLOCK - 100 * CHUNK)),
    'the block after a full one in chunks': () => paths.write('moved on', bytes(CHUNK, 5), BigInt(BLOCK)),
    'a small file that stays small': () => paths.write('small', 'other', 1n),
    'a small file that grows': () => paths.write('small', bytes(3 * CHUNK, 6), 2n),
    'names and attributes': async () => {
      await paths.rename('file 1', 'another')
      await paths.unlink('file 2')
      await paths.at('file 3', ino => paths.fs.setattr(ino, { mode: 0o600 }))
      await paths.write('new', bytes(CHUNK, 7))
    },
    'a file that is in use without a name': async () => {
      const file = await paths.open('file 4', constants.O_RDWR)
      await paths.unlink('file 4')
      await paths.fs.write(file.ino, file.fh, 0n, bytes(CHUNK, 8))
    },
  }

  async function evict(): Promise<void> {
    for (let i = 20; i < 200; i++) await paths.read(`file ${i}`)
  }

  /** Reads so much that what the work loaded is evicted, and counts from then on. */
  async function evictAndWatch(): Promise<void> {
    await evict()
    const file = await paths.open('chunks')
    for (let blk = 2; blk < 40; blk += 3)
      await paths.fs.read(file.ino, file.fh, BigInt(blk * BLOCK), 90 * CHUNK)
    await watch()
  }

  async function watch(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    readsInside = 0
    const held = new Map<ReadWriteLock, number>()
    const alone = methodOf(ReadWriteLock.prototype, 'alone')
    const release = methodOf(ReadWriteLock.prototype, 'release')
    vi.spyOn(ReadWriteLock.prototype, 'alone').mockImplementation(function (this: ReadWriteLock) {
      const grant = (): void => void held.set(this, store.reads.calls)
      const wait = alone.call(this) as Promise<void> | undefined
      if (wait === undefined) grant()
      return wait?.then(grant)
    })
    vi.spyOn(ReadWriteLock.prototype, 'release').mockImplementation(function (this: ReadWriteLock) {
      const before = held.get(this)
      held.delete(this)
      if (before !== undefined) readsInside += store.reads.calls - before
      release.call(this)
    })
  }

  /** Counts the calls of the store in prepares. Reads of other operations would be counted too. */
  function watchPrepares(): () => number {
    let calls = 0
    const prepare = methodOf(Connection.prototype, 'prepare') as Connection['prepare']
    vi.spyOn(Connection.prototype, 'prepare').mockImplementation(async function (
      this: Connection,
      ...parameters
    ) {
      const before = store.reads.calls
      await prepare.call(this, ...parameters)
      calls += store.reads.calls - before
    })
    const record = methodOf(Bookkeeping.prototype, 'recordOrphans') as Bookkeeping['recordOrphans']
    vi.spyOn(Bookkeeping.prototype, 'recordOrphans').mockImplementation(async function (
      this: Bookkeeping,
      ...parameters
    ) {
      const before = store.reads.calls
      const dropped = await record.call(this, ...parameters)
      calls += store.reads.calls - before
      return dropped
    })
    return () => calls
  }

  test.each(Object.keys(work))('%s', async name => {
    await work[name]?.()
    await evictAndWatch()
    const { calls } = store.reads
    await paths.fs.sync()
    expect(readsInside).toBe(0)
    expect(store.reads.calls).toBeGreaterThanOrEqual(calls)
  })

  test('more than fits into the object cache', async () => {
    const file = await paths.open('chunks')
    for (let blk = 0; blk < 40; blk++)
      for (let chunk = 0; chunk < 90; chunk += 3)
        await paths.fs.write(file.ino, file.fh, BigInt(blk * BLOCK + chunk * CHUNK), bytes(CHUNK, 10))
    for (let i = 5; i < 20; i++) await paths.unlink(`file ${i}`)
    await evictAndWatch()
    await paths.fs.sync()
    expect(readsInside).toBe(0)
  })

  test.each(Object.keys(work))('changes that run while it loads: %s', async name => {
    const others = Object.entries(work).filter(([other]) => other !== name)
    for (const [, change] of others.slice(0, 3)) await change()
    await evictAndWatch()
    const readsOfPrepares = watchPrepares()
    const load = methodOf(Connection.prototype, 'loadForPrepare')
    let hasRun = false
    vi.spyOn(Connection.prototype, 'loadForPrepare').mockImplementation(async function (this: Connection) {
      await load.call(this)
      await work[name]?.()
      hasRun = true
    })
    await paths.fs.sync()
    expect(hasRun).toBe(true)
    expect(readsOfPrepares()).toBe(0)
  })

  test('all of it together, also while the gate is held before a pack', async () => {
    for (const change of Object.values(work)) await change()
    await evictAndWatch()
    await paths.fs.quiesce()
    expect(readsInside).toBe(0)
  })

  test.each(Object.keys(work))('at the end of a delimited transaction: %s', async name => {
    await paths.fs.history?.begin()
    await work[name]?.()
    await evictAndWatch()
    await paths.fs.history?.commit()
    expect(readsInside).toBe(0)
  })

  test('after a commit that found no room, deletions are stored', async () => {
    const file = await paths.open('chunks')
    for (let blk = 0; blk < 40; blk++)
      await paths.fs.write(file.ino, file.fh, BigInt(blk * BLOCK), bytes(100, 11))
    store.beforeCommit = () => Promise.reject(new NoSpaceError('the disk is full'))
    await expect(paths.fs.sync()).rejects.toBeInstanceOf(NoSpaceError)
    await paths.fs.release(file.ino, file.fh)
    await paths.unlink('chunks')
    store.beforeCommit = () => Promise.resolve()
    await evict()
    await watch()
    const { calls } = store.reads
    await paths.fs.sync()
    expect(readsInside).toBe(0)
    // What the file's tree reached was read, to drop it.
    expect(store.reads.calls).toBeGreaterThan(calls)
  })

  test('one byte in each of many whole blocks', async () => {
    await paths.fs.close()
    store = store.found()
    const whole = { ...OPTIONS, zblkFormat: 'zblk0' as const }
    const made = new Paths(await FileSystem.open(store, whole))
    const file = await made.create('whole')
    for (let blk = 0; blk < BLOCKS; blk++)
      await made.fs.write(file.ino, file.fh, BigInt(blk * BLOCK), bytes(BLOCK, blk))
    await made.fs.close()
    store = store.found()
    // No commit begins by itself.
    paths = new Paths(await FileSystem.open(store, { ...whole, dirtySizeBytes: 1 << 30 }))
    const { ino, fh } = await paths.open('whole')
    for (let blk = 0; blk < BLOCKS; blk++)
      await paths.fs.write(ino, fh, BigInt(blk * BLOCK), Uint8Array.of(1))
    expect(paths.fs.stats().dirtyBytes).toBeGreaterThanOrEqual(BLOCKS * BLOCK)
    await watch()
    await paths.fs.sync()
    expect(readsInside).toBe(0)
    expect((await paths.read('whole')).subarray(BLOCK, BLOCK + 4)).toEqual(
      Buffer.from([1, ...bytes(4, 1).subarray(1)]),
    )
  })

  test('the stored data matches the written data', async () => {
    for (const change of Object.values(work)) await change()
    const names = (await paths.list('', 1000)).filter(name => name !== '.' && name !== '..')
    const before = await Promise.all(names.map(name => paths.read(name)))
    await evictAndWatch()
    await paths.fs.sync()
    const found = new Paths(await FileSystem.open(store.found(), OPTIONS))
    for (const [i, name] of names.entries())
      expect(Buffer.compare(await found.read(name), before[i] ?? Buffer.alloc(0)), name).toBe(0)
    await found.fs.close()
  })
})
