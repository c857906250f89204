import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { fails, withFd, type Tests } from '../directory.ts'
import { inChild, startChild } from '../child.ts'
import { conflictingLock, flock, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, setLock } from '../syscalls.ts'

const BUSY = ['EAGAIN', 'EACCES']

export const locks: Tests = {
  'flock is exclusive to one descriptor or shared by several': dir => {
    const path = dir.file('file')
    withFd(path, 'r+', first =>
      withFd(path, 'r', second => {
        flock(first, LOCK_EX)
        fails('EAGAIN', () => flock(second, LOCK_EX | LOCK_NB))
        fails('EAGAIN', () => flock(second, LOCK_SH | LOCK_NB))
        flock(first, LOCK_SH)
        flock(second, LOCK_SH | LOCK_NB)
        fails('EAGAIN', () => flock(first, LOCK_EX | LOCK_NB))
        flock(second, LOCK_UN)
        flock(first, LOCK_EX | LOCK_NB)
      }),
    )
  },

  'flock is released with its descriptor': dir => {
    const path = dir.file('file')
    const first = openSync(path, 'r')
    flock(first, LOCK_EX)
    withFd(path, 'r', second => {
      fails('EAGAIN', () => flock(second, LOCK_EX | LOCK_NB))
      closeSync(first)
      flock(second, LOCK_EX | LOCK_NB)
    })
  },

  'flock excludes other processes, and a waiting one acquires it': async dir => {
    const path = dir.file('file')
    const fd = openSync(path, 'r')
    flock(fd, LOCK_EX)
    assert.equal((await inChild('tryFlock', path)).output, 'EAGAIN')
    const waiting = startChild('waitForFlock', path)
    await waiting.ready
    flock(fd, LOCK_UN)
    assert.equal((await waiting.ended).output, 'ready locked')
    closeSync(fd)
  },

  'a record lock excludes other processes from its range only': async dir => {
    const path = dir.file('file', 'x'.repeat(100))
    const fd = openSync(path, 'r+')
    setLock(fd, { type: 'write', off: 10, len: 20 })
    assert.equal((await inChild('trySetLock', path, '15', '1')).output, 'busy')
    assert.equal((await inChild('trySetLock', path, '30', '10')).output, 'locked')
    setLock(fd, { type: 'unlock', off: 10, len: 10 })
    assert.equal((await inChild('trySetLock', path, '10', '10')).output, 'locked')
    assert.equal((await inChild('trySetLock', path, '20', '5')).output, 'busy')
    closeSync(fd)
    assert.equal((await inChild('trySetLock', path, '0', '0')).output, 'locked')
  },

  'F_GETLK reports the holder of a record lock, which is released at its exit': async dir => {
    const path = dir.file('file')
    const holder = startChild('holdLock', path)
    await holder.ready
    withFd(path, 'r+', fd => {
      assert.equal(conflictingLock(fd, { type: 'write', off: 0, len: 0 }), holder.pid)
      fails(BUSY, () => setLock(fd, { type: 'read', off: 0, len: 1 }))
    })
    holder.kill()
    await holder.ended
    withFd(path, 'r+', fd => setLock(fd, { type: 'write', off: 0, len: 0 }))
  },

  'a process loses its record locks when it closes any descriptor of the file': async dir => {
    const path = dir.file('file')
    withFd(path, 'r+', fd => setLock(fd, { type: 'write', off: 0, len: 0 }))
    const fd = openSync(path, 'r+')
    setLock(fd, { type: 'write', off: 0, len: 0 })
    withFd(path, 'r', () => undefined)
    assert.equal((await inChild('trySetLock', path, '0', '0')).output, 'locked')
    closeSync(fd)
  },

  'locks of open file descriptions conflict within a process': dir => {
    const path = dir.file('file')
    withFd(path, 'r+', first =>
      withFd(path, 'r+', second => {
        setLock(first, { type: 'write', off: 0, len: 10 }, 'description')
        fails(BUSY, () => setLock(second, { type: 'write', off: 5, len: 10 }, 'description'))
        setLock(second, { type: 'write', off: 10, len: 10 }, 'description')
      }),
    )
  },

  'a write lock needs a writable descriptor': dir => {
    withFd(dir.file('file'), 'r', fd => fails('EBADF', () => setLock(fd, { type: 'write', off: 0, len: 0 })))
  },
}
