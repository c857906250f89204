import assert from 'node:assert/strict'
import {
  mkdirSync,
  opendirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { closeSync, fstatSync, unlinkSync, writeFileSync, writeSync } from 'node:fs'
import { fails, stat, tick, withFd, type Directory, type Tests } from '../directory.ts'
import { mknod } from '../syscalls.ts'

const links = (path: string): number => Number(stat(path).nlink)

/** Asserts that an action touches a directory's mtime and ctime. */
async function touches(path: string, what: string, action: () => unknown): Promise<void> {
  const before = stat(path)
  await tick()
  action()
  const after = stat(path)
  assert.ok(after.mtimeNs > before.mtimeNs, `${what}: mtime`)
  assert.ok(after.ctimeNs > before.ctimeNs, `${what}: ctime`)
}

/** Runs an action in a directory. */
function within<T>(path: string, action: () => T): T {
  const before = process.cwd()
  process.chdir(path)
  try {
    return action()
  } finally {
    process.chdir(before)
  }
}

const entryNames = (dir: Directory): string[] =>
  Array.from({ length: dir.entries }, (_, at) => `entry-${at.toString(36).padStart(5, '0')}`)

export const directories: Tests = {
  'a directory has a link for itself and one for each directory in it': dir => {
    const parent = dir.directory('parent')
    assert.equal(links(parent), 2)
    mkdirSync(dir.at('parent/one'))
    mkdirSync(dir.at('parent/two'))
    dir.file('parent/file')
    assert.equal(links(parent), 4)
    rmdirSync(dir.at('parent/one'))
    assert.equal(links(parent), 3)
  },

  'dot is the directory and dot-dot its parent, also after a move': dir => {
    const one = dir.directory('one')
    const two = dir.directory('two')
    mkdirSync(`${one}/child`)
    assert.equal(statSync(`${one}/child/.`).ino, statSync(`${one}/child`).ino)
    assert.equal(statSync(`${one}/child/..`).ino, statSync(one).ino)
    renameSync(`${one}/child`, `${two}/child`)
    within(`${two}/child`, () => assert.equal(statSync('..').ino, statSync(two).ino))
    assert.deepEqual([links(one), links(two)], [2, 3])
  },

  'mkdir, rmdir and unlink fail with the errno of the obstacle': dir => {
    dir.file('file')
    dir.directory('full')
    dir.file('full/file')
    fails('EEXIST', () => mkdirSync(dir.at('file')))
    fails('EEXIST', () => mkdirSync(dir.at('full')))
    fails('ENOTEMPTY', () => rmdirSync(dir.at('full')))
    fails('ENOTDIR', () => rmdirSync(dir.at('file')))
    fails('ENOENT', () => rmdirSync(dir.at('nothing')))
    fails('EISDIR', () => unlinkSync(dir.at('full')))
    fails('ENOENT', () => unlinkSync(dir.at('nothing')))
  },

  'many entries are created, listed, looked up and removed': dir => {
    const names = entryNames(dir)
    for (const name of names) closeSync(openSync(dir.at(name), 'wx'))
    assert.deepEqual(dir.list(), names)
    for (const name of names) assert.ok(stat(dir.at(name)).isFile())
    fails('ENOTEMPTY', () => rmdirSync(dir.path))
    for (const name of names) unlinkSync(dir.at(name))
    assert.deepEqual(dir.list(), [])
  },

  'a listing has each remaining entry once while others are added and removed': dir => {
    const stays = Array.from({ length: 500 }, (_, at) => `stays-${at}`)
    const goes = Array.from({ length: 500 }, (_, at) => `goes-${at}`)
    for (const name of [...stays, ...goes]) dir.file(name)
    const listing = opendirSync(dir.path, { bufferSize: 1 })
    const seen: string[] = []
    for (let at = 0; ; at++) {
      const entry = listing.readSync()
      if (entry === null) break
      seen.push(entry.name)
      const goer = goes.pop()
      if (goer !== undefined) unlinkSync(dir.at(goer))
      if (at < 300) dir.file(`comes-${at}`)
    }
    listing.closeSync()
    const counted = seen.filter(name => name.startsWith('stays-'))
    assert.equal(counted.length, 500, 'each that stays is listed once')
    assert.equal(new Set(seen).size, seen.length, 'no name is listed twice')
    assert.deepEqual(
      dir.list().filter(name => name.startsWith('goes-')),
      [],
    )
  },

  'a listing ends if each listed entry is removed at once': dir => {
    const names = Array.from({ length: 2000 }, (_, at) => `file-${at}`)
    for (const name of names) dir.file(name)
    const listing = opendirSync(dir.path)
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync())
      unlinkSync(dir.at(entry.name))
    listing.closeSync()
    assert.deepEqual(dir.list(), [])
  },

  'a listing ends if each listed entry is renamed away and back': dir => {
    const names = Array.from({ length: 150 }, (_, at) => `file-${at}`)
    for (const name of names) dir.file(name)
    const listing = opendirSync(dir.path)
    let listed = 0
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) {
      renameSync(dir.at(entry.name), dir.at('away'))
      renameSync(dir.at('away'), dir.at(entry.name))
      assert.ok(++listed < 1500, 'it does not end')
    }
    listing.closeSync()
    assert.deepEqual(dir.list(), names.sort())
  },

  'a listing has the type of each entry': dir => {
    dir.file('file')
    dir.directory('directory')
    symlinkSync('file', dir.at('symlink'))
    mknod(dir.at('fifo'), 0o010644)
    const types = readdirSync(dir.path, { withFileTypes: true }).map(entry => [
      entry.name,
      [entry.isFile(), entry.isDirectory(), entry.isSymbolicLink(), entry.isFIFO()].indexOf(true),
    ])
    assert.deepEqual(Object.fromEntries(types), { file: 0, directory: 1, symlink: 2, fifo: 3 })
  },

  'changes of its entries update the times of a directory': async dir => {
    const path = dir.directory('directory')
    await touches(path, 'create', () => dir.file('directory/file'))
    await touches(path, 'mkdir', () => mkdirSync(`${path}/below`))
    await touches(path, 'symlink', () => symlinkSync('x', `${path}/link`))
    await touches(path, 'rename', () => renameSync(`${path}/file`, `${path}/renamed`))
    await touches(path, 'rename away', () => renameSync(`${path}/renamed`, dir.at('away')))
    await touches(path, 'rename into', () => renameSync(dir.at('away'), `${path}/back`))
    await touches(path, 'unlink', () => unlinkSync(`${path}/link`))
    await touches(path, 'rmdir', () => rmdirSync(`${path}/below`))
    const before = stat(path)
    await tick()
    writeFileSync(`${path}/back`, 'content')
    assert.equal(stat(path).mtimeNs, before.mtimeNs, 'a write into a file does not change it')
  },

  'directories nest a hundred deep': dir => {
    let path = dir.path
    for (let depth = 0; depth < 100; depth++) {
      path += '/d'
      mkdirSync(path)
    }
    writeFileSync(`${path}/bottom`, 'x')
    assert.equal(stat(`${path}/bottom`).size, 1n)
  },

  'a removed directory that is open or a working directory is empty and accepts no names': dir => {
    const path = dir.directory('gone')
    withFd(path, 'r', fd => {
      within(path, () => {
        rmdirSync(path)
        assert.equal(fstatSync(fd).nlink, 0)
        fails('ENOENT', () => openSync('file', 'w'))
        fails('ENOENT', () => mkdirSync('directory'))
        fails('ENOENT', () => openSync(`/proc/self/fd/${fd}/file`, 'w'))
        assert.deepEqual(readdirSync(`/proc/self/fd/${fd}`), [])
      })
    })
    mkdirSync(path)
    assert.deepEqual(dir.list('gone'), [])
  },

  'the name of a removed directory is free for other kinds': dir => {
    dir.directory('name')
    rmdirSync(dir.at('name'))
    withFd(dir.at('name'), 'wx', fd => void writeSync(fd, 'file now'))
    assert.ok(stat(dir.at('name')).isFile())
  },
}
