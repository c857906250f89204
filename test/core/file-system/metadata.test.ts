import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import {
  type AllocateMode,
  type AttributeChanges,
  type Attributes,
  type Ino,
  type OpenFile,
  name as toName,
  ROOT_INO,
  fh as toFh,
} from '../../../core/file-system/operations.ts'
import { StoreError } from '../../../store/errors.ts'
import { oid } from '../../../store/ids.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { memoryPaths, openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

let paths: Awaited<ReturnType<typeof memoryPaths>>
let ino: Ino

beforeEach(async () => {
  paths = await memoryPaths()
  await paths.write('file', 'content')
  ino = (await paths.stat('file')).ino
})

const set = (changes: AttributeChanges): Promise<Attributes> => paths.fs.setattr(ino, changes)

const MODES: readonly [mode: number, changes: AttributeChanges, result: number][] = [
  [0o644, { mode: 0o7777 }, 0o7777],
  [0o644, { mode: constants.S_IFDIR | 0o600 }, 0o600],
  [0o6755, { uid: 5 }, 0o755],
  [0o6755, { gid: 5 }, 0o755],
  [0o6745, { uid: 5 }, 0o2745],
  [0o6755, { uid: 5, mode: 0o4755 }, 0o4755],
  [0o6755, { atimeNs: 'now' }, 0o6755],
]

test.each(MODES)('mode %o, after %j, is %o', async (mode, changes, result) => {
  await set({ mode })
  expect((await set(changes)).mode).toBe(constants.S_IFREG | result)
})

describe('setuid and setgid', () => {
  const drops = (): boolean => false
  const keeps = (): boolean => true
  const CHANGES: readonly [string, (keepsSetuid: () => boolean) => Promise<unknown>][] = [
    ['write', async kept => await paths.fs.write(ino, (await openFile()).fh, 0n, Buffer.from('x'), kept)],
    ['truncate', kept => set({ size: 1n, dropsSetuid: !kept() })],
    ['open with O_TRUNC', kept => paths.fs.open(ino, constants.O_WRONLY | constants.O_TRUNC, caller, kept)],
    ['fallocate', kept => allocate({ keepSize: false, punchHole: false, zeroRange: false }, kept)],
    ['a hole', kept => allocate({ keepSize: true, punchHole: true, zeroRange: false }, kept)],
    ['zeros', kept => allocate({ keepSize: true, punchHole: false, zeroRange: true }, kept)],
    ['copy_file_range', kept => copyOnto(kept)],
  ]
  const caller = { uid: 1, gid: 1, pid: 1 }
  const openFile = (): Promise<OpenFile> => paths.fs.open(ino, constants.O_RDWR)
  const allocate = async (mode: AllocateMode, kept: () => boolean): Promise<void> =>
    await paths.fs.allocate(ino, (await openFile()).fh, mode, 0n, 3n, kept)
  const copyOnto = async (kept: () => boolean): Promise<void> => {
    await paths.write('source', 'bytes')
    const from = { ino: (await paths.stat('source')).ino, fh: toFh(0), off: 0n }
    await paths.fs.copyFileRange(from, { ino, fh: (await openFile()).fh, off: 0n }, 3n, kept)
  }

  test.each(CHANGES)('%s drops them, in the same operation and on disk', async (_name, change) => {
    await set({ mode: 0o6755 })
    const invalidated: Ino[] = []
    paths.fs.attach({
      invalidateInode: () => undefined,
      invalidateEntry: () => undefined,
      invalidateNames: () => undefined,
      invalidateAttributes: async of => void invalidated.push(of),
      settled: async () => undefined,
    })
    await change(drops)
    expect((await paths.stat('file')).mode & 0o7777).toBe(0o755)
    // A copy changes the source's access time too.
    expect(invalidated.filter(of => of === ino)).toEqual([ino])
    await paths.fs.fsync()
    const stored = new Paths(await FileSystem.open(paths.store))
    expect((await stored.stat('file')).mode & 0o7777).toBe(0o755)
  })

  test.each(CHANGES)('%s leaves them to a caller that may keep them', async (_name, change) => {
    await set({ mode: 0o6755 })
    await change(keeps)
    expect((await paths.stat('file')).mode & 0o7777).toBe(0o6755)
  })

  test.each(CHANGES)('%s leaves setgid without group execute', async (_name, change) => {
    await set({ mode: 0o6745 })
    await change(drops)
    expect((await paths.stat('file')).mode & 0o7777).toBe(0o2745)
  })

  test('stay when O_TRUNC creates the file, whose times are equal', async () => {
    const flags = constants.O_WRONLY | constants.O_TRUNC
    const name = toName('made')
    const { entry } = await paths.fs.create(ROOT_INO, name, 0o6755, flags, caller, drops)
    const { mode, mtimeNs, ctimeNs, birthtimeNs } = entry.attributes
    expect(mode & 0o7777).toBe(0o6755)
    expect([mtimeNs, ctimeNs]).toEqual([birthtimeNs, birthtimeNs])
    const again = await paths.fs.create(ROOT_INO, name, 0o6755, flags, caller, drops)
    expect(again.entry.attributes.mode & 0o7777).toBe(0o755)
    expect(again.entry.attributes.mtimeNs).toBeGreaterThan(mtimeNs)
  })
})

