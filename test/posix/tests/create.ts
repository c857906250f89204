import assert from 'node:assert/strict'
import { constants, mkdirSync, openSync, readFileSync, readSync, symlinkSync, writeSync } from 'node:fs'
import { exists, fails, permissions, stat, text, tick, withFd, type Tests } from '../directory.ts'
import { O_PATH, O_TMPFILE, pwrite } from '../syscalls.ts'

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants

/** Runs an action under another umask. */
function withUmask<T>(mask: number, action: () => T): T {
  const before = process.umask(mask)
  try {
    return action()
  } finally {
    process.umask(before)
  }
}

export const createAndOpen: Tests = {
  'a new file is an empty regular file with one link and the requested mode, reduced by the umask': dir => {
    withUmask(0o027, () => withFd(dir.at('file'), O_CREAT | O_WRONLY, () => undefined, 0o777))
    const made = stat(dir.at('file'))
    assert.ok(made.isFile())
    assert.equal(made.size, 0n)
    assert.equal(made.nlink, 1n)
    assert.equal(permissions(dir.at('file')), 0o750)
    withUmask(0o077, () => mkdirSync(dir.at('directory'), 0o777))
    assert.equal(permissions(dir.at('directory')), 0o700)
  },

  'a new file belongs to the user that creates it': dir => {
    dir.file('file')
    assert.equal(Number(stat(dir.at('file')).uid), process.geteuid?.())
    assert.equal(Number(stat(dir.at('file')).gid), process.getegid?.())
  },

  'the mode of a new file does not restrict the descriptor that created it': dir => {
    withFd(dir.at('file'), O_CREAT | O_RDWR | O_EXCL, fd => assert.equal(writeSync(fd, 'x'), 1), 0o000)
    assert.equal(permissions(dir.at('file')), 0)
    assert.equal(stat(dir.at('file')).size, 1n)
  },

  'O_EXCL creates a file only if the name does not exist': dir => {
    dir.file('file')
    dir.directory('directory')
    symlinkSync('nowhere', dir.at('dangling'))
    for (const name of ['file', 'directory', 'dangling'])
      fails('EEXIST', () => openSync(dir.at(name), O_CREAT | O_EXCL | O_WRONLY))
    assert.equal(exists(dir.at('nowhere')), false)
  },

  'O_CREAT does not change an existing file': async dir => {
    dir.file('file', 'kept', 0o640)
    const before = stat(dir.at('file'))
    await tick()
    withFd(dir.at('file'), O_CREAT | O_WRONLY, () => undefined, 0o777)
    const after = stat(dir.at('file'))
    assert.deepEqual(
      [after.ino, after.mode, after.mtimeNs, after.size],
      [before.ino, before.mode, before.mtimeNs, 4n],
    )
  },

  'O_TRUNC truncates a file, keeps its inode and mode, and updates mtime and ctime': async dir => {
    dir.file('file', 'some bytes', 0o640)
    const before = stat(dir.at('file'))
    await tick()
    withFd(dir.at('file'), O_CREAT | O_TRUNC | O_WRONLY, fd => assert.equal(stat(fd).size, 0n))
    const after = stat(dir.at('file'))
    assert.deepEqual([after.ino, after.mode, after.size], [before.ino, before.mode, 0n])
    assert.ok(after.mtimeNs > before.mtimeNs, 'mtime')
    assert.ok(after.ctimeNs > before.ctimeNs, 'ctime')
  },

  'O_TRUNC also truncates a file opened read-only': dir => {
    const path = dir.file('file', 'some bytes')
    withFd(path, O_RDONLY | O_TRUNC, fd => {
      assert.equal(stat(fd).size, 0n)
      assert.equal(readSync(fd, Buffer.alloc(10)), 0)
    })
    assert.equal(text(path), '')
  },

  'O_APPEND writes at the end regardless of the offset, also with several descriptors': dir => {
    dir.file('file', 'start ')
    withFd(dir.at('file'), O_WRONLY | O_APPEND, first =>
      withFd(dir.at('file'), O_WRONLY | O_APPEND, second => {
        writeSync(first, 'one ')
        writeSync(second, 'two ')
        writeSync(first, 'three ')
        pwrite(second, Buffer.from('four'), 0)
      }),
    )
    assert.equal(text(dir.at('file')), 'start one two three four')
  },

  'O_NOFOLLOW refuses a symlink as the last component of the path only': dir => {
    dir.directory('directory')
    dir.file('directory/file', 'x')
    symlinkSync('directory', dir.at('link'))
    symlinkSync('directory/file', dir.at('filelink'))
    fails('ELOOP', () => openSync(dir.at('filelink'), O_RDONLY | O_NOFOLLOW))
    withFd(dir.at('link', 'file'), O_RDONLY | O_NOFOLLOW, fd => assert.equal(readFileSync(fd, 'utf8'), 'x'))
  },

  'O_DIRECTORY opens directories only': dir => {
    dir.file('file')
    fails('ENOTDIR', () => openSync(dir.at('file'), O_RDONLY | O_DIRECTORY))
    withFd(dir.path, O_RDONLY | O_DIRECTORY, fd => assert.ok(stat(fd).isDirectory()))
  },

  'a directory cannot be opened for writing or created by O_CREAT': dir => {
    dir.directory('directory')
    fails('EISDIR', () => openSync(dir.at('directory'), O_WRONLY))
    fails('EISDIR', () => openSync(dir.at('directory'), O_RDWR))
    fails('EISDIR', () => openSync(dir.at('directory'), O_RDONLY | O_CREAT))
  },

  'a directory cannot be read as a file': dir => {
    withFd(dir.path, O_RDONLY, fd => fails('EISDIR', () => void readSync(fd, Buffer.alloc(1))))
  },

  'a descriptor permits only the access it was opened for': dir => {
    dir.file('file', 'x')
    withFd(dir.at('file'), O_RDONLY, fd => fails('EBADF', () => void writeSync(fd, 'y')))
    withFd(dir.at('file'), O_WRONLY, fd => fails('EBADF', () => void readSync(fd, Buffer.alloc(1))))
    withFd(dir.at('file'), O_PATH, fd => {
      assert.equal(stat(fd).size, 1n)
      fails('EBADF', () => void readSync(fd, Buffer.alloc(1)))
    })
  },

  'O_PATH with O_NOFOLLOW opens a symlink itself': dir => {
    symlinkSync('anywhere', dir.at('link'))
    withFd(dir.at('link'), O_PATH | O_NOFOLLOW, fd => assert.ok(stat(fd).isSymbolicLink()))
  },

  'O_TMPFILE creates a nameless file, or is refused cleanly': dir => {
    let fd: number
    try {
      fd = openSync(dir.path, O_TMPFILE | O_RDWR, 0o600)
    } catch (error) {
      assert.ok(['EOPNOTSUPP', 'ENOTSUP', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return
    }
    writeSync(fd, 'x')
    assert.equal(stat(fd).nlink, 0n)
    assert.deepEqual(dir.list(), [])
  },
}
