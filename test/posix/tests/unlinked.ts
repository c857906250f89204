import assert from 'node:assert/strict'
import { closeSync, fchmodSync, futimesSync, linkSync, openSync, readFileSync, readSync } from 'node:fs'
import { unlinkSync, writeSync } from 'node:fs'
import { exists, fails, pattern, stat, text, withFd, type Tests } from '../directory.ts'
import { ftruncate } from '../syscalls.ts'

export const unlinkedAndOpen: Tests = {
  'an open unlinked file is read, written, extended and truncated as before': dir => {
    const data = pattern(3_000_000)
    dir.file('file', data)
    withFd(dir.at('file'), 'r+', fd => {
      unlinkSync(dir.at('file'))
      assert.equal(exists(dir.at('file')), false)
      assert.equal(stat(fd).nlink, 0n)
      assert.ok(readFileSync(fd).equals(data))
      writeSync(fd, 'more', data.length)
      assert.equal(stat(fd).size, 3_000_004n)
      ftruncate(fd, 10)
      writeSync(fd, 'xy', 2_500_000)
      const bytes = Buffer.alloc(2)
      readSync(fd, bytes, 0, 2, 2_500_000)
      assert.equal(bytes.toString(), 'xy')
    })
  },

  'the name of an unlinked file is free at once': dir => {
    dir.file('file', 'old')
    withFd(dir.at('file'), 'r', fd => {
      unlinkSync(dir.at('file'))
      dir.file('file', 'new')
      assert.equal(readFileSync(fd, 'utf8'), 'old')
      assert.equal(text(dir.at('file')), 'new')
      assert.notEqual(stat(fd).ino, stat(dir.at('file')).ino)
    })
  },

  'attributes of an unlinked file change through its descriptor': dir => {
    withFd(dir.at('file'), 'wx+', fd => {
      unlinkSync(dir.at('file'))
      fchmodSync(fd, 0o600)
      futimesSync(fd, 1000, 2000)
      assert.equal(Number(stat(fd).mode) & 0o777, 0o600)
      assert.equal(stat(fd).mtimeNs, 2_000_000_000_000n)
    })
  },

  'an unlinked file can be reopened through /proc, and is freed with its last descriptor': dir => {
    const first = openSync(dir.at('file'), 'wx+')
    writeSync(first, 'content')
    unlinkSync(dir.at('file'))
    const second = openSync(`/proc/self/fd/${first}`, 'r')
    closeSync(first)
    assert.equal(readFileSync(second, 'utf8'), 'content')
    closeSync(second)
    assert.deepEqual(dir.list(), [])
  },

  'an unlinked file cannot be linked again': dir => {
    withFd(dir.at('file'), 'wx+', fd => {
      unlinkSync(dir.at('file'))
      fails(['ENOENT', 'EXDEV', 'EPERM'], () => linkSync(`/proc/self/fd/${fd}`, dir.at('again')))
    })
  },

  'many unlinked files are usable at once': dir => {
    const fds = Array.from({ length: 200 }, (_, at) => {
      const fd = openSync(dir.at('same name'), 'wx+')
      writeSync(fd, `number ${at}`)
      unlinkSync(dir.at('same name'))
      return fd
    })
    for (const [at, fd] of fds.entries()) {
      const bytes = Buffer.alloc(100)
      assert.equal(bytes.toString('latin1', 0, readSync(fd, bytes, 0, 100, 0)), `number ${at}`)
      closeSync(fd)
    }
    assert.deepEqual(dir.list(), [])
  },
}
