import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { INLINE_BYTES_MAX } from '../../../core/tree/inode.ts'
import { NoSpaceError } from '../../../store/errors.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { TestStore } from '../../tools/test-store.ts'
import { memoryPaths, openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

const MIB = 1 << 20
const FULL = (): Promise<void> => Promise.reject(new NoSpaceError('the disk is full'))
const FREE = (): Promise<void> => Promise.resolve()

/** What the store has, seen by another filesystem on it. */
const stored = async ({ store }: Awaited<ReturnType<typeof memoryPaths>>): Promise<Paths> =>
  new Paths(await FileSystem.open(store.found()))

describe('changes become transactions', () => {
  test('at fsync, all of them', async () => {
    const paths = await memoryPaths()
    const { commits } = paths.fs.stats()
    await paths.write('a', 'first')
    await paths.write('b', 'second')
    await paths.fs.fsync()
    expect(paths.fs.stats().commits).toBe(commits + 1)
    expect((await (await stored(paths)).read('b')).toString()).toBe('second')
    await paths.fs.fsync()
    expect(paths.fs.stats().commits).toBe(commits + 1)
  })

  test('on the timer', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 20 })
    await paths.write('a', 'first')
    for (let i = 0; i < 500 && paths.fs.stats().dirtyBytes > 0; i++) await sleep(10)
    expect(await (await stored(paths)).list('')).toEqual(['a'])
  })

  test('at half of the bound', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9, dirtySizeBytes: 8 * MIB })
    const file = await paths.create('a')
    for (let i = 0; i < 64; i++) {
      await paths.fs.write(file.ino, file.fh, BigInt(i * MIB), Buffer.alloc(MIB, i))
      expect(paths.fs.stats().dirtyBytes).toBeLessThan(10 * MIB)
    }
    expect(paths.fs.stats().commits).toBeGreaterThan(4)
  })

  test('at close', async () => {
    const paths = await memoryPaths()
    await paths.write('a', 'first')
    await paths.fs.close()
    expect(await (await stored(paths)).list('')).toEqual(['a'])
  })

  test('with file names or a message as description', async () => {
    const database = temporaryDatabase()
    const paths = await openPaths(database)
    await paths.mkdir('directory')
    await paths.at('directory', () => paths.write('directory/file', 'x'))
    await paths.fs.sync()
    await paths.write('other', 'x')
    await paths.fs.sync('before the upgrade')
    await paths.fs.close()
    const store = await openSqliteStore(database, { readOnly: true })
    const descriptions: string[] = []
    for await (const { description } of store.transactions({ reverse: true, limit: 2 }))
      descriptions.push(description)
    await store.close()
    expect(descriptions[0]).toBe('before the upgrade')
    expect(descriptions[1]).toMatch(/directory.*file/)
  })

  test('fsyncs that arrive together share one', async () => {
    const paths = await memoryPaths()
    const { commits } = paths.fs.stats()
    for (let i = 0; i < 20; i++) await paths.write(`file${i}`, 'x')
    await Promise.all(Array.from({ length: 20 }, () => paths.fs.fsync()))
    expect(paths.fs.stats().commits).toBe(commits + 1)
  })

  test('an fsync during a commit covers changes made since that commit began', async () => {
    const paths = await memoryPaths()
    const slow = Promise.withResolvers<void>()
    await paths.write('a', 'x')
    paths.store.beforeCommit = () => slow.promise
    const first = paths.fs.fsync()
    await sleep(5)
    await paths.write('b', 'x')
    const second = paths.fs.fsync()
    paths.store.beforeCommit = FREE
    slow.resolve()
    await Promise.all([first, second])
    expect(await (await stored(paths)).list('')).toEqual(['a', 'b'])
  })
})

test('reads and changes continue during a slow commit', async () => {
  const paths = await memoryPaths()
  const slow = Promise.withResolvers<void>()
  await paths.write('a', 'before')
  paths.store.beforeCommit = () => slow.promise
  const commit = paths.fs.fsync()
  await sleep(5)
  expect((await paths.read('a')).toString()).toBe('before')
  await paths.write('a', 'during')
  await paths.rename('a', 'b')
  expect((await paths.read('b')).toString()).toBe('during')
  slow.resolve()
  await commit
  expect((await (await stored(paths)).read('a')).toString()).toBe('before')
  await paths.fs.fsync()
  expect((await (await stored(paths)).read('b')).toString()).toBe('during')
})

test('a large writer is not starved by small ones', async () => {
  const paths = await memoryPaths({ commitIntervalMs: 1e9, dirtySizeBytes: 4 * MIB })
  paths.store.beforeCommit = () => sleep(20)
  const file = await paths.create('a')
  const written: number[] = []
  const ended = new AbortController()
  const small = async (): Promise<void> => {
    while (!ended.signal.aborted && written.length < 300) {
      const off = BigInt(written.length % 64) * BigInt(MIB)
      written.push(await paths.fs.write(file.ino, file.fh, off, Buffer.alloc(MIB / 4, 1)))
      await sleep(1)
    }
  }
  const writing = small()
  while (written.length < 8) await sleep(1)
  const before = written.length
  await paths.fs.write(file.ino, file.fh, BigInt(64 * MIB), Buffer.alloc(3 * MIB, 1))
  ended.abort()
  expect(written.length - before).toBeLessThan(50)
  await writing
})

