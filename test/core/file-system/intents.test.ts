/**
 * An fsync makes no transaction while the intent log has room. What it says is on disk is there all the same for a process that
 * finds the store as it is at that moment: changes are replayed from the intent log, in their order, with their outcome.
 *
 * Longer than 400 lines: the cases share the table of changes.
 */
/* oxlint-disable max-lines -- see above */
import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { ROOT_INO, type Ino, name as toName } from '../../../core/file-system/operations.ts'
import { StoreError } from '../../../store/errors.ts'
import { TestStore } from '../../tools/test-store.ts'
import { codeOf, Paths, ROOT_CALLER } from '../../tools/paths.ts'
import { treeOf } from '../../tools/tree-hash.ts'

/** What the next mount shows if this one dies now. */
async function afterCrash(store: TestStore): Promise<Paths> {
  return new Paths(await FileSystem.open(store.found()))
}

async function begin(files: readonly string[] = []): Promise<Paths & { readonly store: TestStore }> {
  const store = new TestStore({ hasIntents: true })
  const paths = new Paths(await FileSystem.open(store, { commitIntervalMs: 1e9 }))
  for (const file of files) await paths.write(file, 'as it was')
  await paths.fs.sync()
  return Object.assign(paths, { store })
}

const commitsOf = ({ fs }: Paths): number => fs.stats().commits

