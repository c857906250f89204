import assert from 'node:assert/strict'
import { accessSync, linkSync, lchownSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { readlinkSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { exists, fails, needsRoot, stat, text, tick, type Tests } from '../directory.ts'
import { utimensat } from '../syscalls.ts'

const links = (path: string): number => Number(stat(path).nlink)

export const hardLinks: Tests = {
  'a link is another name of the same file': async dir => {
    dir.file('a', 'one')
    const before = stat(dir.at('a'))
    await tick()
    linkSync(dir.at('a'), dir.at('b'))
    assert.equal(stat(dir.at('b')).ino, before.ino)
    assert.deepEqual([links(dir.at('a')), links(dir.at('b'))], [2, 2])
    assert.ok(stat(dir.at('a')).ctimeNs > before.ctimeNs, 'ctime')
    writeFileSync(dir.at('b'), 'two')
    assert.equal(text(dir.at('a')), 'two')
  },

  'a file exists until its last link is removed': dir => {
    dir.file('a', 'content')
    dir.directory('below')
    linkSync(dir.at('a'), dir.at('below/b'))
    unlinkSync(dir.at('a'))
    assert.equal(links(dir.at('below/b')), 1)
    assert.equal(text(dir.at('below/b')), 'content')
  },

  'link refuses an existing name, a directory and a missing source': dir => {
    dir.file('a')
    dir.file('b')
    dir.directory('directory')
    fails('EEXIST', () => linkSync(dir.at('a'), dir.at('b')))
    fails('EEXIST', () => linkSync(dir.at('a'), dir.at('directory')))
    fails('EPERM', () => linkSync(dir.at('directory'), dir.at('x')))
    fails('ENOENT', () => linkSync(dir.at('nothing'), dir.at('x')))
    fails('ENOENT', () => linkSync(dir.at('a'), dir.at('nowhere/x')))
    assert.equal(links(dir.at('a')), 1)
  },

  'a link to a symlink is a link to the symlink itself': dir => {
    symlinkSync('anywhere', dir.at('symlink'))
    linkSync(dir.at('symlink'), dir.at('link'))
    assert.equal(readlinkSync(dir.at('link')), 'anywhere')
    assert.equal(links(dir.at('symlink')), 2)
  },

  'a file may have a thousand links': dir => {
    dir.file('file')
    for (let at = 0; at < 999; at++) linkSync(dir.at('file'), dir.at(`link-${at}`))
    assert.equal(links(dir.at('file')), 1000)
    for (let at = 0; at < 999; at++) unlinkSync(dir.at(`link-${at}`))
    assert.equal(links(dir.at('file')), 1)
  },
}

export const symlinks: Tests = {
  'a symlink is followed, and its size is the length of its target': dir => {
    dir.file('target', 'content')
    symlinkSync('target', dir.at('relative'))
    symlinkSync(dir.at('target'), dir.at('absolute'))
    assert.equal(text(dir.at('relative')), 'content')
    assert.equal(text(dir.at('absolute')), 'content')
    assert.ok(stat(dir.at('relative')).isSymbolicLink())
    assert.equal(stat(dir.at('relative')).size, 6n)
    assert.equal(Number(stat(dir.at('relative')).mode) & 0o777, 0o777)
  },

  'a target is any bytes, up to 4095 of them, and never empty': dir => {
    const target = Buffer.from(Array.from({ length: 255 }, (_, at) => at + 1))
    symlinkSync(target, dir.at('bytes'))
    assert.ok(readlinkSync(dir.at('bytes'), { encoding: 'buffer' }).equals(target))
    symlinkSync('t'.repeat(4095), dir.at('long'))
    assert.equal(readlinkSync(dir.at('long')).length, 4095)
    fails('ENAMETOOLONG', () => symlinkSync('t'.repeat(4096), dir.at('longer')))
    fails('ENOENT', () => symlinkSync('', dir.at('empty')))
  },

  'a dangling symlink exists, and its target can be created through it': dir => {
    symlinkSync('later', dir.at('link'))
    assert.ok(exists(dir.at('link')))
    fails('ENOENT', () => statSync(dir.at('link')))
    writeFileSync(dir.at('link'), 'made')
    assert.equal(text(dir.at('later')), 'made')
  },

  'a loop of symlinks is ELOOP': dir => {
    symlinkSync('b', dir.at('a'))
    symlinkSync('a', dir.at('b'))
    fails('ELOOP', () => openSync(dir.at('a'), 'r'))
    fails('ELOOP', () => accessSync(dir.at('a', 'below')))
  },

  'symlinks to directories are followed within paths': dir => {
    mkdirSync(dir.at('real'))
    dir.file('real/file', 'x')
    symlinkSync('real', dir.at('link'))
    symlinkSync('link/..', dir.at('up'))
    assert.deepEqual(readdirSync(dir.at('link')), ['file'])
    assert.equal(readFileSync(dir.at('up/link/file'), 'utf8'), 'x')
    assert.ok(statSync(`${dir.at('link')}/`).isDirectory())
  },

  'removing a symlink keeps its target': dir => {
    dir.file('target', 'x')
    symlinkSync('target', dir.at('link'))
    rmSync(dir.at('link'))
    assert.equal(text(dir.at('target')), 'x')
  },

  'readlink refuses other files, and symlink refuses an existing name': dir => {
    dir.file('file')
    fails('EINVAL', () => readlinkSync(dir.at('file')))
    fails('EINVAL', () => readlinkSync(dir.path))
    fails('EEXIST', () => symlinkSync('x', dir.at('file')))
  },

  'owner and times of a symlink are its own': dir => {
    dir.file('target')
    symlinkSync('target', dir.at('link'))
    const before = stat(dir.at('target'))
    utimensat(dir.at('link'), 1_000_000_001n, 2_000_000_002n)
    assert.equal(stat(dir.at('link')).mtimeNs, 2_000_000_002n)
    assert.equal(stat(dir.at('target')).mtimeNs, before.mtimeNs)
    needsRoot()
    lchownSync(dir.at('link'), 1234, 4321)
    assert.deepEqual([stat(dir.at('link')).uid, stat(dir.at('link')).gid], [1234n, 4321n])
    assert.equal(stat(dir.at('target')).uid, before.uid)
  },
}