describe('times', () => {
  test('are kept to the nanosecond, also before 1970 and after 2262', async () => {
    const times = { atimeNs: -1_000_000_001n, mtimeNs: 9_999_999_999_999_999_999n }
    await set(times)
    await paths.fs.sync()
    expect(await paths.stat('file')).toMatchObject(times)
  })

  test('change as POSIX requires', async () => {
    const changes: [string, () => Promise<unknown>, string[]][] = [
      ['chmod', () => set({ mode: 0o600 }), ['ctimeNs']],
      ['write', () => paths.write('file', 'x'), ['mtimeNs', 'ctimeNs']],
      ['truncate', () => set({ size: 0n }), ['mtimeNs', 'ctimeNs']],
      ['link', () => paths.link('file', 'linked'), ['ctimeNs']],
      ['rename', () => paths.rename('linked', 'other'), ['ctimeNs']],
      ['unlink', () => paths.unlink('other'), ['ctimeNs']],
      ['setxattr', () => paths.fs.setxattr(ino, 'user.a', Buffer.from('x'), 0), ['ctimeNs']],
      ['read', () => paths.read('file'), ['atimeNs']],
      ['read again', () => paths.read('file'), []],
      ['utimensat now', () => set({ atimeNs: 'now', mtimeNs: 'now' }), ['atimeNs', 'mtimeNs', 'ctimeNs']],
    ]
    for (const [what, change, changed] of changes) {
      const before = await paths.fs.getattr(ino)
      await sleep(3)
      await change()
      const after = await paths.fs.getattr(ino)
      const times = ['atimeNs', 'mtimeNs', 'ctimeNs', 'birthtimeNs'] as const
      expect([what, times.filter(time => after[time] !== before[time])]).toEqual([what, changed])
      for (const time of times) expect(after[time]).toBeGreaterThanOrEqual(before[time])
    }
  })

  describe('of access', () => {
    const OLD = { atimeNs: 1n }

    test('make no transaction of their own', async () => {
      await paths.mkdir('directory')
      await set(OLD)
      const at = await paths.fs.sync()
      await paths.read('file')
      await paths.list('directory')
      expect((await paths.stat('file')).atimeNs).toBeGreaterThan(1n)
      await paths.fs.fsync()
      expect(await paths.fs.sync()).toBe(at)
      await paths.fs.close()
      expect(await paths.store.found().lastTid()).toBe(at)
    })

    test('are stored with the next change', async () => {
      await set(OLD)
      await paths.fs.sync()
      await paths.read('file')
      const { atimeNs } = await paths.stat('file')
      await paths.write('other', 'changed')
      await paths.fs.sync()
      const stored = new Paths(await FileSystem.open(paths.store))
      expect((await stored.stat('file')).atimeNs).toBe(atimeNs)
    })

    test('that cannot be stored wait for a later transaction without delaying changes', async () => {
      const cramped = await memoryPaths({ cacheSizeBytes: 1, commitIntervalMs: 1e9 })
      await cramped.write('read', 'content')
      const others = Array.from({ length: 3000 }, (_, i) => `other${i}`)
      for (const other of others) await cramped.write(other, '')
      await cramped.fs.sync()
      await cramped.read('read')
      const { ino, atimeNs } = await cramped.stat('read')
      // Its inode leaves the cache.
      for (const other of others) await cramped.stat(other)
      await sleep(1)
      const { store } = cramped
      const load = store.load.bind(store)
      let isBroken = true
      store.load = async (oids, at) => {
        if (isBroken && oids.includes(oid(ino))) throw new StoreError('the connection is lost')
        return await load(oids, at)
      }
      await cramped.write('changed', 'content')
      await cramped.fs.sync()
      const stored = async (): Promise<Paths> => new Paths(await FileSystem.open(store.found()))
      expect((await (await stored()).read('changed')).toString()).toBe('content')
      expect((await (await stored()).stat('read')).atimeNs).toBeLessThan(atimeNs)
      isBroken = false
      await cramped.write('changed', 'again')
      await cramped.fs.sync()
      expect((await (await stored()).stat('read')).atimeNs).toBe(atimeNs)
    })

    test('are the set ones if set after the read', async () => {
      await paths.read('file')
      await set(OLD)
      await paths.fs.sync()
      expect((await paths.stat('file')).atimeNs).toBe(1n)
    })

    test('do not change by reads through O_NOATIME', async () => {
      await set(OLD)
      await paths.mkdir('directory')
      const directory = (await paths.stat('directory')).ino
      await paths.fs.setattr(directory, OLD)
      const { O_NOATIME, O_RDONLY } = constants
      const file = await paths.open('file', O_RDONLY | O_NOATIME)
      await paths.readAt(file, 0n, 10)
      const other = await paths.create('other')
      await paths.fs.copyFileRange({ ...file, off: 0n }, { ...other, off: 0n }, 3n)
      const fh = await paths.fs.opendir(directory, O_NOATIME)
      await paths.fs.readdir(directory, fh, 0n, 10)
      expect((await paths.stat('file')).atimeNs).toBe(1n)
      expect((await paths.stat('directory')).atimeNs).toBe(1n)
    })

    test('do not change with ignoresAccess', async () => {
      const { fs } = (paths = await memoryPaths({ ignoresAccess: true }))
      await paths.write('file', 'content')
      ino = (await paths.stat('file')).ino
      await fs.setattr(ino, OLD)
      await paths.read('file')
      expect((await paths.stat('file')).atimeNs).toBe(1n)
    })
  })

  test('of a directory change with its entries', async () => {
    await paths.mkdir('directory')
    const before = await paths.stat('directory')
    await sleep(3)
    await paths.write('directory/new', '')
    const after = await paths.stat('directory')
    expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs)
    expect(after.ctimeNs).toBe(after.mtimeNs)
  })
})