describe('on a full disk', () => {
  test('fsync and writes fail with ENOSPC, reads continue, and nothing is lost once there is space', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 20 })
    await paths.write('a', 'content')
    paths.store.beforeCommit = FULL
    expect(await codeOf(paths.fs.fsync())).toBe('NoSpaceError')
    expect(await codeOf(paths.write('a', 'more', 7n))).toBe('NoSpaceError')
    expect((await paths.read('a')).toString()).toBe('content')
    await paths.rename('a', 'b')
    paths.store.beforeCommit = FREE
    for (let i = 0; i < 500 && paths.fs.stats().dirtyBytes > 0; i++) await sleep(10)
    expect((await (await stored(paths)).read('b')).toString()).toBe('content')
    await paths.write('b', 'more', 7n)
    expect((await paths.read('b')).toString()).toBe('contentmore')
  })

  test('a request succeeds right after a failure once there is space', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9 })
    for (let i = 0; i < 3; i++) {
      await paths.write('a', 'content')
      paths.store.beforeCommit = FULL
      expect(await codeOf(paths.fs.fsync())).toBe('NoSpaceError')
      paths.store.beforeCommit = FREE
      await paths.write('a', `again ${i}`)
      await paths.fs.fsync()
    }
    expect((await (await stored(paths)).read('a')).toString()).toBe('again 2')
  })

  test('the failure of a commit that began earlier does not fail a later request', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9 })
    await paths.write('a', 'content')
    const slow = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    paths.store.beforeCommit = () => {
      begun.resolve()
      return slow.promise
    }
    const first = codeOf(paths.fs.fsync())
    await begun.promise
    paths.store.beforeCommit = FREE
    const second = codeOf(paths.fs.fsync())
    slow.reject(new NoSpaceError('the disk is full'))
    expect(await first).toBe('NoSpaceError')
    expect(await second).toBe('nothing')
  })

  test('any number of writers share an attempt', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9 })
    const file = await paths.create('a')
    let attempts = 0
    paths.store.beforeCommit = () => {
      attempts++
      return FULL()
    }
    expect(await codeOf(paths.fs.fsync())).toBe('NoSpaceError')
    const results = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        codeOf(async () => paths.fs.write(file.ino, file.fh, BigInt(i), Buffer.from('x'))),
      ),
    )
    expect(new Set(results)).toEqual(new Set(['NoSpaceError']))
    expect(attempts).toBe(2)
  })

  test('writers at the bound fail rather than wait for ever', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9, dirtySizeBytes: 4 * MIB })
    const file = await paths.create('a')
    paths.store.beforeCommit = FULL
    const results = await Promise.all(
      Array.from({ length: 16 }, (_, i) =>
        codeOf(async () => paths.fs.write(file.ino, file.fh, BigInt(i * MIB), Buffer.alloc(MIB, i + 1))),
      ),
    )
    expect(new Set(results)).toEqual(new Set(['nothing', 'NoSpaceError']))
    paths.store.beforeCommit = FREE
    await paths.fs.fsync()
    for (const [i, result] of results.entries()) {
      const [first = 0] = await paths.readAt(file, BigInt(i * MIB), 1)
      if (result === 'nothing') expect(first).toBe(i + 1)
    }
  })

  test('changes of names continue up to the bound', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9, dirtySizeBytes: MIB })
    await paths.mkdir('directory')
    paths.store.beforeCommit = FULL
    expect(await codeOf(paths.fs.fsync())).toBe('NoSpaceError')
    let made = 0
    while (made < 10_000 && (await codeOf(paths.mkdir(`directory/${made}`))) === 'nothing') made++
    expect(made).toBeGreaterThan(50)
    expect(made).toBeLessThan(10_000)
    expect(await paths.list('directory')).toHaveLength(made)
    paths.store.beforeCommit = FREE
    await paths.fs.fsync()
    expect(await (await stored(paths)).list('directory')).toHaveLength(made)
  })

  test('the unstored blocks that a stored file had gained are dropped with it', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9 })
    const file = await paths.create('a')
    const write = async (mib: number, count: number): Promise<number> =>
      await paths.fs.write(file.ino, file.fh, BigInt(mib * MIB), Buffer.alloc(count * MIB, 1))
    await write(0, 6)
    await paths.fs.fsync()
    await write(6, 8)
    paths.store.beforeCommit = FULL
    expect(await codeOf(paths.fs.fsync())).toBe('NoSpaceError')
    expect(paths.fs.stats().dirtyBytes).toBeGreaterThan(8 * MIB)
    await paths.fs.release(file.ino, file.fh)
    await paths.unlink('a')
    paths.fs.forget(file.ino, 1)
    expect(await codeOf(paths.fs.sync())).toBe('NoSpaceError')
    expect(paths.fs.stats().dirtyBytes).toBeLessThan(MIB)
    paths.store.beforeCommit = FREE
    await paths.fs.sync()
    expect(await (await stored(paths)).list('')).toEqual([])
  })

  test('close fails, and can be repeated', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9 })
    await paths.write('a', 'content')
    paths.store.beforeCommit = FULL
    expect(await codeOf(paths.fs.close())).toBe('NoSpaceError')
    paths.store.beforeCommit = FREE
    await paths.fs.close()
    expect((await (await stored(paths)).read('a')).toString()).toBe('content')
  })

  test('opening a new database fails if its first transaction cannot be stored', async () => {
    const store = new TestStore()
    store.beforeCommit = FULL
    expect(await codeOf(FileSystem.open(store))).toBe('NoSpaceError')
  })
})