describe('an fsync', () => {
  test('of data alone makes no transaction, and is durable', async () => {
    const paths = await begin(['a', 'b'])
    const before = commitsOf(paths)
    await paths.write('a', 'first')
    await paths.fs.fsync()
    await paths.write('b', Buffer.alloc(50_000, 7), 5_000_000n)
    await paths.write('a', 'second', 3n)
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before)
    const found = await afterCrash(paths.store)
    expect(await treeOf(found, '')).toBe(await treeOf(paths, ''))
    expect((await found.read('a')).toString()).toBe('firsecond')
  })

  test('that does not cover a write leaves it to the next', async () => {
    const paths = await begin(['a'])
    await paths.write('a', 'synced')
    await paths.fs.fsync()
    const synced = await treeOf(paths, '')
    await paths.write('a', 'not synced')
    expect(await treeOf(await afterCrash(paths.store), '')).toBe(synced)
  })

  test.each<[string, (paths: Paths) => Promise<unknown>]>([
    ['more data than an entry is for', paths => paths.write('a', Buffer.alloc(300_000, 1))],
    ...[7_957_419_012n * 10n ** 18n, 10n ** 19n, -(10n ** 19n)].map(
      (mtimeNs): [string, (paths: Paths) => Promise<unknown>] => [
        `a time of ${mtimeNs} ns`,
        paths => paths.at('a', ino => paths.fs.setattr(ino, { mtimeNs })),
      ],
    ),
  ])('of %s makes a transaction', async (_what, change) => {
    const paths = await begin(['a', 'b'])
    const before = commitsOf(paths)
    await paths.write('b', 'before')
    await change(paths)
    await paths.write('b', 'after')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect(await treeOf(await afterCrash(paths.store), '')).toBe(await treeOf(paths, ''))
  })

  test('that needed a transaction only for its length is an entry the next time, until more is written without one', async () => {
    const paths = await begin(['a'])
    const write = async (byte: number): Promise<number> => {
      const before = commitsOf(paths)
      await paths.write('a', Buffer.alloc(1_500_000, byte))
      await paths.fs.fsync()
      return commitsOf(paths) - before
    }
    expect([await write(1), await write(2), await write(3)]).toStrictEqual([1, 0, 0])
    expect(await treeOf(await afterCrash(paths.store), '')).toBe(await treeOf(paths, ''))
    await paths.fs.sync()
    await paths.write('a', Buffer.alloc(5_000_000, 4))
    await paths.fs.sync()
    expect([await write(5), await write(6)]).toStrictEqual([1, 0])
    expect(await treeOf(await afterCrash(paths.store), '')).toBe(await treeOf(paths, ''))
  })

  test('of more than the longest entry makes a transaction each time', async () => {
    const paths = await begin(['a'])
    const before = commitsOf(paths)
    for (let count = 1; count <= 3; count++) {
      await paths.write('a', Buffer.alloc(2_200_000, count))
      await paths.fs.fsync()
      expect(commitsOf(paths)).toBe(before + count)
    }
  })

  test('without room in the log makes a transaction', async () => {
    const paths = await begin(['a'])
    const before = commitsOf(paths)
    paths.store.hasRoom = false
    await paths.write('a', 'first')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    paths.store.hasRoom = true
    await paths.write('a', 'second')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect((await (await afterCrash(paths.store)).read('a')).toString()).toContain('second')
  })

  test('does not wait for a running commit', async () => {
    const paths = await begin(['a', 'b'])
    const { store } = paths
    const commit = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    store.beforeCommit = () => (begun.resolve(), commit.promise)
    await paths.write('a', 'logged before')
    await paths.fs.fsync()
    await paths.write('b', 'only in the transaction')
    const committed = paths.fs.sync()
    await begun.promise
    await paths.write('a', 'meanwhile')
    await paths.create('c', 0o600)
    await paths.fs.fsync()
    await paths.write('c', 'later')
    await paths.fs.fsync()
    const synced = await treeOf(paths, '')
    expect(await treeOf(await afterCrash(store), '')).toBe(synced)
    const before = commitsOf(paths)
    commit.resolve()
    await committed
    expect(commitsOf(paths)).toBe(before + 1)
    expect(await treeOf(await afterCrash(store), '')).toBe(synced)
    await paths.write('b', 'at last')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect(await treeOf(await afterCrash(store), '')).toBe(await treeOf(paths, ''))
  })

  test('waits for a running commit if earlier changes need the transaction', async () => {
    const paths = await begin(['a', 'b'])
    const { store } = paths
    const begun = Promise.withResolvers<void>()
    const commit = Promise.withResolvers<void>()
    store.beforeCommit = () => (begun.resolve(), commit.promise)
    await paths.write('a', Buffer.alloc(300_000, 1))
    const committed = paths.fs.sync()
    await begun.promise
    await paths.write('b', 'meanwhile')
    let isSynced = false
    const synced = paths.fs.fsync().then(() => (isSynced = true))
    await sleep(20)
    expect(isSynced).toBe(false)
    commit.resolve()
    await Promise.all([committed, synced])
    expect(await treeOf(await afterCrash(store), '')).toBe(await treeOf(paths, ''))
  })

  test('after a failed commit makes a transaction, including data synced during it', async () => {
    const paths = await begin(['a', 'b'])
    const { store } = paths
    const begun = Promise.withResolvers<void>()
    const commit = Promise.withResolvers<void>()
    store.beforeCommit = () => (begun.resolve(), commit.promise)
    await paths.write('a', 'first')
    const failed = codeOf(() => paths.fs.sync())
    await begun.promise
    await paths.write('b', 'second')
    await paths.fs.fsync()
    commit.reject(new StoreError('broken'))
    expect(await failed).not.toBe('nothing')
    expect(await treeOf(await afterCrash(store), '')).toBe(await treeOf(paths, ''))
    store.beforeCommit = () => Promise.resolve()
    const before = commitsOf(paths)
    await paths.write('b', 'third')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect(await treeOf(await afterCrash(store), '')).toBe(await treeOf(paths, ''))
  })

  test('of many at once shares entries', async () => {
    const paths = await begin(['a'])
    const { store } = paths
    const all = Array.from({ length: 50 }, async (_, i) => {
      await paths.write('a', String(i % 10), BigInt(i))
      await paths.fs.fsync()
    })
    await Promise.all(all)
    expect((await store.found().capabilities.intents?.read())?.entries.length).toBeLessThan(30)
    expect(await treeOf(await afterCrash(store), '')).toBe(await treeOf(paths, ''))
  })

  test('after a read still covers data alone', async () => {
    const paths = await begin(['a'])
    const before = commitsOf(paths)
    await paths.write('a', 'x')
    await paths.read('a')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before)
  })
})

const at = (paths: Paths, path: string, use: (ino: Ino) => Promise<unknown>): Promise<unknown> =>
  paths.at(path, use)

/** Everything of a tree: what `treeOf` has, inode numbers, and extended attributes. */
async function allOf(paths: Paths): Promise<string> {
  const lines = [await treeOf(paths, '')]
  const walk = async (path: string): Promise<void> => {
    await at(paths, path, async ino => {
      const attributes: string[] = []
      for (const name of await paths.fs.listxattr(ino))
        attributes.push(`${name}=${Buffer.from(await paths.fs.getxattr(ino, name)).toString('latin1')}`)
      const { birthtimeNs, rdev } = await paths.fs.getattr(ino)
      lines.push([path, ino, rdev, birthtimeNs, ...attributes].join(' '))
    })
    if (((await paths.stat(path)).mode & constants.S_IFMT) !== constants.S_IFDIR) return
    for (const name of await paths.list(path)) await walk(`${path}/${name}`)
  }
  await walk('')
  return lines.join('\n')
}