describe('extended attributes', () => {
  test('count as dirty memory: state and record once for an inode, for any number of changes', async () => {
    const attribute = Buffer.alloc(60_000)
    for (const name of ['user.a', 'user.b', 'user.c']) await paths.fs.setxattr(ino, name, attribute, 0)
    await paths.fs.sync()
    expect(paths.fs.stats().dirtyBytes).toBe(0)
    for (let i = 0; i < 10; i++) await set({ mode: 0o600 + i })
    expect(paths.fs.stats().dirtyBytes).toBeGreaterThan(2 * 180_000)
    expect(paths.fs.stats().dirtyBytes).toBeLessThan(2 * 180_000 + 50_000)
  })

  test('long enough for a slab round-trip before, during and after their commit', async () => {
    const values = [1, 2, 3, 4].map(fill => Buffer.alloc(40_000, fill))
    for (const value of values) {
      await paths.fs.setxattr(ino, 'user.a', value, 0)
      const storing = paths.fs.sync()
      await set({ mode: 0o600 })
      expect(Buffer.from(await paths.fs.getxattr(ino, 'user.a')).equals(value)).toBe(true)
      await storing
      await paths.fs.sync()
      expect(Buffer.from(await paths.fs.getxattr(ino, 'user.a')).equals(value)).toBe(true)
    }
  })

  test('of the namespace trusted are listed only to privileged callers', async () => {
    for (const name of ['trusted.a', 'user.b']) await paths.fs.setxattr(ino, name, Buffer.from('x'), 0)
    expect(await paths.fs.listxattr(ino, () => false)).toEqual(['user.b'])
    expect(await paths.fs.listxattr(ino, () => true)).toEqual(['trusted.a', 'user.b'])
  })

  const value = Buffer.from([0, 1, 255])

  test('of the three namespaces are kept, listed, replaced and removed', async () => {
    const names = ['user.a', 'trusted.b', 'security.c', 'user.\u00c3\u00a4']
    for (const name of names) await paths.fs.setxattr(ino, name, value, 0)
    await paths.fs.sync()
    expect((await paths.fs.listxattr(ino)).toSorted()).toEqual(names.toSorted())
    await paths.fs.setxattr(ino, 'user.a', Buffer.alloc(0), 2)
    expect(await paths.fs.getxattr(ino, 'user.a')).toHaveLength(0)
    expect(Buffer.from(await paths.fs.getxattr(ino, 'trusted.b'))).toEqual(value)
    for (const name of names) await paths.fs.removexattr(ino, name)
    expect(await paths.fs.listxattr(ino)).toEqual([])
  })

  const FAILURES: readonly [what: string, code: string, doing: () => Promise<unknown>][] = [
    ['reading one that is not there', 'ENODATA', async () => await paths.fs.getxattr(ino, 'user.none')],
    ['removing one that is not there', 'ENODATA', () => paths.fs.removexattr(ino, 'user.none')],
    ['replacing one that is not there', 'ENODATA', () => paths.fs.setxattr(ino, 'user.none', value, 2)],
    ['creating one that is there', 'EEXIST', () => paths.fs.setxattr(ino, 'user.there', value, 1)],
    ['another namespace', 'EOPNOTSUPP', () => paths.fs.setxattr(ino, 'other.a', value, 0)],
    ['a POSIX ACL', 'EOPNOTSUPP', () => paths.fs.setxattr(ino, 'system.posix_acl_access', value, 0)],
    ['an empty name', 'EINVAL', () => paths.fs.setxattr(ino, 'user.', value, 0)],
    ['a name of 256 bytes', 'ERANGE', () => paths.fs.setxattr(ino, `user.${'x'.repeat(251)}`, value, 0)],
    ['a value of more than 64 KiB', 'E2BIG', () => paths.fs.setxattr(ino, 'user.a', Buffer.alloc(65_537), 0)],
    ['unknown flags', 'EINVAL', () => paths.fs.setxattr(ino, 'user.a', value, 4)],
    ['user. on a link', 'EPERM', () => paths.at('link', at => paths.fs.setxattr(at, 'user.a', value, 0))],
  ]

  test.each(FAILURES)('%s: %s', async (_what, code, doing) => {
    await paths.fs.setxattr(ino, 'user.there', value, 0)
    await paths.symlink('file', 'link')
    expect(await codeOf(doing)).toBe(code)
  })

  test('fail with ENOSPC beyond the capacity of an inode, and existing ones stay', async () => {
    const big = Buffer.alloc(65_536, 'x')
    for (const name of ['a', 'b', 'c']) await paths.fs.setxattr(ino, `user.${name}`, big, 0)
    expect(await codeOf(paths.fs.setxattr(ino, 'user.d', big, 0))).toBe('ENOSPC')
    expect(await paths.fs.listxattr(ino)).toHaveLength(3)
    await paths.fs.sync()
    expect(Buffer.from(await paths.fs.getxattr(ino, 'user.a'))).toEqual(big)
  })

  test('capabilities do not survive a write', async () => {
    await paths.fs.setxattr(ino, 'security.capability', value, 0)
    await paths.write('file', 'x')
    expect(await codeOf(async () => await paths.fs.getxattr(ino, 'security.capability'))).toBe('ENODATA')
  })
})

