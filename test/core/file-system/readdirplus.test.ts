/** A listing with the inodes of its entries: the same as a lookup of each, with one reference each. */
import { expect, test } from 'vitest'
import { ROOT_INO, type DirectoryEntry, type ListedEntry } from '../../../core/file-system/operations.ts'
import { memoryPaths } from '../../tools/temporary-database.ts'

const NAMES = ['a', 'b', 'c', 'link', 'sub']

async function listed(
  paths: Awaited<ReturnType<typeof memoryPaths>>,
  fits: (entry: DirectoryEntry) => boolean = () => true,
): Promise<readonly ListedEntry[]> {
  const { fs } = paths
  const fh = await fs.opendir(ROOT_INO)
  try {
    return await fs.readdirplus(ROOT_INO, fh, 0n, 100, fits)
  } finally {
    await fs.releasedir(ROOT_INO, fh)
  }
}

async function filled(): Promise<Awaited<ReturnType<typeof memoryPaths>>> {
  const paths = await memoryPaths({ commitIntervalMs: 1e9 })
  for (const name of ['a', 'b', 'c']) await paths.write(name, `the file ${name}`)
  await paths.mkdir('sub')
  await paths.link('a', 'link')
  await paths.fs.sync()
  return paths
}

test('each entry has its inode, as in a lookup, and takes a reference', async () => {
  const paths = await filled()
  const before = paths.fs.stats().inodesInUse
  const found = (await listed(paths)).filter(({ found }) => found !== undefined)
  expect(found.map(({ entry }) => entry.name)).toEqual(NAMES)
  // Two names of one inode.
  expect(paths.fs.stats().inodesInUse).toBe(before + NAMES.length - 1)
  for (const { entry, found: plus } of found) {
    expect(plus?.attributes.ino).toBe(entry.ino)
    expect(plus).toEqual(await paths.fs.lookup(ROOT_INO, entry.name))
    paths.fs.forget(entry.ino, 2)
  }
  expect(paths.fs.stats().inodesInUse).toBe(before)
})

test('. and .. take no reference, and a listing ends when the reply is full', async () => {
  const paths = await filled()
  const before = paths.fs.stats().inodesInUse
  const found = await listed(paths, ({ name }) => name < 'c')
  expect(found.map(({ entry }) => entry.name)).toEqual(['.', '..', 'a', 'b'])
  expect(found.map(({ found }) => found !== undefined)).toEqual([false, false, true, true])
  expect(paths.fs.stats().inodesInUse).toBe(before + 2)
})
