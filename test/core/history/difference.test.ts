import { expect, test, vi } from 'vitest'
import { differences, type Difference } from '../../../core/history/difference.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { formatTid, type Tid } from '../../../store/ids.ts'
import { Random } from '../../stress/random.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

const CHUNK = 4096
const MiB = 1 << 20

async function diff(path: string, a: Tid, b: Tid, below = ''): Promise<Difference[]> {
  const store = await openSqliteStore(path, { readOnly: true })
  try {
    const found: Difference[] = []
    for await (const difference of differences(store, a, b, { path: below })) found.push(difference)
    return found.sort((a, b) => (a.path < b.path ? -1 : 1))
  } finally {
    await store.close()
  }
}

const summary = ({ kind, path, from, ranges }: Difference): string =>
  [kind, ...(from === undefined ? [] : [from]), path, ...ranges.map(({ lo, hi }) => `${lo}-${hi}`)].join(' ')

test('added, removed and moved names, and changed chunks of files, are listed', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path)
  const { fs } = paths
  await paths.mkdir('dir')
  await paths.write('dir/small', Buffer.alloc(5 * CHUNK, 1))
  await paths.write('whole', Buffer.alloc(4 * MiB, 2))
  await paths.write('gone', 'x')
  await paths.write('same', 'same')
  const first = await fs.sync()
  await paths.write('dir/small', 'y', BigInt(2 * CHUNK + 5))
  await paths.write('whole', 'z', BigInt(3 * MiB))
  await paths.unlink('gone')
  await paths.write('new', 'new')
  const second = await fs.sync()
  await paths.rename('dir', 'directory')
  await paths.write('directory/small', 'z', BigInt(4 * CHUNK))
  await paths.link('same', 'directory/link')
  await paths.symlink('whole', 'symlink')
  const third = await fs.sync()

  expect((await diff(path, first, second)).map(summary)).toEqual([
    'changed dir/small 8192-12288',
    'removed gone',
    'added new',
    `changed whole ${3 * MiB}-${3 * MiB + CHUNK}`,
  ])
  expect((await diff(path, second, third)).map(summary)).toEqual([
    'renamed dir directory',
    'added directory/link',
    'changed directory/small 16384-20480',
    'added symlink',
  ])
  expect((await diff(path, first, third, 'directory')).map(summary)).toContain(
    'changed directory/small 8192-12288 16384-20480',
  )
  expect(await diff(path, first, first)).toEqual([])
  const backwards = (await diff(path, second, first)).map(summary)
  expect(backwards).toContain('added gone')
  expect(backwards).toContain('removed new')
})

test('each step reports its progress', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path)
  await paths.write('file', Buffer.alloc(5 * MiB, 1))
  const first = await paths.fs.sync()
  for (let i = 0; i < 5; i++) await paths.write('file', 'x', BigInt(i * MiB))
  await paths.write('new', 'new')
  const second = await paths.fs.sync()
  await paths.fs.close()
  const store = await openSqliteStore(path, { readOnly: true })
  const steps = new Map<string, number>()
  const progress = (what: string, done: number): unknown =>
    steps.set(what, Math.max(done, steps.get(what) ?? 0))
  for await (const { kind } of differences(store, second, first, { progress })) expect(kind).not.toBe('added')
  await store.close()
  expect([...steps.keys()]).toEqual([
    'changed objects found',
    'names compared',
    'files compared',
    'blocks compared',
  ])
  expect(steps.get('blocks compared')).toBeGreaterThanOrEqual(3)
})

test('shared data of a restored file compares equal without reads', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path, { zblkFormat: 'auto' })
  const { fs } = paths
  await paths.write('whole', Buffer.alloc(8 * MiB, 2))
  await paths.write('chunks', Buffer.alloc(4 * CHUNK, 3))
  for (let count = 0; count < 8; count++)
    await paths.write('chunks', Buffer.alloc(CHUNK, count), BigInt(count * 3 * CHUNK))
  const first = await fs.sync()
  await paths.write('whole', Buffer.alloc(MiB, 4), BigInt(MiB))
  await paths.write('chunks', 'x', BigInt(CHUNK))
  await fs.sync()
  await fs.history?.restore(['whole'], formatTid(first), false)
  const last = (await fs.history?.restore(['chunks'], formatTid(first), false)) ?? first

  const store = await openSqliteStore(path, { readOnly: true })
  try {
    const read = vi.spyOn(store, 'readSlices')
    const ranges: string[] = []
    for await (const difference of differences(store, first, last))
      ranges.push(...difference.ranges.map(String))
    expect(ranges).toEqual([])
    const bytes = read.mock.calls.flat(2).reduce((sum, { into }) => sum + into.length, 0)
    expect(bytes).toBe(0)
  } finally {
    await store.close()
  }
})