test('all attributes of an inode survive a remount', async () => {
  const database = temporaryDatabase()
  let mount = await openPaths(database)
  await mount.write('file', 'content')
  await mount.symlink('somewhere', 'link')
  await mount.at('file', at => mount.fs.setxattr(at, 'user.a', Buffer.from('b'), 0))
  await mount.at('file', at => mount.fs.setattr(at, { mode: 0o4751, uid: 1000, gid: 1001, mtimeNs: 123n }))
  const before = [await mount.stat('file'), await mount.stat('link'), await mount.stat('')]
  await mount.fs.close()
  mount = await openPaths(database)
  const after = [await mount.stat('file'), await mount.stat('link'), await mount.stat('')]
  const known = (attributes: Attributes): object => ({ ...attributes, blocks: 0, validity: '' })
  expect(after.map(known)).toEqual(before.map(known))
  expect(await mount.readlink('link')).toBe('somewhere')
  expect(await mount.at('file', at => mount.fs.listxattr(at))).toEqual(['user.a'])
})

test('the free space is that of the disk of the database, and unlimited in memory', async () => {
  const disk = await openPaths(temporaryDatabase())
  const { blocksAvailable, blockSize } = await disk.fs.statfs()
  expect(blocksAvailable * blockSize).toBeLessThan(2 ** 50)
  expect((await paths.fs.statfs()).blocksAvailable * blockSize).toBe(2 ** 50)
})
