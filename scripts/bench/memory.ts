/**
 * `npm run bench:memory [-- --size 8G]`: the daemon's resident memory while a file is written and then read sequentially,
 * for each block format, as a curve. The target at the end of reading is at most 16 MiB above the value
 * after an eighth of the file (1 GiB of 8). Needs free space of 1.1 times the file's length.
 */
import { randomFillSync } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { parseSizeBytes } from '../units.ts'
import { databaseBytes, memoryMib, MIB } from './measure.ts'
import { mountZblkfs } from './places/zblkfs.ts'
import { dropPages, endOnSignals } from './programs.ts'

const POINTS = 8
const GROWTH_MAX_MIB = 16
const BAR_MIB = 8

const { values } = parseArgs({ options: { size: { type: 'string', default: '8G' } } })
const sizeBytes = parseSizeBytes(values.size)
if (sizeBytes === undefined || sizeBytes < POINTS * MIB)
  throw new Error(`--size ${values.size}: write it as 8G or 512M, at least ${POINTS}M`)
const stepMib = Math.floor(sizeBytes / MIB / POINTS)

const buffer = Buffer.alloc(MIB)

function show(done: number, mib: number): void {
  console.log(
    `  ${String(done).padStart(6)} MiB  ${mib.toFixed(0).padStart(4)}  ${'#'.repeat(mib / BAR_MIB)}`,
  )
}

/** Calls `step` for each MiB; returns the memory after each eighth. */
function curve(pid: number, step: () => void): number[] {
  const points: number[] = []
  for (let point = 1; point <= POINTS; point++) {
    for (let i = 0; i < stepMib; i++) step()
    const mib = memoryMib(pid, 'VmRSS')
    points.push(mib)
    show(point * stepMib, mib)
  }
  return points
}

async function measure(root: string, format: string): Promise<boolean> {
  const directory = join(root, format)
  const database = join(root, `${format}.db`)
  const zblkfs = await mountZblkfs(database, directory, [`zblk_format=${format}`])
  const pid = zblkfs.pid()
  try {
    const file = join(directory, 'file')
    console.log(
      `\n${format}: resident MiB at the start ${memoryMib(pid, 'VmRSS').toFixed(0)}; while writing:`,
    )
    const writing = openSync(file, 'w')
    curve(pid, () => writeSync(writing, randomFillSync(buffer)))
    fsyncSync(writing)
    closeSync(writing)
    await dropPages(file)
    console.log(`${format}: resident MiB while reading:`)
    const reading = openSync(file, 'r')
    const points = curve(pid, () => readSync(reading, buffer))
    closeSync(reading)
    const growth = (points.at(-1) ?? Number.NaN) - (points[0] ?? Number.NaN)
    const isFlat = growth <= GROWTH_MAX_MIB
    console.log(
      `${format}: ${growth.toFixed(1)} MiB more at the end than after an eighth (at most ${GROWTH_MAX_MIB}): ` +
        `${isFlat ? 'flat' : 'NOT FLAT'}; at most ${memoryMib(pid, 'VmHWM').toFixed(0)} MiB at any time; ` +
        `database of ${(databaseBytes(database) / MIB).toFixed(0)} MiB`,
    )
    return isFlat
  } finally {
    await zblkfs.unmount()
    for (const name of readdirSync(root))
      if (name.startsWith(basename(database))) rmSync(join(root, name), { recursive: true })
  }
}

endOnSignals()
const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-memory-'))
try {
  const isFlat = [await measure(root, 'zblk0'), await measure(root, 'zblk1')]
  if (isFlat.includes(false)) process.exitCode = 1
} finally {
  rmSync(root, { recursive: true, force: true })
}
