import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, readSync, writeSync } from 'node:fs'
import { fails, pattern, stat, text, tick, withFd, type Tests } from '../directory.ts'
import { ftruncate, pread, pwrite, truncate } from '../syscalls.ts'

const KiB = 1024
const MiB = 1024 * KiB

export const sparseAndTruncate: Tests = {
  'truncating down drops the bytes: a later extension reads zeros': dir => {
    const data = pattern(5 * MiB, 3)
    const cuts = [
      5 * MiB - 1,
      4 * MiB + 1,
      4 * MiB,
      2 * MiB + 4097,
      2 * MiB,
      2 * MiB - 1,
      4097,
      4096,
      4095,
      1,
      0,
    ]
    for (const cut of cuts) {
      dir.file('file', data)
      withFd(dir.at('file'), 'r+', fd => {
        ftruncate(fd, cut)
        assert.equal(stat(fd).size, BigInt(cut))
        ftruncate(fd, 5 * MiB + 10)
      })
      const expected = Buffer.concat([data.subarray(0, cut), Buffer.alloc(5 * MiB + 10 - cut)])
      assert.ok(readFileSync(dir.at('file')).equals(expected), `cut at ${cut}`)
    }
  },

  'a file may be truncated and written repeatedly': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      for (let round = 1; round <= 20; round++) {
        ftruncate(fd, round * 1000)
        writeSync(fd, Buffer.alloc(10, 'x'), 0, 10, round * 1500)
        ftruncate(fd, round * 1500 + 5)
        const bytes = Buffer.alloc(40_000)
        assert.equal(readSync(fd, bytes, 0, bytes.length, 0), round * 1500 + 5)
        assert.equal(bytes.toString('latin1', round * 1500, round * 1500 + 5), 'xxxxx')
        assert.ok(
          bytes.subarray(round * 1000, round * 1500).every(byte => byte === 0),
          `round ${round}`,
        )
      }
    })
  },

  'truncating up creates a hole that takes no space': dir => {
    const path = dir.file('file', 'x')
    truncate(path, 1024 * MiB)
    assert.equal(stat(path).size, BigInt(1024 * MiB))
    assert.ok(stat(path).blocks < 1000n, `${stat(path).blocks} blocks`)
  },

  'a file of 1 TiB may have data at its end only': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      const end = 2 ** 40
      writeSync(fd, 'far', end - 3)
      assert.equal(stat(fd).size, BigInt(end))
      assert.ok(stat(fd).blocks < 10_000n, `${stat(fd).blocks} blocks`)
      const bytes = Buffer.alloc(4096, 1)
      readSync(fd, bytes, 0, 4096, end / 2)
      assert.ok(bytes.every(byte => byte === 0))
      assert.equal(readSync(fd, bytes, 0, 4096, end - 3), 3)
      assert.equal(bytes.toString('latin1', 0, 3), 'far')
    })
  },

  'truncating updates mtime and ctime': async dir => {
    const path = dir.file('file', 'some bytes')
    const before = stat(path)
    await tick()
    truncate(path, 4)
    assert.ok(stat(path).mtimeNs > before.mtimeNs)
    assert.ok(stat(path).ctimeNs > before.ctimeNs)
    assert.equal(text(path), 'some')
  },

  'every descriptor sees a truncation at once': dir => {
    const path = dir.file('file', pattern(100_000))
    withFd(path, 'r', fd => {
      readSync(fd, Buffer.alloc(100_000), 0, 100_000, 0)
      truncate(path, 50_000)
      assert.equal(stat(fd).size, 50_000n)
      assert.equal(readSync(fd, Buffer.alloc(100_000), 0, 100_000, 0), 50_000)
    })
  },

  'no file grows beyond the limit of its process': dir => {
    const path = dir.at('file')
    const script = `trap '' XFSZ; ulimit -f 64
      head -c 100000 /dev/zero > "$0" && echo written
      truncate -s 65537 "$0" && echo extended
      truncate -s 100 "$0" && truncate -s 65536 "$0" && echo within`
    const { stdout, error } = spawnSync('bash', ['-c', script, path], { encoding: 'utf8' })
    assert.equal(error, undefined)
    assert.equal(stdout, 'within\n')
    assert.equal(stat(path).size, 65_536n)
  },

  'an invalid truncation is refused': dir => {
    const path = dir.file('file', 'abc')
    fails('EINVAL', () => truncate(path, -1))
    fails('EISDIR', () => truncate(dir.path, 0))
    fails('ENOENT', () => truncate(dir.at('nothing'), 0))
    withFd(path, 'r', fd => fails(['EINVAL', 'EBADF'], () => ftruncate(fd, 0)))
    assert.equal(text(path), 'abc')
  },
}

const LAST = 2n ** 63n - 1n

export const largeOffsets: Tests = {
  'bytes at 2^31, 2^32, 2^40 and 2^43 are distinct': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      const offsets = [0n, 2n ** 31n - 2n, 2n ** 32n - 2n, 2n ** 40n, 2n ** 43n]
      for (const off of offsets) assert.equal(pwrite(fd, Buffer.from(`@${off}`), off), `@${off}`.length)
      for (const off of offsets) {
        const bytes = Buffer.alloc(`@${off}`.length)
        pread(fd, bytes, off)
        assert.equal(bytes.toString(), `@${off}`)
      }
      assert.equal(stat(fd).size, 2n ** 43n + BigInt(`@${2n ** 43n}`.length))
    })
  },

  'the last byte of a file is at 2^63 - 2': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      assert.equal(pwrite(fd, Buffer.from('x'), LAST - 1n), 1)
      assert.equal(stat(fd).size, LAST)
      const bytes = Buffer.alloc(1)
      assert.equal(pread(fd, bytes, LAST - 1n), 1)
      assert.equal(bytes.toString(), 'x')
    })
  },

  'a file may be truncated to 2^63 - 1 bytes and back': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      ftruncate(fd, LAST)
      assert.equal(stat(fd).size, LAST)
      ftruncate(fd, 3)
      assert.equal(stat(fd).size, 3n)
    })
  },

  'a write at 2^63 - 1 is EFBIG, at a negative offset EINVAL': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      fails(['EFBIG', 'EINVAL'], () => pwrite(fd, Buffer.from('x'), LAST))
      fails('EINVAL', () => pwrite(fd, Buffer.from('x'), -1))
      fails('EINVAL', () => pread(fd, Buffer.alloc(1), -1))
      assert.equal(stat(fd).size, 0n)
    })
  },
}
