import { constants } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { type RenameFlags, name as toName } from '../../../core/file-system/operations.ts'
import { codeOf, type Paths } from '../../tools/paths.ts'
import { memoryPaths, openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

let paths: Paths

beforeEach(async () => {
  paths = await memoryPaths()
})

/** A file, a link to it, directories empty and full, and a symbolic link. */
async function makeSample(): Promise<void> {
  await paths.write('file', 'content')
  await paths.write('other', 'other content')
  await paths.link('file', 'linked')
  await paths.mkdir('empty')
  await paths.mkdir('full')
  await paths.mkdir('full/inner')
  await paths.write('full/inner/leaf', 'leaf')
  await paths.symlink('full/inner', 'symbolic')
}

const LONG = 'x'.repeat(256)
const FAILURES: readonly [what: string, code: string, doing: () => Promise<unknown>][] = [
  ['looking up what is not there', 'ENOENT', () => paths.stat('nothing')],
  ['looking up below a file', 'ENOTDIR', () => paths.stat('file/below')],
  ['looking up a name of 256 bytes', 'ENAMETOOLONG', () => paths.stat(LONG)],
  ['mkdir of a name that is taken', 'EEXIST', () => paths.mkdir('file')],
  ['mkdir of a name of 256 bytes', 'ENAMETOOLONG', () => paths.mkdir(LONG)],
  ['mkdir below a file', 'ENOTDIR', () => paths.mkdir('file/below')],
  ['mkdir of .', 'EEXIST', () => paths.mkdir('.')],
  ['mknod of a directory', 'EINVAL', () => paths.mknod('node', constants.S_IFDIR | 0o755)],
  ['creating with O_EXCL what is there', 'EEXIST', () => paths.create('file', 0o644, constants.O_EXCL)],
  ['opening a directory as a file', 'EISDIR', () => paths.open('full')],
  ['opendir of a file', 'ENOTDIR', () => paths.list('file')],
  ['symlink to nowhere', 'ENOENT', () => paths.symlink('', 'nowhere')],
  ['symlink to more than 4095 bytes', 'ENAMETOOLONG', () => paths.symlink('x'.repeat(4096), 'long')],
  ['symlink with a name that is taken', 'EEXIST', () => paths.symlink('x', 'file')],
  ['readlink of a file', 'EINVAL', () => paths.readlink('file')],
  ['linking a directory', 'EPERM', () => paths.link('full', 'again')],
  ['linking to a name that is taken', 'EEXIST', () => paths.link('file', 'other')],
  ['unlinking a directory', 'EISDIR', () => paths.unlink('empty')],
  ['unlinking what is not there', 'ENOENT', () => paths.unlink('nothing')],
  ['rmdir of a file', 'ENOTDIR', () => paths.rmdir('file')],
  ['rmdir of a full directory', 'ENOTEMPTY', () => paths.rmdir('full')],
  ['rmdir of .', 'EINVAL', () => paths.rmdir('full/.')],
  ['rmdir of ..', 'ENOTEMPTY', () => paths.rmdir('full/..')],
  ['renaming what is not there', 'ENOENT', () => paths.rename('nothing', 'new')],
  ['renaming a directory into itself', 'EINVAL', () => paths.rename('full', 'full/inside')],
  ['renaming a directory into its child', 'EINVAL', () => paths.rename('full', 'full/inner/inside')],
  ['renaming a directory over a file', 'ENOTDIR', () => paths.rename('empty', 'file')],
  ['renaming a file over a directory', 'EISDIR', () => paths.rename('file', 'empty')],
  ['renaming over a full directory', 'ENOTEMPTY', () => paths.rename('empty', 'full')],
  ['renaming over its own parent', 'ENOTEMPTY', () => paths.rename('full/inner', 'full')],
  ['RENAME_NOREPLACE over a name', 'EEXIST', () => paths.rename('file', 'other', { noReplace: true })],
  ['RENAME_EXCHANGE with nothing', 'ENOENT', () => paths.rename('file', 'nothing', { exchange: true })],
  ['RENAME_EXCHANGE with a child', 'EINVAL', () => paths.rename('full', 'full/inner', { exchange: true })],
  [
    'RENAME_EXCHANGE with an ancestor',
    'EINVAL',
    () => paths.rename('full/inner', 'full', { exchange: true }),
  ],
  ['both flags', 'EINVAL', () => paths.rename('file', 'other', { exchange: true, noReplace: true })],
  [
    'renaming what is replaced to a name that is taken',
    'EEXIST',
    () => paths.rename('empty', 'full', { aside: toName('other') }),
  ],
  [
    'renaming what is replaced to a name that is a moment',
    'EPERM',
    () => paths.rename('empty', 'full', { aside: toName('@2h') }),
  ],
  [
    'renaming a directory into its child, which is renamed too',
    'EINVAL',
    () => paths.rename('full', 'full/inner', { aside: toName('old') }),
  ],
  ['making .zblkfs', 'EPERM', () => paths.rmdir('.zblkfs')],
  ['making a name that is a moment', 'EPERM', () => paths.mkdir('@2026-01-01')],
  ['renaming to a name that is a moment', 'EPERM', () => paths.rename('file', '@2h')],
  ['changing a generated file', 'EPERM', () => paths.unlink('.zblkfs/at')],
]

describe('failures and their errno', () => {
  test.each(FAILURES)('%s: %s', async (_what, code, doing) => {
    await makeSample()
    const before = await namesAndLinks()
    expect(await codeOf(doing)).toBe(code)
    expect(await namesAndLinks()).toEqual(before)
  })
})

/** All paths with their inodes' numbers and counts of links. */
async function namesAndLinks(directory = ''): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const name of await paths.list(directory)) {
    const path = `${directory}/${name}`
    const { ino, nlink, mode } = await paths.stat(path)
    found[path] = `${ino} ${nlink}`
    if ((mode & constants.S_IFMT) === constants.S_IFDIR) Object.assign(found, await namesAndLinks(path))
  }
  return found
}

