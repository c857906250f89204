/** What the benchmarks take from figures and from /proc. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const BYTES_PER_DISK_BLOCK = 512

export const MIB = 1 << 20

/** A figure of /proc/PID/status, in MiB: `VmRSS`, or `VmHWM` for the most there was. */
export function memoryMib(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}

/** Has `VmHWM` count from here on. Source: proc_pid_clear_refs(5). */
export const forgetMemoryPeak = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, '5')

/** What a database takes on the disk: all files whose names begin with its name, and what lies in such directories. */
export function databaseBytes(database: string): number {
  const directory = dirname(database)
  return readdirSync(directory)
    .filter(name => name.startsWith(basename(database)))
    .reduce((sum, name) => sum + diskBytes(join(directory, name)), 0)
}

function diskBytes(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false })
  // A file of the database may go while it is looked at.
  if (stats === undefined) return 0
  const within = stats.isDirectory() ? readdirSync(path).map(name => diskBytes(join(path, name))) : []
  return within.reduce((sum, bytes) => sum + bytes, stats.blocks * BYTES_PER_DISK_BLOCK)
}

/** Of an even number of values the greater one of the two in the middle. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

export const maximum = (values: readonly number[]): number =>
  values.reduce((a, b) => Math.max(a, b), -Infinity)
