/** Merges of attributes, and of names, that one side or both have changed. */
import { describe, expect, test } from 'vitest'
import type { Database } from '../../../core/database/database.ts'
import { both, merge } from './both.ts'

const NS_PER_S = 1_000_000_000n

/** Names of conflicts. */
const conflicting = async (main: Database): Promise<readonly string[]> =>
  (await merge(main, 'b')).conflicts.map(({ path, reason }) => `${path}: ${reason}`).sort()

describe('extended attributes', () => {
  test('that one side changed are merged, and those of new files', async () => {
    const { main, branch } = await both(async ({ files }) => {
      await files.writeFile('/f', 'x')
      await files.mkdir('/d')
      for (const name of ['kept', 'changed', 'removed', 'of main'])
        await files.setXattr('/f', `user.${name}`, 'before')
    })
    await main.files.setXattr('/f', 'user.of main', 'main')
    await main.files.setXattr('/f', 'user.both alike', 'same')
    await branch.files.setXattr('/f', 'user.both alike', 'same')
    await branch.files.setXattr('/f', 'user.changed', Buffer.from([0, 255]))
    await branch.files.setXattr('/f', 'user.gr\u00f6\u00dfe', 'new')
    await branch.files.removeXattr('/f', 'user.removed')
    await branch.files.setXattr('/d', 'user.directory', 'd')
    await branch.files.writeFile('/new', 'n')
    await branch.files.setXattr('/new', 'user.of new', 'n')
    await branch.files.mkdir('/fresh')
    await branch.files.setXattr('/fresh', 'user.of fresh', 'f')
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    const found: Record<string, string> = {}
    for (const name of await main.files.listXattrs('/f'))
      found[name] = (await main.files.getXattr('/f', name)).toString('latin1')
    expect(found).toEqual({
      'user.kept': 'before',
      'user.changed': '\0\xff',
      'user.of main': 'main',
      'user.both alike': 'same',
      'user.gr\u00f6\u00dfe': 'new',
    })
    expect((await main.files.getXattr('/d', 'user.directory')).toString()).toBe('d')
    expect((await main.files.getXattr('/new', 'user.of new')).toString()).toBe('n')
    expect((await main.files.getXattr('/fresh', 'user.of fresh')).toString()).toBe('f')
    expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
  })

  test('that both changed differently are conflicts, and the others of the file are merged', async () => {
    const { main, branch } = await both(async ({ files }) => {
      await files.writeFile('/f', 'x')
      await files.setXattr('/f', 'user.a', 'before')
    })
    await main.files.setXattr('/f', 'user.a', 'main')
    await branch.files.removeXattr('/f', 'user.a')
    await branch.files.setXattr('/f', 'user.b', 'branch')
    await branch.sync()
    expect(await conflicting(main)).toEqual(['f: both changed its attribute user.a'])
    expect((await main.files.getXattr('/f', 'user.a')).toString()).toBe('main')
    expect((await main.files.getXattr('/f', 'user.b')).toString()).toBe('branch')
    await main.files.removeXattr('/f', 'user.a')
    expect(await conflicting(main)).toEqual([])
  })

  test('that the database set before the last merge keep a file from being removed', async () => {
    const { main, branch } = await both(({ files }) => files.writeFile('/f', 'x'))
    await main.files.setXattr('/f', 'user.a', 'main')
    await branch.files.writeFile('/other', '')
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    await branch.files.unlink('/f')
    await branch.sync()
    expect(await conflicting(main)).toEqual(['f: the branch removed it, the database changed it'])
  })
})

describe('modification times', () => {
  const time = async (db: Database, path: string): Promise<bigint> => (await db.files.lstat(path)).mtimeNs

  test('that only the branch set are merged to the nanosecond, also without changed bytes', async () => {
    const { main, branch } = await both(async ({ files }) => {
      for (const name of ['/touched', '/both', '/main']) await files.writeFile(name, 'x')
    })
    const wanted = 1_234_567_890_123_456_789n
    await branch.files.utimes('/touched', wanted, wanted)
    await branch.files.utimes('/both', wanted, wanted)
    await branch.files.mkdir('/d')
    await branch.files.writeFile('/d/f', 'x')
    await branch.files.symlink('x', '/l')
    for (const path of ['/d/f', '/l', '/d']) await branch.files.lutimes(path, wanted, wanted)
    await branch.sync()
    const own = wanted + NS_PER_S
    for (const path of ['/both', '/main']) await main.files.utimes(path, own, own)
    expect(await conflicting(main)).toEqual([])
    for (const path of ['/touched', '/d/f', '/l', '/d']) expect(await time(main, path), path).toBe(wanted)
    for (const path of ['/both', '/main']) expect(await time(main, path), path).toBe(own)
    expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
  })

  test('are the later one where both changed bytes', async () => {
    const { main, branch } = await both(async ({ files }) => {
      for (const path of ['/m', '/b']) await files.writeFile(path, Buffer.alloc(16_384, 'x'))
    })
    const later = BigInt(Date.now() + 60_000) * 1_000_000n
    for (const [db, index] of [
      [main, 0],
      [branch, 2],
    ] as const)
      for (const path of ['/m', '/b']) {
        const file = await db.files.open(path, 'r+')
        await file.write(Buffer.alloc(4096, 'y'), 0, 4096, index * 4096)
        await file.close()
      }
    await main.files.utimes('/m', later, later)
    await branch.files.utimes('/b', later, later)
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    expect([await time(main, '/m'), await time(main, '/b')]).toEqual([later, later])
  })
})

describe('a file or directory that the database had renamed before the last merge', () => {
  test('is a conflict if the branch renames or removes it', async () => {
    const { main, branch } = await both(async ({ files }) => {
      for (const name of ['moved', 'gone', 'alike']) await files.writeFile(`/${name}`, name)
      for (const name of ['dir', 'empty']) await files.mkdir(`/${name}`)
    })
    for (const name of ['moved', 'gone', 'dir', 'empty']) await main.files.rename(`/${name}`, `/${name}-m`)
    await main.files.rename('/alike', '/alike-b')
    await branch.files.writeFile('/other', '')
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    for (const name of ['moved', 'dir', 'alike']) await branch.files.rename(`/${name}`, `/${name}-b`)
    await branch.files.unlink('/gone')
    await branch.files.rmdir('/empty')
    await branch.sync()
    expect(await conflicting(main)).toEqual([
      'dir-b: both renamed it, the database to dir-m',
      'empty: the branch removed it, the database renamed it to empty-m',
      'gone: the branch removed it, the database renamed it to gone-m',
      'moved-b: both renamed it, the database to moved-m',
    ])
    expect((await main.files.readdir('/')).sort()).toEqual(
      ['alike-b', 'dir-m', 'empty-m', 'gone-m', 'moved-m', 'other'].sort(),
    )
  })

  test('is none if the database renamed another of its names', async () => {
    const { main, branch } = await both(async ({ files }) => {
      await files.writeFile('/a', 'x')
      await files.link('/a', '/x')
    })
    await main.files.rename('/x', '/y')
    await branch.files.rename('/a', '/b')
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    expect((await main.files.readdir('/')).sort()).toEqual(['b', 'y'])
  })
})
