/** Random access with fio, which is installed by scripts/bench/setup.sh. */
import { run } from './programs.ts'

const PAGE_BYTES = 4096

interface Report {
  readonly jobs: readonly {
    readonly read: { readonly iops: number }
    readonly write: { readonly iops: number; readonly total_ios: number }
  }[]
}

async function fio(
  file: string,
  bytes: number,
  ...parameters: readonly string[]
): Promise<Report['jobs'][number]> {
  const output = await run(
    'fio',
    '--name=random',
    `--filename=${file}`,
    `--filesize=${bytes}`,
    `--bs=${PAGE_BYTES}`,
    '--ioengine=psync',
    '--group_reporting',
    '--output-format=json',
    ...parameters,
  )
  // A note about the job may precede the report.
  const report = JSON.parse(output.slice(output.indexOf('{'))) as Report
  const [job] = report.jobs
  if (job === undefined) throw new Error(`fio reports no job for ${file}`)
  return job
}

/**
 * Random 4 KiB reads per second of `jobs` processes during `seconds`, from a file's first `bytes`. They bypass the kernel's
 * page cache, so that each read reaches the mount's server.
 */
export async function randomReads(
  file: string,
  { bytes, jobs, seconds }: { readonly bytes: number; readonly jobs: number; readonly seconds: number },
): Promise<number> {
  const job = await fio(
    file,
    bytes,
    '--readonly',
    '--rw=randread',
    `--numjobs=${jobs}`,
    `--runtime=${seconds}`,
    '--time_based',
    '--norandommap',
    '--randrepeat=0',
    '--direct=1',
  )
  return job.read.iops
}

/**
 * Random 4 KiB overwrites per second: `count` distinct pages of a file's first `bytes`. Includes the time of the
 * syncs. The same `seed` writes the same bytes to the same offsets, so that files can be compared.
 */
export async function randomWrites(
  file: string,
  options: {
    readonly bytes: number
    readonly count: number
    readonly sync: 'each' | 'end'
    readonly seed: number
  },
): Promise<number> {
  const { bytes, count, sync, seed } = options
  const job = await fio(
    file,
    bytes,
    '--rw=randwrite',
    `--io_size=${count * PAGE_BYTES}`,
    '--randrepeat=1',
    `--randseed=${seed}`,
    '--refill_buffers',
    sync === 'each' ? '--fsync=1' : '--end_fsync=1',
  )
  if (job.write.total_ios !== count) throw new Error(`fio wrote ${job.write.total_ios} pages, not ${count}`)
  return job.write.iops
}
