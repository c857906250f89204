/** A listing with the inodes of its entries: the same as a lookup of each, with one reference each. */
import { constants } from 'node:fs'
import { expect, test } from 'vitest'
import {
  ROOT_INO,
  type AttributeChanges,
  type DirectoryEntry,
  type ListedEntry,
} from '../../../core/file-system/operations.ts'
import { ROOT_CALLER, type Paths } from '../../tools/paths.ts'
import { memoryPaths, openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

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

/** Lists a directory, then looks each name up, whose inode is loaded then. */
async function expectAsLookedUp(paths: Paths, count: number): Promise<void> {
  const { fs } = paths
  const fh = await fs.opendir(ROOT_INO)
  const entries = await fs.readdirplus(ROOT_INO, fh, 0n, 1000, () => true)
  await fs.releasedir(ROOT_INO, fh)
  const found = entries.filter(({ found }) => found !== undefined)
  expect(found).toHaveLength(count)
  for (const { entry, found: plus } of found) {
    expect(plus, entry.name).toEqual(await fs.lookup(ROOT_INO, entry.name))
    fs.forget(entry.ino, 2)
  }
}

const STORED = 60

test('inodes that are not in memory are listed as a lookup gives them', async () => {
  const path = temporaryDatabase()
  const made = await openPaths(path, { commitIntervalMs: 1e9 })
  const changes: AttributeChanges[] = [
    { mtimeNs: -1n, atimeNs: -123_456_789_012_345_678n },
    { mtimeNs: 13_569_465_600_000_000_001n, atimeNs: 5n },
    { mode: 0o7777 },
    { uid: 0xffff_fffe, gid: 0x8000_0001 },
    { size: 5n << 40n },
    {},
  ]
  for (let index = 0; index < STORED; index++) {
    await made.write(`file-${index}`, 'x'.repeat(index * 97))
    await made.at(`file-${index}`, ino =>
      made.fs.setattr(ino, changes[index % changes.length] ?? {}, ROOT_CALLER),
    )
  }
  await made.mkdir('directory', 0o3750)
  await made.symlink('target of a link', 'symbolic')
  await made.mknod('fifo', constants.S_IFIFO | 0o600)
  await made.mknod('device', constants.S_IFCHR | 0o600, 0x0103)
  await made.link('file-1', 'second name')
  await made.fs.close()

  const paths = await openPaths(path, { commitIntervalMs: 1e9 })
  await expectAsLookedUp(paths, STORED + 5)
  await paths.fs.close()
})

test('changes that are not stored yet are listed', async () => {
  const path = temporaryDatabase()
  const made = await openPaths(path, { commitIntervalMs: 1e9 })
  for (let index = 0; index < STORED; index++) await made.write(`file-${index}`, `${index}`)
  await made.fs.close()

  const paths = await openPaths(path, { commitIntervalMs: 1e9, cacheSizeBytes: 1 })
  const opened = await paths.open('file-1')
  await paths.fs.write(opened.ino, opened.fh, 0n, Buffer.from('longer than before'))
  await paths.write('file-2', 'changed and closed')
  await paths.truncate('file-3', 3n)
  await paths.read('file-4')
  await paths.write('new', 'a new file')
  await paths.unlink('file-5')
  await expectAsLookedUp(paths, STORED)
  await paths.close(opened)
  await paths.fs.sync()
  await expectAsLookedUp(paths, STORED)
  await paths.fs.close()
})

test('a change during a listing is listed', async () => {
  const path = temporaryDatabase()
  const made = await openPaths(path, { commitIntervalMs: 1e9 })
  for (let index = 0; index < STORED; index++) await made.write(`file-${index}`, `${index}`)
  await made.fs.close()

  for (let round = 0; round < 8; round++) {
    const paths = await openPaths(path, { commitIntervalMs: 1e9, cacheSizeBytes: 1 })
    const { fs } = paths
    const ino = await paths.at('file-7', found => Promise.resolve(found))
    const fh = await fs.opendir(ROOT_INO)
    const listing = fs.readdirplus(ROOT_INO, fh, 0n, 1000, () => true)
    for (let turn = 0; turn < round; turn++) await Promise.resolve()
    await paths.truncate('file-7', BigInt(1000 + round))
    await fs.sync()
    const listed = (await listing).find(({ entry }) => entry.name === 'file-7')
    await fs.releasedir(ROOT_INO, fh)
    expect([BigInt(999 + round), BigInt(1000 + round)].concat(round === 0 ? [1n] : [])).toContain(
      listed?.found?.attributes.size,
    )
    // What the kernel caches is what there is, or was invalidated by the change.
    expect(await fs.getattr(ino)).toMatchObject({ size: BigInt(1000 + round) })
    await fs.close()
  }
})
