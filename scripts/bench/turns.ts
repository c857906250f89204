/**
 * Loaded into a daemon by NODE_OPTIONS: records the longest turns of its event loop. Each line of the file $TURNS_FILE is the processor
 * time of the longest turn within {@link REPORT_MS}, in ms. Other load of the machine does not add to it.
 */
import { appendFileSync } from 'node:fs'

/** A turn that is running delays the timer. */
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
