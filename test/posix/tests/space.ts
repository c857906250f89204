import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { constants, readFileSync, statfsSync, writeSync, fsyncSync } from 'node:fs'
import { fails, pattern, stat, text, tick, withFd, type Tests } from '../directory.ts'
import { copyFileRange, fallocate, ftruncate, lseek, mknod, pread } from '../syscalls.ts'
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../syscalls.ts'
import { FALLOC_FL_ZERO_RANGE, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } from '../syscalls.ts'

const MiB = 1024 * 1024
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE

/** `data` with zeros in `[off, off + len)`. */
const zeroed = (data: Buffer, off: number, len: number): Buffer =>
  Buffer.from(data).fill(0, off, Math.min(off + len, data.length))

export const allocation: Tests = {
  'fallocate extends a file with zeros and keeps its data': dir => {
    const path = dir.file('file', 'content')
    withFd(path, 'r+', fd => fallocate(fd, 0, 4, 100_000))
    assert.equal(stat(path).size, 100_004n)
    const bytes = readFileSync(path)
    assert.equal(bytes.toString('latin1', 0, 7), 'content')
    assert.ok(bytes.subarray(7).every(byte => byte === 0))
    withFd(path, 'r+', fd => fallocate(fd, 0, 0, 10))
    assert.equal(stat(path).size, 100_004n)
  },

  'fallocate with KEEP_SIZE keeps the size': dir => {
    const path = dir.file('file', 'content')
    withFd(path, 'r+', fd => fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MiB))
    assert.equal(text(path), 'content')
  },

  'PUNCH_HOLE zeroes a range with any bounds': dir => {
    const data = pattern(5 * MiB)
    for (const [off, len] of [
      [0, 1],
      [4096, 4096],
      [100, 10_000],
      [2 * MiB - 10, 20],
      [MiB, 3 * MiB],
      [0, 5 * MiB],
      [5 * MiB - 7, 100],
    ] as const) {
      const path = dir.file('file', data)
      withFd(path, 'r+', fd => fallocate(fd, PUNCH, off, len))
      assert.ok(readFileSync(path).equals(zeroed(data, off, len)), `[${off}, ${off + len})`)
    }
  },

  'a punched hole frees its space': dir => {
    const path = dir.file('file', pattern(8 * MiB))
    withFd(path, 'r+', fd => {
      fallocate(fd, PUNCH, 0, 8 * MiB)
      // Room may be given back only when the change is stored.
      fsyncSync(fd)
      assert.ok(stat(fd).blocks < 1000n, `${stat(fd).blocks} blocks`)
      assert.equal(stat(fd).size, BigInt(8 * MiB))
    })
  },

  'a hole beyond the end changes nothing': dir => {
    const path = dir.file('file', 'content')
    withFd(path, 'r+', fd => fallocate(fd, PUNCH, 100, MiB))
    assert.equal(text(path), 'content')
  },

  'ZERO_RANGE zeroes a range, and extends the file unless KEEP_SIZE is given': dir => {
    const data = pattern(3 * MiB)
    const path = dir.file('file', data)
    withFd(path, 'r+', fd => {
      fallocate(fd, FALLOC_FL_ZERO_RANGE, 1000, 2 * MiB)
      assert.ok(readFileSync(path).equals(zeroed(data, 1000, 2 * MiB)))
      fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 3 * MiB - 10, 100)
      assert.equal(stat(fd).size, BigInt(3 * MiB))
      fallocate(fd, FALLOC_FL_ZERO_RANGE, 3 * MiB - 10, 100)
      assert.equal(stat(fd).size, BigInt(3 * MiB + 90))
    })
  },

  'changes of data update mtime': async dir => {
    const path = dir.file('file', pattern(10_000))
    const before = stat(path)
    await tick()
    withFd(path, 'r+', fd => fallocate(fd, PUNCH, 0, 5000))
    assert.ok(stat(path).mtimeNs > before.mtimeNs)
    assert.ok(stat(path).ctimeNs > before.ctimeNs)
  },

  'invalid arguments are refused': dir => {
    const path = dir.file('file', 'content')
    withFd(path, 'r', fd => fails('EBADF', () => fallocate(fd, 0, 0, 10)))
    withFd(path, 'r+', fd => {
      fails('EINVAL', () => fallocate(fd, 0, 0, 0))
      fails('EINVAL', () => fallocate(fd, 0, -1, 10))
      fails(['EOPNOTSUPP', 'ENOTSUP', 'EINVAL'], () => fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10))
      fails(['EFBIG', 'EINVAL'], () => fallocate(fd, 0, 2n ** 63n - 2n, 10))
      fails(['EOPNOTSUPP', 'ENOTSUP', 'EINVAL'], () => fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096))
    })
    mknod(dir.at('fifo'), constants.S_IFIFO | 0o644)
    withFd(dir.at('fifo'), constants.O_RDWR, fd => fails('ESPIPE', () => fallocate(fd, 0, 0, 10)))
    assert.equal(text(path), 'content')
  },
}