const RENAMES: readonly [
  from: string,
  to: string,
  flags: RenameFlags,
  gone: string[],
  links: Record<string, number>,
][] = [
  ['file', 'new', {}, ['file'], { new: 2, linked: 2 }],
  ['file', 'other', {}, ['file'], { other: 2, linked: 2 }],
  ['file', 'linked', {}, [], { file: 2, linked: 2 }],
  ['linked', 'full/moved', {}, ['linked'], { 'full/moved': 2, file: 2 }],
  ['empty', 'full/moved', {}, ['empty'], { '': 3, full: 4, 'full/moved': 2 }],
  ['full', 'empty', {}, ['full'], { '': 3, empty: 3, 'empty/inner': 2 }],
  ['full/inner', 'empty', {}, ['full/inner'], { '': 4, full: 2, empty: 2 }],
  ['file', 'full/inner', { exchange: true }, [], { '': 5, full: 2, 'full/inner': 2, file: 2 }],
  ['empty', 'full/inner', { exchange: true }, [], { '': 4, full: 3, 'empty/leaf': 1 }],
]

describe('renaming', () => {
  test.each(RENAMES)('%s to %s %j', async (from, to, flags, gone, links) => {
    await makeSample()
    const moved = (await paths.stat(from)).ino
    await paths.rename(from, to, flags)
    expect((await paths.stat(to)).ino).toBe(moved)
    for (const path of gone) expect(await codeOf(paths.stat(path))).toBe('ENOENT')
    for (const [path, nlink] of Object.entries(links))
      expect([path, (await paths.stat(path)).nlink]).toEqual([path, nlink])
  })

  test.each([
    ['empty', 'full', { '': 4, full: 2, old: 3, 'old/inner/leaf': 1 }],
    ['file', 'full', { '': 4, full: 2, linked: 2, 'old/inner/leaf': 1 }],
    ['full', 'file', { '': 4, 'file/inner/leaf': 1, old: 2, linked: 2 }],
    ['full/inner', 'full', { '': 5, 'full/leaf': 1, old: 2 }],
    ['full', 'new', { '': 4, 'new/inner/leaf': 1 }],
  ] as const)('%s to %s, which is renamed in the same step', async (from, to, links) => {
    await makeSample()
    const moved = (await paths.stat(from)).ino
    await paths.rename(from, to, { aside: toName('old') })
    expect((await paths.stat(to)).ino).toBe(moved)
    expect(await codeOf(paths.stat(from))).toBe('ENOENT')
    for (const [path, nlink] of Object.entries(links))
      expect([path, (await paths.stat(path)).nlink]).toEqual([path, nlink])
  })

  test('the .. of a moved directory is its new parent', async () => {
    await makeSample()
    await paths.rename('full/inner', 'inner')
    expect(await paths.at('inner/..', ino => Promise.resolve(ino))).toBe(1)
  })
})

