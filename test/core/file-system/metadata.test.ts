import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import type { AttributeChanges, Attributes, Ino } from '../../../core/file-system/operations.ts'
import { codeOf, type Paths } from '../../tools/paths.ts'
import { memoryPaths, openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

let paths: Paths
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
  [0o6755, { killSuidgid: true }, 0o755],
  [0o6755, { atimeNs: 'now' }, 0o6755],
]

test.each(MODES)('mode %o, after %j, is %o', async (mode, changes, result) => {
  await set({ mode })
  expect((await set(changes)).mode).toBe(constants.S_IFREG | result)
})

describe('times', () => {
  test('are kept to the nanosecond, before 1970 and after 2262 too', async () => {
    const times = { atimeNs: -1_000_000_001n, mtimeNs: 9_999_999_999_999_999_999n }
    await set(times)
    await paths.fs.sync()
    expect(await paths.stat('file')).toMatchObject(times)
  })

  test('change where POSIX has them change', async () => {
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
    ['reading one that is not there', 'ENODATA', () => paths.fs.getxattr(ino, 'user.none')],
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

  test('are ENOSPC beyond what an inode holds, and what was there stays', async () => {
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
    expect(await codeOf(paths.fs.getxattr(ino, 'security.capability'))).toBe('ENODATA')
  })
})

test('everything of an inode is there after the next mount', async () => {
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
  const known = (attributes: Attributes): object => ({ ...attributes, blocks: 0 })
  expect(after.map(known)).toEqual(before.map(known))
  expect(await mount.readlink('link')).toBe('somewhere')
  expect(await mount.at('file', at => mount.fs.listxattr(at))).toEqual(['user.a'])
})
