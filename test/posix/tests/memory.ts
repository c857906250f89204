import assert from 'node:assert/strict'
import { closeSync, constants, openSync, readFileSync, readSync, unlinkSync, writeSync } from 'node:fs'
import { fails, pattern, stat, text, tick, withFd, type Tests } from '../directory.ts'
import { inChild } from '../child.ts'
import { ftruncate, Mapping, O_DIRECT } from '../syscalls.ts'

const MiB = 1024 * 1024
const PAGE = 4096

export const memoryMaps: Tests = {
  'a shared mapping and its file show the same data': dir => {
    const data = pattern(5 * MiB)
    dir.file('file', data)
    withFd(dir.at('file'), 'r+', fd => {
      using map = new Mapping(fd, data.length)
      assert.ok(map.bytes.equals(data))
      for (const at of [0, 5000, 2 * MiB - 2, 5 * MiB - 4]) {
        map.bytes.write('here', at)
        data.write('here', at)
      }
      map.sync()
      assert.ok(readFileSync(dir.at('file')).equals(data))
    })
    assert.ok(readFileSync(dir.at('file')).equals(data), 'after it was closed')
  },

  'a mapping shows writes to the file, and two mappings show the same data': dir => {
    dir.file('file', Buffer.alloc(2 * PAGE, 'a'))
    withFd(dir.at('file'), 'r+', fd =>
      withFd(dir.at('file'), 'r+', other => {
        using first = new Mapping(fd, 2 * PAGE)
        using second = new Mapping(other, 2 * PAGE)
        assert.equal(first.bytes[PAGE], 0x61)
        writeSync(other, 'written', PAGE)
        assert.equal(first.bytes.toString('latin1', PAGE, PAGE + 7), 'written')
        second.bytes.write('mapped', 10)
        assert.equal(first.bytes.toString('latin1', 10, 16), 'mapped')
        const bytes = Buffer.alloc(6)
        readSync(fd, bytes, 0, 6, 10)
        assert.equal(bytes.toString(), 'mapped')
      }),
    )
  },

  'changes of a private mapping do not reach the file': dir => {
    dir.file('file', Buffer.alloc(PAGE, 'a'))
    withFd(dir.at('file'), 'r', fd => {
      using map = new Mapping(fd, PAGE, { private: true })
      map.bytes.write('private')
      assert.equal(map.bytes.toString('latin1', 0, 8), 'privatea')
    })
    assert.equal(text(dir.at('file')).slice(0, 8), 'aaaaaaaa')
  },

  'a mapping survives the close of its descriptor and the unlink of its file': dir => {
    dir.file('file', Buffer.alloc(2 * PAGE, 'a'))
    const fd = openSync(dir.at('file'), 'r+')
    using map = new Mapping(fd, 2 * PAGE)
    closeSync(fd)
    unlinkSync(dir.at('file'))
    assert.equal(map.bytes[PAGE + 1], 0x61)
    map.bytes.write('still', 3)
    map.sync()
    assert.equal(map.bytes.toString('latin1', 3, 8), 'still')
  },

  'beyond the end of the file the last page of a mapping is zeros, and writes to it are lost': dir => {
    dir.file('file', 'short')
    withFd(dir.at('file'), 'r+', fd => {
      using map = new Mapping(fd, PAGE)
      assert.ok(map.bytes.subarray(5).every(byte => byte === 0))
      map.bytes.write('beyond', 100)
      map.sync()
    })
    assert.equal(text(dir.at('file')), 'short')
  },

  'bytes written beyond the end through a mapping are zeros when the file grows': dir => {
    dir.file('file', 'short')
    withFd(dir.at('file'), 'r+', fd => {
      using map = new Mapping(fd, PAGE)
      map.bytes.write('beyond', 100)
      map.sync()
      ftruncate(fd, 200)
    })
    assert.ok(text(dir.at('file')) === `short${'\0'.repeat(195)}`, 'bytes appear that were never in the file')
  },

  'access to a mapped page beyond a truncated file is SIGBUS': async dir => {
    dir.file('file', pattern(4 * PAGE))
    const ended = await inChild('touchBelowCut', dir.at('file'))
    assert.equal(ended.signal, 'SIGBUS', JSON.stringify(ended))
  },

  'a mapping shows the growth of its file': dir => {
    dir.file('file', pattern(PAGE))
    withFd(dir.at('file'), 'r+', fd => {
      using map = new Mapping(fd, 4 * PAGE)
      assert.equal(map.bytes[0], pattern(1)[0])
      ftruncate(fd, 4 * PAGE)
      assert.equal(map.bytes[3 * PAGE], 0)
      writeSync(fd, 'new', 3 * PAGE)
      assert.equal(map.bytes.toString('latin1', 3 * PAGE, 3 * PAGE + 3), 'new')
    })
  },

  'a write through a mapping fills a hole': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      ftruncate(fd, 8 * MiB)
      using map = new Mapping(fd, 8 * MiB)
      map.bytes.write('filled', 5 * MiB)
      map.sync()
      const bytes = Buffer.alloc(6)
      readSync(fd, bytes, 0, 6, 5 * MiB)
      assert.equal(bytes.toString(), 'filled')
    })
  },

  'a mapping of part of a file starts at its offset': dir => {
    const data = pattern(10 * PAGE)
    withFd(dir.file('file', data), 'r', fd => {
      using map = new Mapping(fd, 2 * PAGE, { off: 3 * PAGE, readOnly: true })
      assert.ok(map.bytes.equals(data.subarray(3 * PAGE, 5 * PAGE)))
    })
  },

  'a mapping needs the access mode of its descriptor': dir => {
    dir.file('file', pattern(PAGE))
    withFd(dir.at('file'), 'r', fd => fails('EACCES', () => void new Mapping(fd, PAGE)))
    withFd(dir.at('file'), constants.O_WRONLY, fd => fails('EACCES', () => void new Mapping(fd, PAGE)))
  },

  'writing through a mapping updates mtime by the time of msync': async dir => {
    dir.file('file', pattern(PAGE))
    const before = stat(dir.at('file'))
    await tick()
    withFd(dir.at('file'), 'r+', fd => {
      using map = new Mapping(fd, PAGE)
      map.bytes.write('x')
      map.sync()
    })
    assert.ok(stat(dir.at('file')).mtimeNs > before.mtimeNs)
  },

  'processes share a mapping': async dir => {
    dir.file('file', Buffer.alloc(PAGE))
    await withMapped(dir.at('file'), async map => {
      const ended = await inChild('writeThroughMap', dir.at('file'), 'from the child')
      assert.equal(ended.code, 0, ended.output)
      assert.equal(map.bytes.toString('latin1', 0, 14), 'from the child')
    })
  },
}