describe('after a conflict', () => {
  /** A filesystem with a change that conflicts with a transaction of another writer; `attempts` counts its commits. */
  const conflicting = async (): Promise<{
    paths: Awaited<ReturnType<typeof memoryPaths>>
    attempts: () => number
  }> => {
    const paths = await memoryPaths({ commitIntervalMs: 20 })
    await paths.write('a', 'content')
    await paths.fs.fsync()
    const other = new Paths(await FileSystem.open(new TestStore({ database: paths.store.database })))
    await other.write('a', 'changed elsewhere')
    await other.fs.fsync()
    let attempts = 0
    paths.store.beforeCommit = () => Promise.resolve(void attempts++)
    await paths.write('a', 'changed here')
    expect(await codeOf(paths.fs.fsync())).toBe('ConflictError')
    return { paths, attempts: () => attempts }
  }

  test('the commit is not retried from the same state, neither on request nor on the timer', async () => {
    const { paths, attempts } = await conflicting()
    for (let i = 0; i < 3; i++) expect(await codeOf(paths.fs.fsync())).toBe('ConflictError')
    await sleep(100)
    expect(attempts()).toBe(1)
    expect(await codeOf(paths.fs.close())).toBe('ConflictError')
    expect((await (await stored(paths)).read('a')).toString()).toBe('changed elsewhere')
  })

  test('changes are refused, and reads continue', async () => {
    const { paths, attempts } = await conflicting()
    expect(await codeOf(paths.write('b', 'new'))).toBe('ConflictError')
    expect(await codeOf(paths.mkdir('directory'))).toBe('ConflictError')
    expect((await paths.read('a')).toString()).toBe('changed here')
    expect(await paths.list('')).toEqual(['a'])
    expect(attempts()).toBe(1)
  })
})

describe('the memory charged for a change', () => {
  test('a change of mode counts all attributes of the record before admission', async () => {
    const paths = await memoryPaths({
      commitIntervalMs: 1e9,
      dirtySizeBytes: 2 * MIB,
      cacheSizeBytes: 1 << 20,
    })
    const files = Array.from({ length: 40 }, (_, i) => `file ${i}`)
    for (const file of files) {
      await paths.write(file, '')
      for (const name of ['user.a', 'user.b', 'user.c'])
        await paths.at(file, ino => paths.fs.setxattr(ino, name, Buffer.alloc(65_000), 0))
    }
    await paths.fs.sync()
    const held = Promise.withResolvers<void>()
    paths.store.beforeCommit = () => held.promise
    const changes = files.map(file => paths.at(file, ino => paths.fs.setattr(ino, { mode: 0o600 })))
    await sleep(200)
    expect(paths.fs.stats().dirtyBytes).toBeGreaterThan(MIB / 2)
    expect(paths.fs.stats().dirtyBytes).toBeLessThan(2 * MIB)
    held.resolve()
    await Promise.all(changes)
  })

  test('a small file counts the data in its inode', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9, dirtySizeBytes: 100 * MIB })
    const files = Array.from({ length: 100 }, (_, i) => `file ${i}`)
    for (const file of files) await paths.write(file, '')
    const before = paths.fs.stats().dirtyBytes
    for (const file of files) await paths.write(file, 'x'.repeat(INLINE_BYTES_MAX))
    const written = paths.fs.stats().dirtyBytes
    expect(written - before).toBeGreaterThan(files.length * 2 * INLINE_BYTES_MAX)
    await paths.fs.sync()
    const stored = paths.fs.stats().dirtyBytes
    for (const file of files) await paths.at(file, ino => paths.fs.setattr(ino, { mode: 0o600 }))
    expect(paths.fs.stats().dirtyBytes - stored).toBeGreaterThan(files.length * 2 * INLINE_BYTES_MAX)
  })

  test('a symbolic link counts its target', async () => {
    const paths = await memoryPaths({ commitIntervalMs: 1e9, dirtySizeBytes: 100 * MIB })
    const before = paths.fs.stats().dirtyBytes
    for (let i = 0; i < 100; i++) await paths.symlink('t'.repeat(4000), `link ${i}`)
    expect(paths.fs.stats().dirtyBytes - before).toBeGreaterThan(100 * (4000 + 4000))
  })
})
