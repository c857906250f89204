import assert from 'node:assert/strict'
import { chmodSync, constants, readSync, renameSync, unlinkSync, writeSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { once } from 'node:events'
import { fails, needsRoot, permissions, stat, withFd, type Tests } from '../directory.ts'
import { mknod } from '../syscalls.ts'

const { S_IFBLK, S_IFCHR, S_IFIFO, S_IFREG, S_IFSOCK } = constants

/** A device's number, as makedev(3) packs it. */
const device = (major: number, minor: number): number =>
  ((major << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12)) >>> 0

export const specialFiles: Tests = {
  'a FIFO passes bytes on and stores none': dir => {
    mknod(dir.at('fifo'), S_IFIFO | 0o644)
    assert.ok(stat(dir.at('fifo')).isFIFO())
    withFd(dir.at('fifo'), constants.O_RDWR | constants.O_NONBLOCK, fd => {
      writeSync(fd, 'through')
      const bytes = Buffer.alloc(100)
      assert.equal(bytes.toString('latin1', 0, readSync(fd, bytes)), 'through')
    })
    assert.equal(stat(dir.at('fifo')).size, 0n)
    fails('ENXIO', () => withFd(dir.at('fifo'), constants.O_WRONLY | constants.O_NONBLOCK, () => 0))
  },

  'a Unix socket is bound and connected by name': async dir => {
    const previous = process.cwd()
    process.chdir(dir.path) // a socket's path has at most 107 bytes
    try {
      const server = createServer(socket => socket.end('hello'))
      server.listen('socket')
      await once(server, 'listening')
      assert.ok(stat(dir.at('socket')).isSocket())
      const client = createConnection('socket')
      const [data] = (await once(client, 'data')) as [Buffer]
      assert.equal(data.toString(), 'hello')
      server.close()
      await once(server, 'close')
    } finally {
      process.chdir(previous)
    }
  },

  'mknod creates every kind of file without data': dir => {
    mknod(dir.at('regular'), S_IFREG | 0o600)
    mknod(dir.at('socket'), S_IFSOCK | 0o600)
    assert.ok(stat(dir.at('regular')).isFile())
    assert.ok(stat(dir.at('socket')).isSocket())
    fails('EEXIST', () => mknod(dir.at('regular'), S_IFREG | 0o600))
    fails('ENXIO', () => withFd(dir.at('socket'), 'r', () => 0))
  },

  'a device node keeps its numbers': dir => {
    needsRoot()
    for (const [name, type, major, minor] of [
      ['character', S_IFCHR, 1, 3],
      ['block', S_IFBLK, 7, 0],
      ['large', S_IFCHR, 0xabc, 0xfedcb],
    ] as const) {
      mknod(dir.at(name), type | 0o600, device(major, minor))
      assert.equal(Number(stat(dir.at(name)).rdev), device(major, minor), name)
      assert.equal(Number(stat(dir.at(name)).mode) & constants.S_IFMT, type, name)
    }
  },

  'special files are renamed, changed and removed like regular files': dir => {
    mknod(dir.at('fifo'), S_IFIFO | 0o644)
    renameSync(dir.at('fifo'), dir.at('renamed'))
    chmodSync(dir.at('renamed'), 0o600)
    assert.equal(permissions(dir.at('renamed')), 0o600)
    unlinkSync(dir.at('renamed'))
    assert.deepEqual(dir.list(), [])
  },
}
