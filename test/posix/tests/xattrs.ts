import assert from 'node:assert/strict'
import { chmodSync, chownSync, linkSync, renameSync, symlinkSync, unlinkSync } from 'node:fs'
import { asUser, fails, needsRoot, pattern, permissions, stat, tick, type Tests } from '../directory.ts'
import { getxattr, getxattrInto, getxattrSize, listxattr, removexattr, setxattr } from '../syscalls.ts'
import { XATTR_CREATE, XATTR_REPLACE } from '../syscalls.ts'

const OWNER = 1001

/** The attributes that a security module adds are not those that a test has set. */
const listed = (path: string): string[] => listxattr(path).filter(name => name !== 'security.selinux')

/** An ACL in the kernel's form: version 2, then (tag, permissions, id) entries. */
function acl(entries: readonly (readonly [tag: number, permissions: number, id: number])[]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8)
  bytes.writeUInt32LE(2, 0)
  for (const [at, [tag, bits, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + at * 8)
    bytes.writeUInt16LE(bits, 6 + at * 8)
    bytes.writeUInt32LE(id, 8 + at * 8)
  }
  return bytes
}

export const extendedAttributes: Tests = {
  'attributes are set, read, listed and removed': dir => {
    const path = dir.file('file')
    assert.deepEqual(listed(path), [])
    const binary = pattern(256)
    setxattr(path, 'user.binary', binary)
    setxattr(path, 'user.empty', Buffer.alloc(0))
    setxattr(path, 'user.text', Buffer.from('value'))
    assert.deepEqual(listed(path), ['user.binary', 'user.empty', 'user.text'])
    assert.ok(getxattr(path, 'user.binary').equals(binary))
    assert.equal(getxattr(path, 'user.empty').length, 0)
    assert.equal(getxattrSize(path, 'user.text'), 5)
    removexattr(path, 'user.binary')
    assert.deepEqual(listed(path), ['user.empty', 'user.text'])
  },

  'what is missing is ENODATA': dir => {
    const path = dir.file('file')
    fails('ENODATA', () => void getxattr(path, 'user.none'))
    fails('ENODATA', () => removexattr(path, 'user.none'))
    fails('ENOENT', () => void getxattr(dir.at('nothing'), 'user.none'))
  },

  'XATTR_CREATE only creates and XATTR_REPLACE only replaces': dir => {
    const path = dir.file('file')
    fails('ENODATA', () => setxattr(path, 'user.a', Buffer.from('1'), XATTR_REPLACE))
    setxattr(path, 'user.a', Buffer.from('1'), XATTR_CREATE)
    fails('EEXIST', () => setxattr(path, 'user.a', Buffer.from('2'), XATTR_CREATE))
    setxattr(path, 'user.a', Buffer.from('3'), XATTR_REPLACE)
    assert.equal(getxattr(path, 'user.a').toString(), '3')
  },

  'a buffer that is too small is ERANGE': dir => {
    const path = dir.file('file')
    setxattr(path, 'user.a', Buffer.from('four'))
    fails('ERANGE', () => void getxattrInto(path, 'user.a', 3))
    assert.equal(getxattrInto(path, 'user.a', 4), 4)
  },

  'a name has up to 255 bytes': dir => {
    const path = dir.file('file')
    const name = `user.${'n'.repeat(250)}`
    setxattr(path, name, Buffer.from('x'))
    assert.deepEqual(listed(path), [name])
    fails('ERANGE', () => setxattr(path, `${name}n`, Buffer.from('x')))
  },

  'a value has up to 65536 bytes': dir => {
    const path = dir.file('file')
    const value = pattern(65_536)
    setxattr(path, 'user.large', value)
    assert.ok(getxattr(path, 'user.large').equals(value))
    fails('E2BIG', () => setxattr(path, 'user.larger', pattern(65_537)))
  },

  'one file may have many attributes': dir => {
    const path = dir.file('file')
    const names = Array.from({ length: 50 }, (_, at) => `user.${at}`).sort()
    for (const name of names) setxattr(path, name, Buffer.from(name))
    assert.deepEqual(listed(path), names)
    for (const name of names) assert.equal(getxattr(path, name).toString(), name)
  },

  'a directory has attributes, a symlink no user attributes': dir => {
    setxattr(dir.path, 'user.a', Buffer.from('x'))
    assert.equal(getxattr(dir.path, 'user.a').toString(), 'x')
    symlinkSync('x', dir.at('link'))
    fails('EPERM', () => setxattr(dir.at('link'), 'user.a', Buffer.from('x')))
    needsRoot()
    setxattr(dir.at('link'), 'trusted.a', Buffer.from('x'))
    assert.deepEqual(listed(dir.at('link')), ['trusted.a'])
  },

  'attributes belong to the file, not to the name': dir => {
    const path = dir.file('file')
    setxattr(path, 'user.a', Buffer.from('x'))
    linkSync(path, dir.at('link'))
    renameSync(path, dir.at('renamed'))
    assert.equal(getxattr(dir.at('link'), 'user.a').toString(), 'x')
    assert.equal(getxattr(dir.at('renamed'), 'user.a').toString(), 'x')
    unlinkSync(dir.at('link'))
    unlinkSync(dir.at('renamed'))
    assert.deepEqual(listed(dir.file('file')), [])
  },

  'setting an attribute updates ctime only': async dir => {
    const path = dir.file('file')
    const before = stat(path)
    await tick()
    setxattr(path, 'user.a', Buffer.from('x'))
    assert.ok(stat(path).ctimeNs > before.ctimeNs)
    assert.equal(stat(path).mtimeNs, before.mtimeNs)
  },

  'user attributes follow the mode of the file': dir => {
    needsRoot()
    const path = dir.file('file')
    setxattr(path, 'user.a', Buffer.from('x'))
    chmodSync(path, 0o644)
    asUser(OWNER, OWNER, () => {
      assert.equal(getxattr(path, 'user.a').toString(), 'x')
      fails('EACCES', () => setxattr(path, 'user.a', Buffer.from('y')))
      fails('EACCES', () => removexattr(path, 'user.a'))
    })
    chmodSync(path, 0o600)
    asUser(OWNER, OWNER, () => fails('EACCES', () => void getxattr(path, 'user.a')))
  },

  'trusted attributes are listed to root only': dir => {
    needsRoot()
    const path = dir.file('file')
    setxattr(path, 'trusted.a', Buffer.from('x'))
    setxattr(path, 'user.b', Buffer.from('y'))
    chmodSync(path, 0o644)
    assert.deepEqual(listed(path), ['trusted.a', 'user.b'])
    asUser(OWNER, OWNER, () => assert.deepEqual(listed(path), ['user.b']))
  },

  "trusted and security attributes are root's to set": dir => {
    needsRoot()
    const path = dir.file('file')
    setxattr(path, 'trusted.a', Buffer.from('x'))
    setxattr(path, 'security.zblkfs', Buffer.from('y'))
    assert.deepEqual(listed(path), ['security.zblkfs', 'trusted.a'])
    chownSync(path, OWNER, OWNER)
    asUser(OWNER, OWNER, () => {
      fails('EPERM', () => setxattr(path, 'trusted.b', Buffer.from('x')))
      fails('EPERM', () => setxattr(path, 'security.b', Buffer.from('x')))
      fails(['ENODATA', 'EPERM'], () => void getxattr(path, 'trusted.a'))
    })
  },

  'a namespace that does not exist is refused': dir => {
    const path = dir.file('file')
    fails(['EOPNOTSUPP', 'ENOTSUP'], () => setxattr(path, 'nonsense.a', Buffer.from('x')))
    fails(['EOPNOTSUPP', 'ENOTSUP', 'EINVAL'], () => setxattr(path, 'user.', Buffer.from('x')))
  },

  'an ACL is enforced, or refused cleanly': dir => {
    needsRoot()
    const path = dir.file('file', 'x', 0o600)
    const list = acl([
      [0x01, 6, -1 >>> 0], // the owner
      [0x02, 4, OWNER], // a named user
      [0x04, 0, -1 >>> 0], // the group
      [0x10, 4, -1 >>> 0], // the mask
      [0x20, 0, -1 >>> 0], // others
    ])
    try {
      setxattr(path, 'system.posix_acl_access', list)
    } catch (error) {
      assert.ok(
        ['EOPNOTSUPP', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? ''),
        String(error),
      )
      return
    }
    assert.equal(permissions(path), 0o640)
    asUser(OWNER, OWNER, () => assert.equal(getxattrSize(path, 'system.posix_acl_access'), list.length))
  },
}
