import assert from 'node:assert/strict'
import { fdatasyncSync, fsyncSync, renameSync, writeSync } from 'node:fs'
import { pattern, text, withFd, type Tests } from '../directory.ts'
import { syncfs } from '../syscalls.ts'

export const synchronising: Tests = {
  'fsync and fdatasync succeed for files, written or not, and for directories': dir => {
    withFd(dir.at('file'), 'w+', fd => {
      writeSync(fd, pattern(100_000))
      fdatasyncSync(fd)
      writeSync(fd, 'more')
      fsyncSync(fd)
      fsyncSync(fd)
    })
    withFd(dir.at('file'), 'r', fsyncSync)
    withFd(dir.path, 'r', fsyncSync)
    withFd(dir.path, 'r', fdatasyncSync)
  },

  'write, fsync, rename and fsync of the directory replace a file safely': dir => {
    dir.file('file', 'old')
    for (let round = 0; round < 10; round++) {
      withFd(dir.at('temporary'), 'w', fd => {
        writeSync(fd, `round ${round}`)
        fsyncSync(fd)
      })
      renameSync(dir.at('temporary'), dir.at('file'))
      withFd(dir.path, 'r', fsyncSync)
      assert.equal(text(dir.at('file')), `round ${round}`)
    }
  },

  'syncfs succeeds': dir => {
    dir.file('file', pattern(100_000))
    withFd(dir.path, 'r', syncfs)
  },
}