test('a difference of a path reads only below it', async () => {
  const readsAmid = async (others: number): Promise<number> => {
    const path = temporaryDatabase()
    const paths = await openPaths(path)
    await paths.mkdir('elsewhere')
    await paths.mkdir('here')
    await paths.mkdir('here/deep')
    await paths.write('here/deep/file', 'old')
    await paths.write('here/gone', 'gone')
    await paths.write('here/leaves', 'moved')
    for (let i = 0; i < others; i++) await paths.write(`elsewhere/${i}`, 'old')
    const first = await paths.fs.sync()
    await paths.write('here/deep/file', 'new')
    await paths.unlink('here/gone')
    await paths.rename('here/leaves', 'elsewhere/left')
    await paths.rename('elsewhere/0', 'here/came')
    for (let i = 1; i < others; i++) await paths.write(`elsewhere/${i}`, 'new')
    const last = await paths.fs.sync()

    const store = await openSqliteStore(path, { readOnly: true })
    try {
      const changes = vi.spyOn(store, 'changes')
      const reads = [vi.spyOn(store, 'loadPart'), vi.spyOn(store, 'revisions')]
      const load = vi.spyOn(store, 'load')
      const found: string[] = []
      for await (const difference of differences(store, first, last, { path: 'here' }))
        found.push(summary(difference))
      expect(found.sort()).toEqual([
        'changed here/deep/file 0-3',
        'removed here/gone',
        'renamed elsewhere/0 here/came',
        'renamed here/leaves elsewhere/left',
      ])
      const file: string[] = []
      for await (const difference of differences(store, first, last, { path: 'here/deep/file' }))
        file.push(summary(difference))
      expect(file).toEqual(['changed here/deep/file 0-3'])
      expect(changes).not.toHaveBeenCalled()
      const loaded = load.mock.calls.reduce((sum, [oids]) => sum + oids.length, 0)
      return loaded + reads.reduce((sum, spy) => sum + spy.mock.calls.length, 0)
    } finally {
      await store.close()
    }
  }
  const few = await readsAmid(100)
  // The tree of a larger directory has a level or two more on the way to a name in it.
  expect(await readsAmid(3000)).toBeLessThan(few + 30)
})

test('a path in a tree larger than all changes is found among the changes', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path)
  await paths.mkdir('large')
  await paths.mkdir('large/sub')
  for (let i = 0; i < 4200; i++) await paths.write(`large/${i}`, 'old')
  const first = await paths.fs.sync()
  await paths.write('large/sub/new', 'new')
  await paths.write('large/7', 'now')
  await paths.write('outside', 'new')
  const last = await paths.fs.sync()
  expect((await diff(path, first, last, 'large')).map(summary)).toEqual([
    'changed large/7 0-3',
    'added large/sub/new',
  ])
})

test('changes of a file are shown at each of its names, those of a moved directory at its new place', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path)
  await paths.mkdir('a')
  await paths.mkdir('a/sub')
  await paths.mkdir('b')
  await paths.write('a/sub/file', 'old')
  await paths.link('a/sub/file', 'b/other')
  const first = await paths.fs.sync()
  await paths.write('b/other', 'new')
  await paths.rename('a', 'c')
  const last = await paths.fs.sync()
  expect((await diff(path, first, last, 'b')).map(summary)).toEqual(['changed b/other 0-3'])
  expect((await diff(path, first, last, 'c/sub')).map(summary)).toEqual(['changed c/sub/file 0-3'])
  expect((await diff(path, first, last, 'c/')).map(summary)).toEqual([
    'renamed a c',
    'changed c/sub/file 0-3',
  ])
  expect((await diff(path, first, last, 'a')).map(summary)).toEqual(['renamed a c'])
  expect(await diff(path, first, last, 'nowhere')).toEqual([])
})

test('in a random history a difference of a path equals the part of the whole at and below it', async () => {
  const seed = Number(process.env['ZBLKFS_HISTORY_SEED'] ?? Random.seed())
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  const path = temporaryDatabase()
  const paths = await openPaths(path, { commitIntervalMs: 1e9 })
  const places = ['a', 'b', 'c', 'a/a', 'a/b', 'b/a', 'b/c', 'a/a/a', 'a/b/c', 'b/a/b', 'c/c']
  const some = (): string => places[random.below(places.length)] ?? 'a'
  const moments: Tid[] = []
  for (let i = 0; i < 60; i++) {
    for (let j = random.below(5); j >= 0; j--) {
      const kind = random.below(6)
      const step =
        kind === 0
          ? paths.mkdir(some())
          : kind === 1
            ? paths.rename(some(), some())
            : kind === 2
              ? paths.unlink(some())
              : kind === 3
                ? paths.rmdir(some())
                : paths.write(some(), String(i * 10 + j))
      // A random operation is often not possible.
      await step.catch(() => undefined)
    }
    moments.push(await paths.fs.sync())
  }
  for (let i = 0; i < 40; i++) {
    const [before, after] = [
      moments[random.below(60)] ?? moments[0]!,
      moments[random.below(60)] ?? moments[0]!,
    ]
    const all = await diff(path, before, after)
    for (const top of places) {
      const isAtTop = (at?: string): boolean => at === top || at?.startsWith(`${top}/`) === true
      const expected = all.filter(({ path, from }) => isAtTop(path) || isAtTop(from))
      const found = await diff(path, before, after, top)
      const sorted = (list: Difference[]): string[] =>
        list.map(difference => `${summary(difference)} ${difference.attributes.join()}`).sort()
      expect(sorted(found), `${top} between ${formatTid(before)} and ${formatTid(after)}`).toEqual(
        sorted(expected),
      )
    }
  }
})