const data = (length: number): Buffer => Buffer.alloc(length, 'data')

const CHANGES: readonly (readonly [string, (paths: Paths) => Promise<unknown>])[] = [
  ['a new file', paths => paths.create('d/new', 0o640)],
  ['a new file that is written', paths => paths.write('d/new', data(10_000))],
  ['a new directory with a file', async paths => (await paths.mkdir('d/e'), paths.write('d/e/f', 'x'))],
  [
    'a directory that passes its group on',
    async paths => {
      await at(paths, 'd', ino => paths.fs.setattr(ino, { gid: 77, mode: 0o2755 }))
      await paths.mkdir('d/e')
      await paths.create('d/e/f')
    },
  ],
  ['a device', paths => paths.mknod('d/null', constants.S_IFCHR | 0o666, 0x103)],
  ['a symbolic link', paths => paths.symlink('../somewhere/else', 'd/link')],
  ['another name', paths => paths.link('a', 'd/hard')],
  ['no name', paths => paths.unlink('a')],
  ['no directory', async paths => (await paths.mkdir('d/e'), paths.rmdir('d/e'))],
  ['another name for a directory', async paths => (await paths.mkdir('d/e'), paths.rename('d/e', 'e'))],
  ['a name that replaces another', paths => paths.rename('a', 'b')],
  ['names exchanged', paths => paths.rename('a', 'd', { exchange: true })],
  ['a size', paths => paths.truncate('a', 3n)],
  [
    'a file that is emptied',
    async paths => paths.close(await paths.open('a', constants.O_RDWR | constants.O_TRUNC)),
  ],
  ['a mode', paths => at(paths, 'a', ino => paths.fs.setattr(ino, { mode: 0o4751 }))],
  [
    'an owner, which drops setuid',
    async paths => {
      await at(paths, 'a', ino => paths.fs.setattr(ino, { mode: 0o4755 }))
      await at(paths, 'a', ino => paths.fs.setattr(ino, { uid: 5, gid: 6 }))
    },
  ],
  [
    'times',
    paths => at(paths, 'a', ino => paths.fs.setattr(ino, { mtimeNs: -5n, atimeNs: 'now', ctimeNs: 9n })),
  ],
  [
    'a write that drops setuid',
    async paths => {
      await at(paths, 'a', ino => paths.fs.setattr(ino, { mode: 0o6755 }))
      const { ino, fh } = await paths.open('a')
      await paths.fs.write(ino, fh, 0n, data(5), () => false)
      await paths.close({ ino, fh })
    },
  ],
  [
    'attributes',
    paths =>
      at(paths, 'a', async ino => {
        await paths.fs.setxattr(ino, 'user.one', Buffer.from([0, 255, 10]), 0)
        await paths.fs.setxattr(ino, 'user.two', Buffer.from('2'), 0)
        await paths.fs.removexattr(ino, 'user.two')
      }),
  ],
  [
    'room',
    async paths => {
      const { ino, fh } = await paths.open('a')
      await paths.fs.allocate(ino, fh, { keepSize: false, punchHole: false, zeroRange: false }, 0n, 100_000n)
      await paths.fs.allocate(ino, fh, { keepSize: true, punchHole: true, zeroRange: false }, 2n, 4n)
      await paths.fs.allocate(
        ino,
        fh,
        { keepSize: false, punchHole: false, zeroRange: true },
        90_000n,
        20_000n,
      )
      await paths.close({ ino, fh })
    },
  ],
  [
    'a copy',
    async paths => {
      await paths.write('big', data(150_000))
      const [from, to] = [await paths.open('big'), await paths.create('d/copy')]
      await paths.fs.copyFileRange({ ...from, off: 0n }, { ...to, off: 4096n }, 140_000n)
      await paths.close(from)
      await paths.close(to)
    },
  ],
]