async function withMapped(path: string, action: (map: Mapping) => Promise<void>): Promise<void> {
  const fd = openSync(path, 'r+')
  using map = new Mapping(fd, PAGE)
  closeSync(fd)
  await action(map)
}

/** Page-aligned memory, as O_DIRECT requires. */
function alignedMemory(len: number): Mapping {
  return withFd('/dev/zero', 'r+', fd => new Mapping(fd, len, { private: true }))
}

export const directAndSynchronous: Tests = {
  'O_DIRECT and buffered descriptors see the same data': dir => {
    using memory = alignedMemory(64 * PAGE)
    const data = pattern(64 * PAGE)
    data.copy(memory.bytes)
    withFd(dir.at('file'), constants.O_RDWR | constants.O_CREAT | O_DIRECT, fd => {
      assert.equal(writeSync(fd, memory.bytes, 0, 64 * PAGE, 0), 64 * PAGE)
      assert.ok(readFileSync(dir.at('file')).equals(data), 'buffered read of a direct write')
      withFd(dir.at('file'), 'r+', buffered => void writeSync(buffered, 'buffered', 5 * PAGE))
      data.write('buffered', 5 * PAGE)
      memory.bytes.fill(0)
      assert.equal(readSync(fd, memory.bytes, 0, 64 * PAGE, 0), 64 * PAGE)
      assert.ok(memory.bytes.equals(data), 'direct read of a buffered write')
      memory.bytes.fill('d', 0, PAGE)
      writeSync(fd, memory.bytes, 0, PAGE, 5 * PAGE)
      data.fill('d', 5 * PAGE, 6 * PAGE)
      assert.ok(readFileSync(dir.at('file')).equals(data), 'a direct write replaces cached pages')
    })
  },

  'a mapping of a file is read and written by direct and buffered calls on the file itself': dir => {
    const data = pattern(4 * PAGE)
    dir.file('file', data)
    withFd(dir.at('file'), constants.O_RDWR | O_DIRECT, fd => {
      using map = new Mapping(fd, 4 * PAGE)
      assert.equal(writeSync(fd, map.bytes, 0, PAGE, 2 * PAGE), PAGE)
      data.copy(data, 2 * PAGE, 0, PAGE)
      assert.equal(readSync(fd, map.bytes, PAGE, PAGE, 0), PAGE)
      data.copy(data, PAGE, 0, PAGE)
      // The page is dirty, and is overwritten by itself.
      map.bytes.write('dirty', 10)
      data.write('dirty', 10)
      assert.equal(writeSync(fd, map.bytes, 0, PAGE, 0), PAGE)
      assert.equal(readSync(fd, map.bytes, 0, PAGE, 0), PAGE)
      assert.ok(map.bytes.equals(data), 'the mapping')
      map.sync()
    })
    assert.ok(readFileSync(dir.at('file')).equals(data), 'the file')
    withFd(dir.at('file'), 'r+', fd => {
      using map = new Mapping(fd, 4 * PAGE)
      assert.equal(writeSync(fd, map.bytes, 3 * PAGE, PAGE, PAGE / 2), PAGE)
      data.copy(data, PAGE / 2, 3 * PAGE, 4 * PAGE)
      assert.ok(map.bytes.equals(data), 'a buffered write')
    })
  },

  'an O_DIRECT read stops at the end': dir => {
    dir.file('file', pattern(PAGE + 100))
    using memory = alignedMemory(4 * PAGE)
    withFd(dir.at('file'), constants.O_RDONLY | O_DIRECT, fd => {
      assert.equal(readSync(fd, memory.bytes, 0, 4 * PAGE, 0), PAGE + 100)
      assert.ok(memory.bytes.subarray(0, PAGE + 100).equals(pattern(PAGE + 100)))
    })
  },

  'O_SYNC and O_DSYNC writes succeed': dir => {
    for (const flag of [constants.O_SYNC, constants.O_DSYNC]) {
      withFd(dir.at('file'), constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | flag, fd => {
        for (let at = 0; at < 10; at++) writeSync(fd, `${at}`.repeat(1000))
      })
      assert.equal(stat(dir.at('file')).size, 10_000n)
    }
  },
}
