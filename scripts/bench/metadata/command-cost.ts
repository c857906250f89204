/** What a zblkfs command takes: time, processor time, memory. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { memoryMib } from '../measure.ts'
import { interrupted } from '../programs.ts'

const ZBLKFS = fileURLToPath(new URL('../../zblkfs', import.meta.url))
const POLL_MS = 50
const TICKS_PER_SECOND = 100
/** Positions of utime and stime after the command's name. Source: proc_pid_stat(5). */
const [UTIME, STIME] = [11, 12]

export interface CommandCost {
  /** Wall time. */
  readonly seconds: number
  /** Processor time, up to the last poll of it. */
  readonly cpuSeconds: number
  readonly peakMib: number
}

/** Runs a zblkfs command. @throws Error if it fails */
export async function commandCost(...parameters: readonly string[]): Promise<CommandCost> {
  interrupted.throwIfAborted()
  const startMs = performance.now()
  const child = spawn(ZBLKFS, parameters, { stdio: ['ignore', 'ignore', 'inherit'], signal: interrupted })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('exit', resolve)
    child.on('error', reject)
  })
  let [peakMib, cpuSeconds] = [0, 0]
  const polling = setInterval(() => {
    peakMib = Math.max(
      peakMib,
      orZero(() => memoryMib(child.pid ?? 0, 'VmHWM')),
    )
    cpuSeconds = Math.max(
      cpuSeconds,
      orZero(() => cpuSecondsOf(child.pid ?? 0)),
    )
  }, POLL_MS)
  const status = await ended.finally(() => clearInterval(polling))
  const seconds = (performance.now() - startMs) / 1000
  if (status !== 0) throw new Error(`zblkfs ${parameters.join(' ')}: exit code ${status}`)
  return { seconds, cpuSeconds, peakMib }
}

/** The processor time of a process. */
export function cpuSecondsOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[UTIME]) + Number(fields[STIME])) / TICKS_PER_SECOND
}

/** 0 for a process that has just ended. */
function orZero(read: () => number): number {
  try {
    return read() || 0
  } catch {
    return 0
  }
}
