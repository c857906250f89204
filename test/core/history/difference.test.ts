import { expect, test, vi } from 'vitest'
import { differences, type Difference } from '../../../core/history/difference.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { formatTid, type Tid } from '../../../store/ids.ts'
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

test('names that came, went and moved, and the chunks of files that changed', async () => {
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

test('what a restored file shares with a moment is equal without being read', async () => {
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
  await fs.history?.restore('whole', formatTid(first))
  const last = (await fs.history?.restore('chunks', formatTid(first))) ?? first

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
