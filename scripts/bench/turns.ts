/**
 * Loaded into a daemon by NODE_OPTIONS: records how long its event loop stands still. Each line of the file $TURNS_FILE is the processor time
 * in ms of the longest turn within {@link REPORT_MS}: processor time and not the clock's, so that a loaded machine does not count.
 */
import { appendFileSync } from 'node:fs'

/** The timer is late by the length of the turn that runs meanwhile. */
const TICK_MS = 5
const REPORT_MS = 250

const file = process.env['TURNS_FILE']
if (file !== undefined && process.argv.includes('--daemon')) watch(file)

function watch(path: string): void {
  let before = cpuMs()
  let longest = 0
  setInterval(() => {
    const now = cpuMs()
    longest = Math.max(longest, now - before)
    before = now
  }, TICK_MS).unref()
  setInterval(() => {
    appendFileSync(path, `${longest.toFixed(1)}\n`)
    longest = 0
  }, REPORT_MS).unref()
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