/** The ranges `[from, to)` that hold data. */
function dataRanges(fd: number): [number, number][] {
  const ranges: [number, number][] = []
  const end = Number(stat(fd).size)
  for (let off = 0; off < end;) {
    try {
      const from = Number(lseek(fd, off, SEEK_DATA))
      const to = Number(lseek(fd, from, SEEK_HOLE))
      ranges.push([from, to])
      off = to
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENXIO')
      break
    }
  }
  return ranges
}

export const seeking: Tests = {
  'SEEK_DATA and SEEK_HOLE distinguish data and holes': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      ftruncate(fd, 64 * MiB)
      const written = [
        [MiB, 70_000],
        [20 * MiB + 12_345, 3 * MiB],
        [64 * MiB - 5, 5],
      ] as const
      for (const [off, len] of written) writeSync(fd, pattern(len), 0, len, off)
      const ranges = dataRanges(fd)
      for (const [off, len] of written)
        assert.ok(
          ranges.some(([from, to]) => from <= off && off + len <= to),
          `the data at ${off} in ${JSON.stringify(ranges)}`,
        )
      const total = ranges.reduce((sum, [from, to]) => sum + to - from, 0)
      assert.ok(total < 8 * MiB, `${total} bytes of data are reported for 3.1 MiB`)
    })
  },

  'the end of a file is a hole': dir => {
    const path = dir.file('file', pattern(10_000))
    withFd(path, 'r', fd => {
      assert.equal(lseek(fd, 0, SEEK_DATA), 0n)
      assert.equal(lseek(fd, 0, SEEK_HOLE), 10_000n)
      assert.equal(lseek(fd, 5000, SEEK_HOLE), 10_000n)
    })
  },

  'offsets beyond the end are ENXIO': dir => {
    const path = dir.file('file', pattern(10_000))
    withFd(path, 'r', fd => {
      fails('ENXIO', () => void lseek(fd, 10_000, SEEK_DATA))
      fails('ENXIO', () => void lseek(fd, 10_000, SEEK_HOLE))
      fails(['ENXIO', 'EINVAL'], () => void lseek(fd, -1, SEEK_DATA))
    })
    withFd(dir.file('empty'), 'r', fd => fails('ENXIO', () => void lseek(fd, 0, SEEK_DATA)))
  },

  'a file of one hole has no data': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      ftruncate(fd, 10 * MiB)
      assert.equal(lseek(fd, 12_345, SEEK_HOLE), 12_345n)
      fails('ENXIO', () => void lseek(fd, 0, SEEK_DATA))
    })
  },

  'a punched hole is found': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      writeSync(fd, pattern(8 * MiB))
      fallocate(fd, PUNCH, 2 * MiB, 4 * MiB)
      assert.deepEqual(dataRanges(fd), [
        [0, 2 * MiB],
        [6 * MiB, 8 * MiB],
      ])
    })
  },

  'written data is found at once, before any sync': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      writeSync(fd, 'x', 5 * MiB)
      const ranges = dataRanges(fd)
      assert.equal(ranges.length, 1)
      assert.ok(ranges[0]![0] <= 5 * MiB && ranges[0]![1] === 5 * MiB + 1)
    })
  },

  'SEEK_SET and SEEK_END move the offset': dir => {
    const path = dir.file('file', 'twelve bytes')
    withFd(path, 'r', fd => {
      assert.equal(lseek(fd, -5, SEEK_END), 7n)
      assert.equal(readFileSync(fd, 'utf8'), 'bytes')
      fails('EINVAL', () => void lseek(fd, -1, SEEK_SET))
      assert.equal(lseek(fd, 1000, SEEK_SET), 1000n)
    })
  },

  'cp keeps a sparse file sparse': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      ftruncate(fd, 256 * MiB)
      writeSync(fd, 'data', 100 * MiB)
    })
    const { status, stderr } = spawnSync('cp', ['--sparse=auto', dir.at('file'), dir.at('copy')], {
      timeout: 60_000,
    })
    assert.equal(status, 0, String(stderr))
    assert.ok(stat(dir.at('copy')).blocks < 20_000n, `${stat(dir.at('copy')).blocks} blocks`)
    assert.equal(spawnSync('cmp', [dir.at('file'), dir.at('copy')], { timeout: 60_000 }).status, 0)
  },
}

