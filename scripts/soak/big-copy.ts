/**
 * A copy much larger than the memory bound: `npm run test:copy -- [--gib N] [--dirty-size SIZE]`.
 *
 * `cp` copies a file of N GiB (10) of random bytes onto a mount with a small dirty bound. Prints the
 * daemon's memory over time, the number of transactions, and whether the file read back after a remount
 * equals the source. It needs free space of twice the file's length below $TMPDIR.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { withMount } from '../../test/tools/mounted.ts'
import { runProgram } from '../../test/tools/run-zblkfs.ts'
import { formatBytes } from '../units.ts'
import { databaseBytes, DaemonWatch, type Sample, spreadOf } from './daemon-watch.ts'

const SAMPLE_MS = 250
const TIMEOUT_PER_GIB_MS = 240_000
const { values } = parseArgs({
  options: { gib: { type: 'string', default: '10' }, 'dirty-size': { type: 'string', default: '64M' } },
})
const bytes = Math.round(Number(values.gib) * 2 ** 30)

async function run(command: string, cwd: string): Promise<string> {
  const timeoutMs = 10_000 + (bytes / 2 ** 30) * TIMEOUT_PER_GIB_MS
  const { stdout, stderr, exitCode } = await runProgram('sh', ['-c', `cd "$0" && ${command}`, cwd], timeoutMs)
  if (exitCode !== 0) throw new Error(`${command}: exit code ${exitCode}: ${stderr}`)
  return stdout.trim()
}

console.log(`cp of ${formatBytes(bytes)}, dirty_size=${values['dirty-size']}`)
await withMount({ options: [`dirty_size=${values['dirty-size']}`] }, async mount => {
  const { dir, db, scratch } = mount
  const key = `-aes-128-ctr -pass pass:${Date.now()} -nosalt`
  const expected = await run(
    `head -c ${bytes} /dev/zero | openssl enc ${key} 2>/dev/null | tee source | sha256sum`,
    scratch,
  )
  const watch = new DaemonWatch(mount.pid(), db, SAMPLE_MS)
  const startMs = performance.now()
  await run(`cp source "${dir}/copy" && sync "${dir}/copy"`, scratch)
  const copySeconds = (performance.now() - startMs) / 1000
  watch.stop()
  await rm(join(scratch, 'source'))
  const { commits } = JSON.parse(await readFile(join(dir, '.zblkfs', 'stats'), 'utf8')) as {
    readonly commits: number
  }
  const show = (values: readonly number[]): string => values.map(formatBytes).join(' ')
  const resident = (samples: readonly Sample[]): string =>
    show(spreadOf(samples.map(({ residentBytes }) => residentBytes)))
  console.log(`${copySeconds.toFixed(1)} s, ${formatBytes(bytes / copySeconds)}/s, ${commits} transactions`)
  console.log(`resident while it is copied: ${resident(watch.samples)} (smallest, middle, largest)`)
  console.log(`  the middle of each tenth of that: ${show(tenths(watch.samples))}`)

  await mount.remount()
  const reading = new DaemonWatch(mount.pid(), db, SAMPLE_MS)
  const isSame = (await run(`sha256sum < "${dir}/copy"`, scratch)) === expected
  reading.stop()
  console.log(`resident while it is read back: ${resident(reading.samples)}`)
  console.log(
    `the database: ${formatBytes(await databaseBytes(db))}; what is read back is ${isSame ? '' : 'NOT '}the same`,
  )
  if (!isSame) process.exitCode = 1
})

function tenths(samples: readonly Sample[]): readonly number[] {
  const bounds = Array.from({ length: 11 }, (_, i) => Math.floor((i * samples.length) / 10))
  return bounds
    .slice(1)
    .map((end, i) => spreadOf(samples.slice(bounds[i], end).map(({ residentBytes }) => residentBytes))[1])
}
