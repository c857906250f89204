/**
 * The throughput of the drivers without storage (mount/drivers/no-op.ts): `npm run bench:fuse [-- --rounds N] [--json]`.
 *
 * The drivers alternate within each round, in one order and then in the other, so that other load on the machine
 * affects both. Only ratios can be compared between runs. Needs fio, and root to drop the page cache.
 */
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import type { Mount } from '../../mount/drivers/driver.ts'
import { NoOpFileSystem } from '../../mount/drivers/no-op.ts'

const DRIVERS = ['kernel', 'fuse-native'] as const
type DriverName = (typeof DRIVERS)[number]

interface Workload {
  readonly name: string
  readonly unit: string
  /** Returns the throughput per second. */
  readonly run: (directory: string) => number
}

const MIB = 1 << 20
const READ_MIB = 2048
const WRITE_MIB = 1024

const WORKLOADS: readonly Workload[] = [
  {
    name: 'sequential read, 1 MiB',
    unit: 'MB/s',
    run: directory => {
      dropCaches()
      return dd(READ_MIB, `if=${directory}/big`, 'of=/dev/null')
    },
  },
  {
    name: 'sequential write, 1 MiB',
    unit: 'MB/s',
    run: directory => dd(WRITE_MIB, 'if=/dev/zero', `of=${directory}/sink`),
  },
  { name: 'random read, 4 KiB, 1 job', unit: '/s', run: directory => randomReads(directory, 1) },
  { name: 'random read, 4 KiB, 4 jobs', unit: '/s', run: directory => randomReads(directory, 4) },
]

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '3' }, json: { type: 'boolean', default: false } },
  })
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a number from 1 on')
  if (spawnSync('fio', ['--version']).status !== 0)
    throw new Error("fio is not installed: install it with 'sudo apt-get install fio'")
  const results = new Map(WORKLOADS.map(({ name }) => [name, new Map<DriverName, number[]>()]))
  for (let round = 0; round < rounds; round++)
    for (const driver of round % 2 === 0 ? DRIVERS : DRIVERS.toReversed())
      await withMount(driver, directory => {
        for (const { name, run } of WORKLOADS) {
          const figures = results.get(name)
          figures?.set(driver, [...(figures.get(driver) ?? []), run(directory)])
        }
      })
  if (values.json) console.log(JSON.stringify(toObject(results), undefined, 2))
  else print(results, rounds)
}

type Results = ReadonlyMap<string, ReadonlyMap<DriverName, readonly number[]>>

const toObject = (results: Results) =>
  Object.fromEntries([...results].map(([name, drivers]) => [name, Object.fromEntries(drivers)]))

function print(results: Results, rounds: number): void {
  console.log(`No-op filesystem, median of ${rounds} (least - most); ratio: kernel to fuse-native\n`)
  console.log(`${''.padEnd(28)}${DRIVERS.map(driver => driver.padEnd(30)).join('')}ratio`)
  for (const { name, unit } of WORKLOADS) {
    const figures = DRIVERS.map(driver => (results.get(name)?.get(driver) ?? []).toSorted((a, b) => a - b))
    const cells = figures.map(
      sorted => `${show(median(sorted))} ${unit} (${show(sorted[0])} - ${show(sorted.at(-1))})`,
    )
    const [kernel = Number.NaN, native = Number.NaN] = figures.map(median)
    console.log(
      `${name.padEnd(28)}${cells.map(cell => cell.padEnd(30)).join('')}${(kernel / native).toFixed(2)}`,
    )
  }
}

const median = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length / 2)] ?? Number.NaN

const show = (value = Number.NaN): string => Math.round(value).toLocaleString('en')

/** Copies `count` MiB; returns MB/s. */
function dd(count: number, ...parameters: readonly string[]): number {
  const start = performance.now()
  execFileSync('dd', [...parameters, 'bs=1M', `count=${count}`, 'status=none'], { timeout: 120_000 })
  return (count * MIB) / 1e3 / (performance.now() - start)
}

/** Reads per second by `jobs` processes, at offsets that are rarely in the page cache. */
function randomReads(directory: string, jobs: number): number {
  const output = execFileSync(
    'fio',
    [
      `--filename=${directory}/big`,
      '--name=random',
      '--filesize=256G',
      '--rw=randread',
      '--bs=4k',
      '--ioengine=psync',
      `--numjobs=${jobs}`,
      '--runtime=2',
      '--time_based',
      '--group_reporting',
      '--norandommap',
      '--randrepeat=0',
      '--output-format=json',
    ],
    { encoding: 'utf8', timeout: 120_000, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const report = JSON.parse(output.slice(output.indexOf('{'))) as {
    readonly jobs: readonly { readonly read: { readonly iops: number } }[]
  }
  return report.jobs[0]?.read.iops ?? Number.NaN
}

/** Without root privileges, rounds after the first read from memory. */
function dropCaches(): void {
  if (process.getuid?.() === 0) writeFileSync('/proc/sys/vm/drop_caches', '1')
}

async function withMount(driver: DriverName, work: (directory: string) => void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-bench-fuse-'))
  const server = fork(import.meta.filename, ['--serve', driver, directory])
  const exit = once(server, 'exit')
  try {
    const [mounted] = (await Promise.race([once(server, 'message'), exit])) as [unknown]
    if (mounted !== 'mounted') throw new Error(`the driver ${driver} did not start`)
    work(directory)
  } finally {
    server.kill('SIGTERM')
    await exit
    rmdirSync(directory)
  }
}

/** Runs in a child process: a process must not use a mount that it serves. */
async function serve(driver: string, mountPoint: string): Promise<void> {
  const mount: Mount =
    driver === 'kernel'
      ? (await import('../../mount/drivers/kernel/driver.ts')).mountKernel
      : (await import('../../mount/drivers/fuse-native/driver.ts')).mountFuseNative
  const log = pino({ level: 'error' }, pino.destination(2))
  const mounted = await mount(new NoOpFileSystem(), { mountPoint, source: 'no-op', log })
  process.once('SIGTERM', () => void mounted.unmount())
  process.send?.('mounted')
  await mounted.done
  if (process.connected) process.disconnect()
}

const [role, driver = '', mountPoint = ''] = process.argv.slice(2)
if (role === '--serve') await serve(driver, mountPoint)
else
  await main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  })