export const copying: Tests = {
  'copy_file_range copies between files, at any offsets': dir => {
    const data = pattern(6 * MiB)
    dir.file('from', data)
    for (const [from, to, len] of [
      [0, 0, 100],
      [4096, 8192, 4096],
      [2 * MiB, 4 * MiB, 2 * MiB],
      [12_345, 54_321, 3 * MiB],
      [1, 3 * MiB - 1, MiB],
    ] as const) {
      const target = pattern(5 * MiB, 7)
      dir.file('to', target)
      withFd(dir.at('from'), 'r', a =>
        withFd(dir.at('to'), 'r+', b => {
          for (let done = 0; done < len;) {
            const copied = copyFileRange({ fd: a, off: from + done }, { fd: b, off: to + done }, len - done)
            assert.ok(copied > 0)
            done += copied
          }
        }),
      )
      const size = Math.max(target.length, to + len)
      const expected = Buffer.alloc(size)
      target.copy(expected)
      data.copy(expected, to, from, from + len)
      assert.ok(readFileSync(dir.at('to')).equals(expected), `${len} bytes from ${from} to ${to}`)
    }
  },

  'a copy and its source change independently': dir => {
    const data = pattern(4 * MiB)
    dir.file('from', data)
    withFd(dir.at('from'), 'r+', a =>
      withFd(dir.at('to'), 'w+', b => {
        assert.equal(copyFileRange({ fd: a, off: 0 }, { fd: b, off: 0 }, 4 * MiB), 4 * MiB)
        writeSync(a, 'source', 100)
        writeSync(b, 'copy', 3 * MiB)
        ftruncate(a, 1000)
      }),
    )
    const expected = Buffer.from(data)
    expected.write('copy', 3 * MiB)
    assert.ok(readFileSync(dir.at('to')).equals(expected))
    assert.equal(text(dir.at('from')).slice(100, 106), 'source')
  },

  'a copy within one file works unless the ranges overlap': dir => {
    const path = dir.file('file', pattern(MiB))
    withFd(path, 'r+', fd => {
      assert.equal(copyFileRange({ fd, off: 0 }, { fd, off: MiB / 2 }, 1000), 1000)
      const copy = Buffer.alloc(1000)
      pread(fd, copy, MiB / 2)
      assert.ok(copy.equals(pattern(MiB).subarray(0, 1000)))
      fails('EINVAL', () => void copyFileRange({ fd, off: 0 }, { fd, off: 500 }, 1000))
    })
  },

  'a copy stops at the end of its source and extends its target': dir => {
    dir.file('from', 'twelve bytes')
    dir.file('to', '')
    withFd(dir.at('from'), 'r', a =>
      withFd(dir.at('to'), 'r+', b => {
        assert.equal(copyFileRange({ fd: a, off: 7 }, { fd: b, off: 10 }, 1000), 5)
        assert.equal(copyFileRange({ fd: a, off: 12 }, { fd: b, off: 0 }, 1000), 0)
      }),
    )
    assert.equal(text(dir.at('to')), `${'\0'.repeat(10)}bytes`)
  },

  'descriptors of the wrong kind are refused': dir => {
    const path = dir.file('file', 'content')
    withFd(path, 'r', a => {
      withFd(path, 'r', b =>
        fails('EBADF', () => void copyFileRange({ fd: a, off: 0 }, { fd: b, off: 100 }, 5)),
      )
      withFd(dir.at('to'), 'a', b =>
        fails('EBADF', () => void copyFileRange({ fd: a, off: 0 }, { fd: b, off: 0 }, 5)),
      )
    })
    withFd(dir.path, 'r', a =>
      withFd(path, 'r+', b =>
        fails('EISDIR', () => void copyFileRange({ fd: a, off: 0 }, { fd: b, off: 0 }, 5)),
      ),
    )
  },

  'a copy of holes reads as zeros': dir => {
    withFd(dir.at('from'), 'w+', a =>
      withFd(dir.at('to'), 'w+', b => {
        ftruncate(a, 4 * MiB)
        writeSync(a, 'x', 3 * MiB)
        writeSync(b, Buffer.alloc(4 * MiB, 1))
        for (let done = 0; done < 4 * MiB;)
          done += copyFileRange({ fd: a, off: done }, { fd: b, off: done }, 4 * MiB - done)
      }),
    )
    const expected = Buffer.alloc(4 * MiB)
    expected.write('x', 3 * MiB)
    assert.ok(readFileSync(dir.at('to')).equals(expected))
  },
}

export const statistics: Tests = {
  'statfs reports consistent sizes': dir => {
    const reported = statfsSync(dir.path)
    assert.ok(reported.bsize >= 512)
    assert.ok(reported.blocks >= reported.bfree && reported.bfree >= reported.bavail && reported.bavail > 0)
    assert.equal(statfsSync(dir.file('file')).blocks > 0, true)
    assert.equal(spawnSync('df', [dir.path], { timeout: 30_000 }).status, 0)
  },
}
