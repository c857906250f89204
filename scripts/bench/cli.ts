/**
 * Measures the wall time of short commands against an empty run of Node: `npm run bench:cli`. Reports the median of
 * several runs, of which the first fill the compile cache.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ZBLKFS = fileURLToPath(new URL('../zblkfs', import.meta.url))
const RUNS = 11
const WARM_UP_RUNS = 2

function run(program: string, ...parameters: readonly string[]): number {
  const startedMs = performance.now()
  const { status, stderr } = spawnSync(program, parameters, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${parameters.join(' ')}: exit code ${status}: ${stderr}`)
  return performance.now() - startedMs
}

function medianMs(program: string, ...parameters: readonly string[]): number {
  for (let i = 0; i < WARM_UP_RUNS; i++) run(program, ...parameters)
  const times = Array.from({ length: RUNS }, () => run(program, ...parameters)).toSorted((a, b) => a - b)
  return times[RUNS >> 1] ?? 0
}

const scratch = mkdtempSync(join(tmpdir(), 'zblkfs-bench-cli-'))
const [db, dir] = [join(scratch, 'data.zblk'), join(scratch, 'mnt')]
mkdirSync(dir)
try {
  run(ZBLKFS, 'mount', db, dir)
  const rows = {
    'node -e 0': medianMs(process.execPath, '-e', '0'),
    'zblkfs --version': medianMs(ZBLKFS, '--version'),
    'zblkfs sync': medianMs(ZBLKFS, 'sync', dir),
    'zblkfs status': medianMs(ZBLKFS, 'status'),
    'zblkfs log -n 3': medianMs(ZBLKFS, 'log', '-n', '3', dir),
  }
  for (const [name, ms] of Object.entries(rows))
    console.log(`${name.padEnd(20)}${ms.toFixed(0).padStart(6)} ms`)
} finally {
  spawnSync(ZBLKFS, ['umount', '-l', dir])
  rmSync(scratch, { recursive: true, force: true })
}
