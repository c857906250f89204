/**
 * Small operations, one after the other, timed in the process itself: `worker.ts TASK ...` prints `{seconds, count}` as JSON.
 * A separate process, because one that serves a mount must not use it, and so that its start is not timed.
 */
import { randomFillSync } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { koffi } from '../../store/koffi.ts'

const PAGE_BYTES = 4096
const RECORD_BYTES_MIN = 100
const SMALL_BYTES = 1024
const MIB = 1 << 20
const WRITER_FILE_MIB = 64
const COPY_BYTES = 1 << 30
/** Prime, so that lengths and contents do not repeat in a pattern that favours a disk. */
const STEP = 7919
const WAITING = new Int32Array(new SharedArrayBuffer(4))

const noise = randomBytesOf(PAGE_BYTES * 2)

/** Incompressible bytes, the same in every run. */
function randomBytesOf(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

/** `length` bytes of the noise, a different piece for each index. */
const patterned = (length: number, index: number): Buffer => {
  const from = (index * STEP) % (noise.length - length + 1)
  return noise.subarray(from, from + length)
}

const TASKS: Readonly<Record<string, (...parameters: readonly string[]) => number>> = {
  /** `append FILE COUNT each|end`: appends records of 100 to 4096 bytes, the same in each run. */
  append: (file = '', count, sync) => {
    const fd = openSync(file, 'a')
    for (let i = 0; i < Number(count); i++) {
      writeSync(fd, patterned(RECORD_BYTES_MIN + ((i * STEP) % (PAGE_BYTES - RECORD_BYTES_MIN + 1)), i))
      if (sync === 'each') fsyncSync(fd)
    }
    if (sync === 'end') fsyncSync(fd)
    closeSync(fd)
    return Number(count)
  },
  /** `copyWithin FILE BYTES`: copies the first BYTES to the offset after them, shared by copy_file_range(2). */
  copyWithin: (file = '', bytes) => {
    const copy = koffi
      .load(null)
      .func(
        'int64_t copy_file_range(int in, _Inout_ int64_t *inOff, int out, _Inout_ int64_t *outOff, size_t length, uint flags)',
      )
    const fd = openSync(file, 'r+')
    const length = Number(bytes)
    for (let done = 0; done < length;) {
      const copied = Number(copy(fd, [done], fd, [length + done], Math.min(length - done, COPY_BYTES), 0))
      if (copied <= 0) throw new Error(`${file}: copy_file_range failed at ${done}`)
      done += copied
    }
    fsyncSync(fd)
    closeSync(fd)
    return length
  },
  /** `writeSteadily FILE MIB_PER_SECOND`: writes 1 MiB at a time, synced each second, until it is ended. */
  writeSteadily: (file = '', rate) => {
    const piece = randomFillSync(Buffer.alloc(MIB))
    const fd = openSync(file, 'w')
    const begin = performance.now()
    console.log('writing')
    for (let i = 0; ; i++) {
      writeSync(fd, piece, 0, MIB, (i % WRITER_FILE_MIB) * MIB)
      if (i % Number(rate) === 0) fsyncSync(fd)
      const rest = begin + ((i + 1) * 1000) / Number(rate) - performance.now()
      if (rest > 0) Atomics.wait(WAITING, 0, 0, rest)
    }
  },
  /** `createFiles DIRECTORY COUNT`: creates files of 1 KiB each. */
  createFiles: (directory = '', count) => {
    mkdirSync(directory)
    for (let i = 0; i < Number(count); i++) {
      const fd = openSync(join(directory, `file ${i}`), 'wx')
      writeSync(fd, patterned(SMALL_BYTES, i))
      closeSync(fd)
    }
    return Number(count)
  },
  /** `listFiles DIRECTORY`: lists them with attributes, as `ls -l` does. */
  listFiles: (directory = '') => {
    const names = readdirSync(directory)
    for (const name of names) lstatSync(join(directory, name))
    return names.length
  },
  /** `readFiles DIRECTORY`: reads each file. */
  readFiles: (directory = '') => {
    const names = readdirSync(directory)
    for (const name of names) readFileSync(join(directory, name))
    return names.length
  },
  /** `removeFiles DIRECTORY`: removes the files and the directory. */
  removeFiles: (directory = '') => {
    const { length } = readdirSync(directory)
    rmSync(directory, { recursive: true })
    return length
  },
}

const [task = '', ...parameters] = process.argv.slice(2)
const start = performance.now()
const count = TASKS[task]?.(...parameters)
if (count === undefined) throw new Error(`unknown task '${task}'`)
console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, count }))
