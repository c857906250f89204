import assert from 'node:assert/strict'
import { readFileSync, readSync, writeFileSync, writeSync, writevSync } from 'node:fs'
import { pwritev2, RWF_APPEND, RWF_NOAPPEND, SyscallError } from '../syscalls.ts'
import { pattern, stat, text, withFd, type Tests } from '../directory.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** Reads `[off, off + len)`; fewer bytes at the end. */
function read(fd: number, off: number, len: number): Buffer {
  const bytes = Buffer.alloc(len, 0xee)
  return bytes.subarray(0, readSync(fd, bytes, 0, len, off))
}

export const readAndWrite: Tests = {
  'writes at any offset round-trip, across chunks and blocks': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      const offsets = [0, 1, 4 * KiB - 1, 4 * KiB, 128 * KiB - 3, 2 * MiB - 1, 2 * MiB, 4 * MiB - 5000]
      const lengths = [1, 2, 4 * KiB - 1, 4 * KiB, 4 * KiB + 1, 12_345]
      const model = Buffer.alloc(5 * MiB)
      let end = 0
      for (const [index, off] of offsets.entries()) {
        for (const len of lengths) {
          const data = pattern(len, index + len)
          assert.equal(writeSync(fd, data, 0, len, off), len)
          data.copy(model, off)
          end = Math.max(end, off + len)
          assert.ok(read(fd, off, len).equals(data), `${len} bytes at ${off}`)
        }
      }
      assert.equal(stat(fd).size, BigInt(end))
      assert.ok(read(fd, 0, end).equals(model.subarray(0, end)), 'the whole file')
    })
  },

  'a read stops at the end of the file': dir => {
    dir.file('file', 'twelve bytes')
    withFd(dir.at('file'), 'r', fd => {
      assert.equal(read(fd, 6, 100).toString(), ' bytes')
      assert.equal(read(fd, 12, 100).length, 0)
      assert.equal(read(fd, 5_000_000, 100).length, 0)
    })
  },

  'a later write replaces the overlap of an earlier one': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      writeSync(fd, Buffer.alloc(10_000, 'a'), 0, 10_000, 0)
      writeSync(fd, Buffer.alloc(5000, 'b'), 0, 5000, 2500)
      writeSync(fd, Buffer.alloc(10, 'c'), 0, 10, 7495)
      const expected = 'a'.repeat(2500) + 'b'.repeat(4995) + 'c'.repeat(10) + 'a'.repeat(2495)
      assert.equal(read(fd, 0, 20_000).toString(), expected)
    })
  },

  'pwritev2 appends on a descriptor without O_APPEND, and writes at an offset on one with it': dir => {
    const path = dir.file('file', 'abcdef')
    const content = (): string => readFileSync(path, 'utf8')
    withFd(path, 'r+', fd => {
      assert.equal(pwritev2(fd, Buffer.from('GH'), 0, RWF_APPEND), 2)
      assert.equal(content(), 'abcdefGH')
      // Another descriptor has moved the end.
      withFd(path, 'a', other => writeSync(other, 'ij'))
      pwritev2(fd, Buffer.from('KL'), 1, RWF_APPEND)
      assert.equal(content(), 'abcdefGHijKL')
      writeSync(fd, 'mn')
      assert.equal(content(), 'mncdefGHijKL')
    })
    withFd(path, 'a+', fd => {
      try {
        pwritev2(fd, Buffer.from('OP'), 1, RWF_NOAPPEND)
      } catch (error) {
        // Linux before 6.9.
        if (error instanceof SyscallError && error.code === 'EOPNOTSUPP') return
        throw error
      }
      assert.equal(content(), 'mOPdefGHijKL')
      writeSync(fd, 'qr')
      assert.equal(content(), 'mOPdefGHijKLqr')
      pwritev2(fd, Buffer.from('s'), 0, RWF_NOAPPEND)
      assert.equal(content(), 'sOPdefGHijKLqr')
    })
  },

  'a write of no bytes changes nothing': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      assert.equal(writeSync(fd, Buffer.alloc(0), 0, 0, 1000), 0)
      assert.equal(stat(fd).size, 0n)
    })
  },

  'a write beyond the end leaves zeros between': dir => {
    dir.file('file', 'abc')
    withFd(dir.at('file'), 'r+', fd => {
      writeSync(fd, 'z', 9000)
      assert.equal(stat(fd).size, 9001n)
      assert.ok(
        read(fd, 0, 10_000).equals(Buffer.concat([Buffer.from('abc'), Buffer.alloc(8997), Buffer.from('z')])),
      )
    })
  },

  'writes are visible to other descriptors at once': dir => {
    withFd(dir.at('file'), 'w+', writer =>
      withFd(dir.at('file'), 'r', reader => {
        for (let round = 0; round < 50; round++) {
          const line = `line ${round} `.padEnd(200, '.')
          writeSync(writer, line, round * 200)
          assert.equal(read(reader, round * 200, 200).toString(), line)
          assert.equal(stat(reader).size, BigInt((round + 1) * 200))
        }
      }),
    )
  },

  'one call writes many megabytes': dir => {
    const data = pattern(9 * MiB + 123, 5)
    writeFileSync(dir.at('file'), data)
    assert.ok(readFileSync(dir.at('file')).equals(data))
  },

  'writev writes its buffers one after the other': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      const parts = [pattern(10, 1), pattern(5000, 2), pattern(70_000, 3)]
      assert.equal(writevSync(fd, parts, 77), 75_010)
      assert.ok(read(fd, 77, 80_000).equals(Buffer.concat(parts)))
    })
  },

  'a file written backwards in pieces is complete': dir => {
    const data = pattern(6 * MiB, 9)
    const piece = 192 * KiB
    withFd(dir.at('file'), 'w+', fd => {
      for (let off = data.length - piece; off >= 0; off -= piece) writeSync(fd, data, off, piece, off)
      assert.ok(read(fd, 0, data.length).equals(data))
    })
  },

  'data is there after a close and reopen': dir => {
    for (let round = 0; round < 10; round++)
      withFd(dir.at('file'), 'a', fd => void writeSync(fd, `${round}`.repeat(1000)))
    assert.equal(
      text(dir.at('file')),
      Array.from({ length: 10 }, (_, round) => `${round}`.repeat(1000)).join(''),
    )
  },

  'st_blocks follows the amount of data': dir => {
    const path = dir.file('file', pattern(4 * MiB))
    withFd(path, 'r+', fd => {
      const full = stat(fd).blocks
      assert.ok(full >= 1n, `${full} blocks for 4 MiB`)
    })
    writeFileSync(path, '')
    assert.ok(stat(path).blocks < 100n, `${stat(path).blocks} blocks for nothing`)
  },
}
