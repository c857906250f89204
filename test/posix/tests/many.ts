import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { inChild } from '../child.ts'
import { stat, text, type Tests } from '../directory.ts'

/** Runs an action in several processes at once; each must end well. */
async function inChildren(
  count: number,
  action: Parameters<typeof inChild>[0],
  ...args: string[]
): Promise<string[]> {
  const ended = await Promise.all(
    Array.from({ length: count }, (_, index) => inChild(action, ...args, `${index}`)),
  )
  for (const child of ended) assert.equal(child.code, 0, child.output)
  return ended.map(child => child.output)
}

export const manyOpenFiles: Tests = {
  'a thousand files are open at once, each with its own content': dir => {
    const fds = Array.from({ length: 1000 }, (_, at) => {
      const fd = openSync(dir.at(`file-${at}`), 'wx+')
      writeSync(fd, `content ${at}`)
      return fd
    })
    for (const [at, fd] of fds.entries()) {
      const bytes = Buffer.alloc(64)
      assert.equal(bytes.toString('latin1', 0, readSync(fd, bytes, 0, 64, 0)), `content ${at}`)
    }
    for (const fd of fds) closeSync(fd)
  },

  'one file is open a thousand times': dir => {
    const path = dir.file('file', 'shared')
    const fds = Array.from({ length: 1000 }, () => openSync(path, 'r+'))
    writeSync(fds[999]!, 'SHARED', 0)
    for (const fd of fds) {
      const bytes = Buffer.alloc(6)
      readSync(fd, bytes, 0, 6, 0)
      assert.equal(bytes.toString(), 'SHARED')
      closeSync(fd)
    }
  },
}

export const concurrency: Tests = {
  'concurrent appends of processes lose and mix no line': async dir => {
    dir.file('log')
    await inChildren(4, 'appendLines', dir.at('log'), '200')
    const lines = text(dir.at('log')).trimEnd().split('\n')
    assert.equal(lines.length, 800)
    assert.equal(new Set(lines).size, 800)
    assert.ok(lines.every(line => /^\d+ \d+ x{80}$/.test(line)))
  },

  'of processes that create the same file with O_EXCL one succeeds': async dir => {
    const won = await inChildren(4, 'createExclusively', dir.path, '100')
    assert.equal(
      won.reduce((sum, count) => sum + Number(count), 0),
      100,
    )
    assert.equal(dir.list().length, 100)
  },

  'processes that write parts of one file fill it completely': async dir => {
    const path = dir.file('file')
    await inChildren(4, 'writeStripes', path, '4', '512')
    const bytes = readFileSync(path)
    assert.equal(bytes.length, 512 * 5000)
    for (let stripe = 0; stripe < 512; stripe++)
      assert.ok(
        bytes.subarray(stripe * 5000, (stripe + 1) * 5000).every(byte => byte === 1 + (stripe % 4)),
        `stripe ${stripe}`,
      )
  },

  'a counter under flock loses no increment': async dir => {
    const path = dir.file('counter', '0')
    await inChildren(4, 'countUnderFlock', path, '100')
    assert.equal(text(path), '400')
  },

  'readers see the old or the new content of a replaced file, never a mixture': async dir => {
    const path = dir.file('file', 'a'.repeat(5000))
    const state = { reading: true }
    const stop = (): void => void (state.reading = false)
    const readers = inChildren(2, 'readWhole', path, '300')
    readers.then(stop, stop)
    for (let round = 0; state.reading; round++) {
      writeFileSync(dir.at('next'), 'abcdefgh'[round % 8]!.repeat(5000))
      renameSync(dir.at('next'), path)
      await new Promise(setImmediate)
    }
    await readers
  },

  'processes that create and remove the same directories leave a consistent directory': async dir => {
    mkdirSync(dir.at('shared'))
    await inChildren(4, 'churn', dir.at('shared'), '150')
    assert.deepEqual(dir.list('shared'), [])
    assert.equal(stat(dir.at('shared')).nlink, 2n)
  },
}
