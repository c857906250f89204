import { expect, test } from 'vitest'
import { differences, type Difference } from '../../../core/history/difference.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { Tid } from '../../../store/ids.ts'
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