describe('names', () => {
  test('may have up to 255 bytes, any but / and NUL', async () => {
    const names = ['\u0001', '\u00ff\u00fe', ' ', '...', '\n', 'x'.repeat(255), '@types', '\u00c3\u00a4']
    for (const name of names) await paths.write(name, name)
    expect(await paths.list('')).toEqual(names.toSorted())
    for (const name of names) expect((await paths.read(name)).toString()).toBe(name)
  })

  test('FIFOs, sockets and devices are kept with their numbers', async () => {
    await paths.mknod('fifo', constants.S_IFIFO | 0o600)
    await paths.mknod('socket', constants.S_IFSOCK | 0o600)
    await paths.mknod('device', constants.S_IFBLK | 0o600, 0x0801)
    expect((await paths.stat('fifo')).mode).toBe(constants.S_IFIFO | 0o600)
    expect((await paths.stat('socket')).mode).toBe(constants.S_IFSOCK | 0o600)
    expect(await paths.stat('device')).toMatchObject({ mode: constants.S_IFBLK | 0o600, rdev: 0x0801 })
  })

  test('a new entry in a setgid directory inherits its group, a new directory also the bit', async () => {
    await paths.mkdir('shared')
    await paths.at('shared', ino => paths.fs.setattr(ino, { mode: 0o2775, gid: 7 }))
    await paths.at('shared', ino => paths.fs.setattr(ino, { mode: 0o2775 }))
    await paths.write('shared/file', '')
    await paths.mkdir('shared/sub')
    expect(await paths.stat('shared/file')).toMatchObject({ gid: 7, mode: constants.S_IFREG | 0o644 })
    expect(await paths.stat('shared/sub')).toMatchObject({ gid: 7, mode: constants.S_IFDIR | 0o2755 })
  })
})

describe('unlinked inodes', () => {
  test('a file stays usable while it is open, and is then subtracted from the counts', async () => {
    await paths.write('file', 'content')
    await paths.fs.fsync()
    const used = (await paths.fs.statfs()).files
    const file = await paths.open('file')
    await paths.unlink('file')
    await paths.fs.fsync()
    expect((await paths.fs.getattr(file.ino)).nlink).toBe(0)
    await paths.fs.write(file.ino, file.fh, 7n, Buffer.from(' and more'))
    expect((await paths.readAt(file, 0n, 100)).toString()).toBe('content and more')
    expect(await codeOf(paths.fs.link(file.ino, 1 as never, toName('again')))).toBe('ENOENT')
    await paths.close(file)
    await paths.fs.fsync()
    expect((await paths.fs.statfs()).files).toBe(used - 1)
    expect(paths.fs.stats().dirtyBytes).toBe(0)
  })

  test('an open directory is empty and accepts no new names', async () => {
    await paths.mkdir('directory')
    await paths.at('directory', async ino => {
      const fh = await paths.fs.opendir(ino)
      await paths.rmdir('directory')
      expect(await paths.fs.readdir(ino, fh, 2n, 10)).toEqual([])
      expect(await codeOf(paths.fs.mkdir(ino, toName('new'), 0o755, paths.caller))).toBe('ENOENT')
      await paths.fs.releasedir(ino, fh)
    })
  })

  test('orphans of an unclean mount are dropped by the next one', async () => {
    const database = temporaryDatabase()
    let mount = await openPaths(database)
    await mount.write('file', 'content')
    const file = await mount.open('file')
    await mount.unlink('file')
    await mount.fs.fsync()
    expect((await mount.fs.getattr(file.ino)).nlink).toBe(0)
    await mount.fs.close()
    mount = await openPaths(database)
    const { files, filesFree } = await mount.fs.statfs()
    expect(files - filesFree).toBe(1)
  })

  test('only nodes referenced by the kernel are kept', async () => {
    await makeSample()
    for (let i = 0; i < 100; i++) await paths.write(`file${i}`, 'x')
    await paths.fs.fsync()
    expect(paths.fs.stats().inodesInUse).toBe(0)
  })

  test('a file truncated and removed before it is stored leaves no node', async () => {
    await paths.write('file', Buffer.alloc(3 << 20, 'x'))
    await paths.fs.fsync()
    await paths.truncate('file', 0n)
    await paths.unlink('file')
    await paths.fs.fsync()
    expect(paths.fs.stats().inodesInUse).toBe(0)
  })
})
