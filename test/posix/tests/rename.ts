import assert from 'node:assert/strict'
import { linkSync, readFileSync, renameSync, rmdirSync, symlinkSync, writeSync, readlinkSync } from 'node:fs'
import { exists, fails, stat, text, withFd, type Tests } from '../directory.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2 } from '../syscalls.ts'

const ino = (path: string): bigint => stat(path).ino
const links = (path: string): number => Number(stat(path).nlink)

export const rename: Tests = {
  'a file moves within and between directories unchanged': dir => {
    dir.file('a', 'content')
    dir.directory('below')
    const before = ino(dir.at('a'))
    renameSync(dir.at('a'), dir.at('b'))
    renameSync(dir.at('b'), dir.at('below/c'))
    assert.equal(ino(dir.at('below/c')), before)
    assert.equal(text(dir.at('below/c')), 'content')
    assert.deepEqual(dir.list(), ['below'])
  },

  'a file replaces a file whose other link remains': dir => {
    dir.file('new', 'new')
    dir.file('old', 'old')
    linkSync(dir.at('old'), dir.at('other link'))
    renameSync(dir.at('new'), dir.at('old'))
    assert.equal(text(dir.at('old')), 'new')
    assert.equal(text(dir.at('other link')), 'old')
    assert.equal(links(dir.at('other link')), 1)
    assert.deepEqual(dir.list(), ['old', 'other link'])
  },

  'a replaced file that is open keeps its content': dir => {
    dir.file('new', 'new')
    dir.file('old', 'old')
    withFd(dir.at('old'), 'r+', fd => {
      renameSync(dir.at('new'), dir.at('old'))
      assert.equal(readFileSync(fd, 'utf8'), 'old')
      assert.equal(links(dir.at('old')), 1)
      assert.equal(stat(fd).nlink, 0n)
      writeSync(fd, 'x', 0)
    })
    assert.equal(text(dir.at('old')), 'new')
  },

  'a file that is open may be renamed': dir => {
    dir.file('a', '')
    withFd(dir.at('a'), 'r+', fd => {
      writeSync(fd, 'before ')
      renameSync(dir.at('a'), dir.at('b'))
      writeSync(fd, 'after')
    })
    assert.equal(text(dir.at('b')), 'before after')
  },

  'a directory replaces an empty directory': dir => {
    dir.directory('from')
    dir.file('from/file', 'x')
    dir.directory('to')
    renameSync(dir.at('from'), dir.at('to'))
    assert.deepEqual(dir.list(), ['to'])
    assert.equal(text(dir.at('to/file')), 'x')
  },

  'a directory that is not empty is not replaced': dir => {
    dir.directory('from')
    dir.directory('to')
    dir.file('to/file')
    fails(['ENOTEMPTY', 'EEXIST'], () => renameSync(dir.at('from'), dir.at('to')))
    dir.directory('to/below')
    fails(['ENOTEMPTY', 'EEXIST'], () => renameSync(dir.at('to/below'), dir.at('to')))
    assert.deepEqual(dir.list(), ['from', 'to'])
  },

  'a file does not replace a directory, nor a directory a file': dir => {
    dir.file('file', 'x')
    dir.directory('directory')
    fails('EISDIR', () => renameSync(dir.at('file'), dir.at('directory')))
    fails('ENOTDIR', () => renameSync(dir.at('directory'), dir.at('file')))
    assert.equal(text(dir.at('file')), 'x')
  },

  'a directory does not move into itself or below': dir => {
    dir.directory('a')
    dir.directory('a/b')
    fails('EINVAL', () => renameSync(dir.at('a'), dir.at('a/x')))
    fails('EINVAL', () => renameSync(dir.at('a'), dir.at('a/b/x')))
    fails(['EINVAL', 'ENOTEMPTY'], () => renameSync(dir.at('a'), dir.at('a/b')))
    assert.deepEqual(dir.list('a'), ['b'])
  },

  'a directory moves with its tree, and link counts are updated': dir => {
    dir.directory('one')
    dir.directory('two')
    dir.directory('one/tree')
    dir.directory('one/tree/below')
    dir.file('one/tree/below/file', 'deep')
    assert.deepEqual([links(dir.at('one')), links(dir.at('two'))], [3, 2])
    renameSync(dir.at('one/tree'), dir.at('two/tree'))
    assert.deepEqual([links(dir.at('one')), links(dir.at('two'))], [2, 3])
    assert.equal(text(dir.at('two/tree/below/file')), 'deep')
    assert.equal(exists(dir.at('one/tree')), false)
    dir.directory('one/tree')
    renameSync(dir.at('two/tree'), dir.at('one/tree'))
    assert.deepEqual([links(dir.at('one')), links(dir.at('two'))], [3, 2])
  },

  'a rename onto itself, or between links of one file, changes nothing': dir => {
    dir.file('a', 'x')
    linkSync(dir.at('a'), dir.at('b'))
    renameSync(dir.at('a'), dir.at('a'))
    renameSync(dir.at('a'), dir.at('b'))
    assert.deepEqual(dir.list(), ['a', 'b'])
    assert.equal(links(dir.at('a')), 2)
  },

  'rename acts on a symlink, not on its target': dir => {
    dir.file('target', 'target')
    symlinkSync('target', dir.at('link'))
    renameSync(dir.at('link'), dir.at('moved'))
    assert.equal(readlinkSync(dir.at('moved')), 'target')
    dir.file('file', 'file')
    renameSync(dir.at('file'), dir.at('moved'))
    assert.equal(text(dir.at('moved')), 'file')
    assert.equal(text(dir.at('target')), 'target')
  },

  'what is missing is ENOENT': dir => {
    dir.file('file')
    fails('ENOENT', () => renameSync(dir.at('nothing'), dir.at('x')))
    fails('ENOENT', () => renameSync(dir.at('file'), dir.at('nowhere/x')))
    fails('ENOTDIR', () => renameSync(dir.at('file'), dir.at('file/x')))
  },

  'RENAME_NOREPLACE refuses to replace': dir => {
    dir.file('a', 'a')
    dir.file('b', 'b')
    fails('EEXIST', () => renameat2(dir.at('a'), dir.at('b'), RENAME_NOREPLACE))
    assert.equal(text(dir.at('b')), 'b')
    renameat2(dir.at('a'), dir.at('c'), RENAME_NOREPLACE)
    assert.deepEqual(dir.list(), ['b', 'c'])
  },

  'RENAME_EXCHANGE swaps two files': dir => {
    dir.file('a', 'a')
    dir.file('b', 'b')
    const before = [ino(dir.at('a')), ino(dir.at('b'))]
    renameat2(dir.at('a'), dir.at('b'), RENAME_EXCHANGE)
    assert.deepEqual([ino(dir.at('b')), ino(dir.at('a'))], before)
    assert.deepEqual([text(dir.at('a')), text(dir.at('b'))], ['b', 'a'])
  },

  'RENAME_EXCHANGE swaps a file and a directory of different parents': dir => {
    dir.directory('one')
    dir.directory('two')
    dir.file('one/x', 'file')
    dir.directory('two/x')
    dir.file('two/x/inside', 'inside')
    renameat2(dir.at('one/x'), dir.at('two/x'), RENAME_EXCHANGE)
    assert.equal(text(dir.at('two/x')), 'file')
    assert.equal(text(dir.at('one/x/inside')), 'inside')
    assert.deepEqual([links(dir.at('one')), links(dir.at('two'))], [3, 2])
    rmdirSync(dir.directory('one/x/empty'))
  },

  'RENAME_EXCHANGE needs both names, and refuses loops': dir => {
    dir.directory('a')
    dir.directory('a/b')
    fails('ENOENT', () => renameat2(dir.at('a'), dir.at('nothing'), RENAME_EXCHANGE))
    fails('EINVAL', () => renameat2(dir.at('a'), dir.at('a/b'), RENAME_EXCHANGE))
    fails('EINVAL', () => renameat2(dir.at('a/b'), dir.at('a'), RENAME_EXCHANGE))
    fails('EINVAL', () => renameat2(dir.at('a'), dir.at('x'), RENAME_EXCHANGE | RENAME_NOREPLACE))
    fails('EINVAL', () => renameat2(dir.at('a'), dir.at('x'), 1 << 10))
  },
}
