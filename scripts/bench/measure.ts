/** What the workloads of the benchmark share. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const TIMEOUT_MS = 600_000
const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url))

export const MIB = 1 << 20

/** Runs a program to its end; returns what it prints. @throws Error where it fails or takes too long. */
export const run = (program: string, ...parameters: readonly string[]): string =>
  execFileSync(program, parameters, {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  })

/** Copies with dd; returns bytes a second, the program's start included. */
export function dd(bytes: number, ...parameters: readonly string[]): number {
  const start = performance.now()
  run('dd', 'bs=1M', 'status=none', ...parameters)
  return (bytes / (performance.now() - start)) * 1000
}

/** Has the kernel forget the pages that it keeps of a file on a mount. What the mount's server keeps stays. */
export function dropPages(file: string): void {
  run('dd', `if=${file}`, 'iflag=nocache', 'count=0', 'status=none')
}

/** Runs a task of worker.ts in a process of its own; returns the seconds that it took and how much it did. */
export function work(
  task: string,
  ...parameters: readonly (string | number)[]
): { seconds: number; count: number } {
  const output = run(process.execPath, WORKER, task, ...parameters.map(String))
  return JSON.parse(output) as { seconds: number; count: number }
}

/** Random 4 KiB reads a second of `jobs` processes, from a file's first `bytes`. */
export function randomReads(file: string, bytes: number, jobs: number): number {
  const output = run(
    'fio',
    `--filename=${file}`,
    '--name=random',
    '--readonly',
    `--filesize=${bytes}`,
    '--rw=randread',
    '--bs=4k',
    '--ioengine=psync',
    `--numjobs=${jobs}`,
    '--runtime=2',
    '--time_based',
    '--group_reporting',
    '--norandommap',
    '--randrepeat=0',
    '--direct=1',
    '--output-format=json',
  )
  const report = JSON.parse(output.slice(output.indexOf('{'))) as {
    readonly jobs: readonly { readonly read: { readonly iops: number } }[]
  }
  return report.jobs[0]?.read.iops ?? Number.NaN
}

export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file, { highWaterMark: MIB })) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** A figure of /proc/PID/status, in MiB: `VmRSS`, or `VmHWM` for the most there was. */
export function memoryMib(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
