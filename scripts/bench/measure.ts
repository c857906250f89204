/** Statistics, and measurements from /proc. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const BYTES_PER_DISK_BLOCK = 512

export const MIB = 1 << 20

/** A figure of /proc/PID/status, in MiB: `VmRSS`, or `VmHWM` for the peak. */
export function memoryMib(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}

/** Resets `VmHWM`. Source: proc_pid_clear_refs(5). */
export const forgetMemoryPeak = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, '5')

/** Disk space of a database: all files whose names begin with its name, and the contents of such directories. */
export function databaseBytes(database: string): number {
  const directory = dirname(database)
  return readdirSync(directory)
    .filter(name => name.startsWith(basename(database)))
    .reduce((sum, name) => sum + diskBytes(join(directory, name)), 0)
}

function diskBytes(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false })
  // A file of the database may be removed meanwhile.
  if (stats === undefined) return 0
  const within = stats.isDirectory() ? readdirSync(path).map(name => diskBytes(join(path, name))) : []
  return within.reduce((sum, bytes) => sum + bytes, stats.blocks * BYTES_PER_DISK_BLOCK)
}

/** For an even number of values, the greater of the two in the middle. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

export const maximum = (values: readonly number[]): number =>
  values.reduce((a, b) => Math.max(a, b), -Infinity)

/** CPU time so far of all threads of a process, in nanoseconds. Source: proc(5). */
export function processorNs(pid: number): number {
  let sum = 0
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const [ns = '0'] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')
    sum += Number(ns)
  }
  return sum
}
