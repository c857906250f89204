import assert from 'node:assert/strict'
import {
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
} from 'node:fs'
import { symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { exists, fails, text, type Tests } from '../directory.ts'

const PATH_MAX = 4096

/** A path of exactly `len` bytes below `root`, made of components of at most 200 bytes. */
function longPath(root: string, len: number): { readonly parents: string[]; readonly path: string } {
  const parents: string[] = []
  let path = root
  while (len - path.length > 252) {
    path += `/${'d'.repeat(200)}`
    parents.push(path)
  }
  return { parents, path: `${path}/${'f'.repeat(len - path.length - 1)}` }
}

export const names: Tests = {
  'a name has up to 255 bytes': dir => {
    const name = 'n'.repeat(255)
    dir.file(name, 'x')
    assert.deepEqual(dir.list(), [name])
    assert.equal(text(dir.at(name)), 'x')
  },

  'a name of 256 bytes is ENAMETOOLONG for every operation': dir => {
    const long = dir.at('n'.repeat(256))
    const file = dir.file('file')
    fails('ENAMETOOLONG', () => openSync(long, 'w'))
    fails('ENAMETOOLONG', () => statSync(long))
    fails('ENAMETOOLONG', () => mkdirSync(long))
    fails('ENAMETOOLONG', () => rmdirSync(long))
    fails('ENAMETOOLONG', () => unlinkSync(long))
    fails('ENAMETOOLONG', () => symlinkSync('target', long))
    fails('ENAMETOOLONG', () => linkSync(file, long))
    fails('ENAMETOOLONG', () => renameSync(file, long))
    assert.deepEqual(dir.list(), ['file'])
  },

  'a name of 255 bytes may have multi-byte characters': dir => {
    const name = 'ä'.repeat(127)
    dir.file(name)
    assert.deepEqual(dir.list(), [name])
    fails('ENAMETOOLONG', () => openSync(dir.at('ä'.repeat(128)), 'w'))
  },

  'a name may hold every byte but the slash and NUL': dir => {
    const bytes = Array.from({ length: 255 }, (_, at) => at + 1).filter(byte => byte !== 0x2f)
    const inside = (byte: number): Buffer =>
      Buffer.concat([Buffer.from('a'), Buffer.of(byte), Buffer.from('z')])
    const path = (byte: number): Buffer => Buffer.concat([Buffer.from(`${dir.path}/`), inside(byte)])
    for (const byte of bytes) writeFileSync(path(byte), `byte ${byte}`)
    const listed = readdirSync(dir.path, { encoding: 'buffer' }).map(name => name[1])
    assert.deepEqual(
      listed.sort((a, b) => a! - b!),
      bytes,
    )
    for (const byte of bytes) assert.equal(readFileSync(path(byte), 'latin1'), `byte ${byte}`)
    for (const byte of bytes) unlinkSync(path(byte))
    assert.deepEqual(dir.list(), [])
  },

  'names differ by case and by Unicode normalisation': dir => {
    for (const name of ['a', 'A', '\u00e4', 'a\u0308']) dir.file(name, name)
    assert.equal(dir.list().length, 4)
    for (const name of ['a', 'A', '\u00e4', 'a\u0308']) assert.equal(readFileSync(dir.at(name), 'utf8'), name)
  },

  'a path has up to PATH_MAX - 1 bytes': dir => {
    const { parents, path } = longPath(dir.path, PATH_MAX - 1)
    for (const parent of parents) mkdirSync(parent)
    writeFileSync(path, 'deep')
    assert.equal(text(path), 'deep')
    fails('ENAMETOOLONG', () => openSync(`${path}x`, 'w'))
  },

  'a path through a file is ENOTDIR, through a missing name ENOENT': dir => {
    dir.file('file')
    fails('ENOTDIR', () => statSync(dir.at('file', 'below')))
    fails('ENOTDIR', () => openSync(dir.at('file', 'below'), 'w'))
    fails('ENOTDIR', () => mkdirSync(dir.at('file', 'below')))
    fails('ENOENT', () => statSync(dir.at('nothing', 'below')))
    fails('ENOENT', () => mkdirSync(dir.at('nothing', 'below')))
    fails('ENOENT', () => statSync(''))
  },

  'a trailing slash requires a directory': dir => {
    dir.file('file')
    dir.directory('directory')
    fails('ENOTDIR', () => statSync(`${dir.at('file')}/`))
    fails('EISDIR', () => openSync(`${dir.at('new')}/`, 'w'))
    assert.ok(statSync(`${dir.at('directory')}/`).isDirectory())
    mkdirSync(`${dir.at('made')}/`)
    assert.ok(exists(dir.at('made')))
  },

  'dot and dot-dot cannot be created, removed or renamed': dir => {
    const below = dir.directory('below')
    fails('EEXIST', () => mkdirSync(`${below}/.`))
    fails('EEXIST', () => mkdirSync(`${below}/..`))
    fails('EINVAL', () => rmdirSync(`${below}/.`))
    fails('ENOTEMPTY', () => rmdirSync(`${below}/..`))
    fails(['EBUSY', 'EINVAL'], () => renameSync(`${below}/.`, dir.at('other')))
    fails('EISDIR', () => unlinkSync(`${below}/.`))
    assert.deepEqual(dir.list(), ['below'])
  },

  'a name is found after its creation, and absent after its removal': dir => {
    const path = dir.at('late')
    for (let round = 0; round < 20; round++) {
      assert.equal(exists(path), false)
      dir.file('late', `${round}`)
      assert.equal(text(path), `${round}`)
      unlinkSync(path)
    }
  },
}
