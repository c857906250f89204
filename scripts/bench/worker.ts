/**
 * Small operations, one after the other, timed from within: `worker.ts TASK ...` prints `{seconds, count}` as JSON.
 * A process of its own, because one that serves a mount must not use it, and so that its start is not timed.
 */
import { randomFillSync } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

const PAGE_BYTES = 4096

const TASKS: Readonly<Record<string, (...parameters: readonly string[]) => number>> = {
  /** `randomWrites FILE BYTES COUNT each|end`: pages at random places of the first BYTES, synced. */
  randomWrites: (file = '', bytes, count, sync) => {
    const page = randomFillSync(Buffer.alloc(PAGE_BYTES))
    const pages = Number(bytes) / PAGE_BYTES
    const fd = openSync(file, 'r+')
    for (let i = 0; i < Number(count); i++) {
      page.writeUInt32LE(i)
      writeSync(fd, page, 0, PAGE_BYTES, Math.floor(Math.random() * pages) * PAGE_BYTES)
      if (sync === 'each') fsyncSync(fd)
    }
    if (sync === 'end') fsyncSync(fd)
    closeSync(fd)
    return Number(count)
  },
  /** `append FILE BYTES COUNT each|end`: records of that length. */
  append: (file = '', bytes, count, sync) => {
    const record = randomFillSync(Buffer.alloc(Number(bytes)))
    const fd = openSync(file, 'a')
    for (let i = 0; i < Number(count); i++) {
      writeSync(fd, record)
      if (sync === 'each') fsyncSync(fd)
    }
    if (sync === 'end') fsyncSync(fd)
    closeSync(fd)
    return Number(count)
  },
  /** `createFiles DIRECTORY COUNT` of 1 KiB each. */
  createFiles: (directory = '', count) => {
    const bytes = randomFillSync(Buffer.alloc(1024))
    mkdirSync(directory)
    for (let i = 0; i < Number(count); i++) {
      const fd = openSync(join(directory, `file ${i}`), 'wx')
      writeSync(fd, bytes)
      closeSync(fd)
    }
    return Number(count)
  },
  /** `readFiles DIRECTORY`: each of them. */
  readFiles: (directory = '') => {
    const names = readdirSync(directory)
    for (const name of names) readFileSync(join(directory, name))
    return names.length
  },
  /** `removeFiles DIRECTORY`, which goes too. */
  removeFiles: (directory = '') => {
    const { length } = readdirSync(directory)
    rmSync(directory, { recursive: true })
    return length
  },
}

const [task = '', ...parameters] = process.argv.slice(2)
const start = performance.now()
const count = TASKS[task]?.(...parameters)
if (count === undefined) throw new Error(`there is no task '${task}'`)
console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, count }))