describe('an fsync of', () => {
  test.each(CHANGES)('%s makes no transaction, and loses nothing', async (_what, change) => {
    const paths = await begin(['a', 'b'])
    await paths.mkdir('d')
    await paths.fs.sync()
    const before = commitsOf(paths)
    await paths.write('b', 'before')
    await change(paths)
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before)
    const found = await afterCrash(paths.store)
    expect(await allOf(found)).toBe(await allOf(paths))
    // What is created next does not meet what was replayed.
    await found.write('d2', 'next')
    await found.fs.sync()
    expect((await found.read('d2')).toString()).toBe('next')
  })

  test('copies from the past makes a transaction', async () => {
    const paths = await begin(['a'])
    const past = await paths.open('@now/a', constants.O_RDONLY)
    const to = await paths.create('copy')
    const before = commitsOf(paths)
    await paths.fs.copyFileRange({ ...past, off: 0n }, { ...to, off: 0n }, 5n)
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect((await (await afterCrash(paths.store)).read('copy')).toString()).toBe('as it')
  })

  test.each<[string, (paths: Paths) => Promise<unknown>]>([
    [
      'a name for a file that had none',
      async paths => {
        const { entry, file } = await paths.fs.createUnnamed(ROOT_INO, 0o600, constants.O_RDWR, ROOT_CALLER)
        const { ino } = entry.attributes
        await paths.fs.sync()
        await paths.fs.write(ino, file.fh, 0n, data(5000))
        await paths.fs.fsync()
        await paths.fs.link(ino, ROOT_INO, toName('named'))
        await paths.fs.release(ino, file.fh)
      },
    ],
    [
      'a file without a name that takes the place of another',
      async paths => {
        const { entry, file } = await paths.fs.createUnnamed(ROOT_INO, 0o600, constants.O_RDWR, ROOT_CALLER)
        const { ino } = entry.attributes
        await paths.fs.write(ino, file.fh, 0n, data(5000))
        await paths.fs.fsync()
        await expect(paths.fs.link(ino, ROOT_INO, toName('b'))).rejects.toMatchObject({ code: 'EEXIST' })
        await paths.fs.link(ino, ROOT_INO, toName('b'), ROOT_CALLER, true)
        await paths.fs.release(ino, file.fh)
      },
    ],
    ['a whiteout', paths => paths.rename('a', 'c', { whiteout: true })],
  ])('%s makes a transaction, and loses nothing', async (_what, change) => {
    const paths = await begin(['a', 'b'])
    await paths.write('b', 'before')
    await change(paths)
    const before = commitsOf(paths)
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect(await allOf(await afterCrash(paths.store))).toBe(await allOf(paths))
  })

  test('more than the dirty bound is replayed before any commit', async () => {
    const paths = await begin(['a'])
    for (let i = 0; i < 8; i++) {
      await paths.write('a', data(100_000), BigInt(i * 100_000))
      await paths.fs.fsync()
    }
    const found = paths.store.found()
    const tree = await treeOf(paths, '')
    let commits = 0
    found.beforeCommit = () => Promise.resolve(void commits++)
    const again = new Paths(await FileSystem.open(found, { dirtySizeBytes: 100_000 }))
    expect(commits).toBe(1)
    expect(await treeOf(again, '')).toBe(tree)
  })
})

test('an intent log of another version is refused', async () => {
  const paths = await begin(['a'])
  await paths.store.capabilities.intents?.add(Buffer.alloc(40, 1))
  await expect(afterCrash(paths.store)).rejects.toThrow('another version')
})

test('a write to an unlinked file is not replayed', async () => {
  const paths = await begin(['a', 'b'])
  const file = await paths.open('a')
  await paths.unlink('a')
  await paths.fs.fsync()
  await paths.fs.write(file.ino, file.fh, 0n, Buffer.from('gone'))
  await paths.write('b', 'there')
  await paths.fs.fsync()
  const found = await afterCrash(paths.store)
  expect(await found.list('')).toEqual(['b'])
  expect((await found.read('b')).toString()).toContain('there')
})

test('an fsync right after the end of a transaction waits for it', async () => {
  const paths = await begin(['a'])
  paths.store.beforeCommit = () => sleep(20)
  await paths.fs.history?.begin()
  await paths.write('a', 'in the transaction')
  const ended = paths.fs.history?.commit('done')
  await paths.fs.fsync()
  expect((await (await afterCrash(paths.store)).read('a')).toString()).toBe('in the transaction')
  await ended
})

test('a rolled-back transaction leaves nothing for the next process', async () => {
  const paths = await begin(['a'])
  await paths.write('a', 'kept')
  await paths.fs.fsync()
  await paths.fs.history?.begin()
  await paths.write('a', 'taken back')
  await paths.fs.fsync()
  await paths.fs.history?.rollBack()
  await paths.write('a', 'later', 20n)
  await paths.fs.fsync()
  const found = await afterCrash(paths.store)
  expect(await treeOf(found, '')).toBe(await treeOf(paths, ''))
  expect((await found.read('a')).toString()).toContain('kept')
})
