/**
 * Costs as a function of the size of a file and of its database.
 *
 * The file doubles from point to point: up to `realGib` by writing bytes, above that by copying the first half
 * with copy_file_range(2), which makes new blocks and records that share stored bytes. So the trees are those of
 * a real file of that size, while the stored bytes fit in the host's page cache and the disk's speed does not hide the cost.
 */
import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { databaseBytes, forgetMemoryPeak, median, memoryMib, MIB } from '../measure.ts'
import type { MountedZblkfs } from '../places/place.ts'
import { mountZblkfs } from '../places/zblkfs.ts'
import { dd, dropPages, interrupted, work } from '../programs.ts'
import type { Curve } from '../svg-plot.ts'
import type { Growth } from './curve.ts'

const COMMITS = 100
const MOUNTS = 3
const MIB_PER_GIB = 1024
/** Files up to this size are read whole; of larger files, this much is read. */
const READ_GIB_MAX = 16

interface Point {
  readonly gib: number
  readonly databaseGib: number
  readonly readMbPerSecond: number
  readonly memoryPeakMib: number
  readonly memoryEndMib: number
  readonly syncMs: number
  readonly commitMs: number
  readonly mountMs: number
}

/** Measures sizes from `fromGib` to `toGib`. */
export async function sizeGrowth(
  root: string,
  { fromGib, realGib, toGib }: { readonly fromGib: number; readonly realGib: number; readonly toGib: number },
): Promise<readonly Growth[]> {
  const zblkfs = await mountZblkfs(join(root, 'size.db'), join(root, 'size'))
  try {
    const file = join(zblkfs.directory, 'file')
    const points: Point[] = []
    let gib = 0
    for (let wanted = fromGib; wanted <= toGib; wanted *= 2) {
      if (wanted <= realGib) await writeReal(file, gib, wanted)
      else await work('copyWithin', file, gib * MIB_PER_GIB * MIB)
      gib = wanted
      const point = await measure(zblkfs, file, gib)
      console.log(point)
      points.push(point)
    }
    return growths(points, realGib)
  } finally {
    await zblkfs.unmount()
  }
}

async function writeReal(file: string, fromGib: number, toGib: number): Promise<void> {
  const piece = Buffer.alloc(MIB)
  const fd = openSync(file, 'a')
  for (let i = fromGib * MIB_PER_GIB; i < toGib * MIB_PER_GIB; i++) {
    interrupted.throwIfAborted()
    writeSync(fd, randomFillSync(piece))
    await setImmediate()
  }
  fsyncSync(fd)
  closeSync(fd)
}

async function measure(zblkfs: MountedZblkfs, file: string, gib: number): Promise<Point> {
  await zblkfs.sync()
  if (statSync(file).size !== gib * MIB_PER_GIB * MIB) throw new Error(`${file} is not of ${gib} GiB`)
  await dropPages(file)
  forgetMemoryPeak(zblkfs.pid())
  const mib = Math.min(gib, READ_GIB_MAX) * MIB_PER_GIB
  // The last part, whose tree is as deep as that of the whole file.
  const skip = gib * MIB_PER_GIB - mib
  const readMbPerSecond = await dd(mib * MIB, `if=${file}`, 'of=/dev/null', `skip=${skip}`, `count=${mib}`)
  const memoryPeakMib = memoryMib(zblkfs.pid(), 'VmHWM')
  const memoryEndMib = memoryMib(zblkfs.pid(), 'VmRSS')
  const small = join(zblkfs.directory, 'small')
  const commitMs = await syncTime(small, zblkfs)
  const syncMs = await syncTime(small)
  const mounts: number[] = []
  for (let i = 0; i < MOUNTS; i++) {
    await zblkfs.unmount()
    const start = performance.now()
    await zblkfs.mount()
    statSync(file)
    mounts.push(performance.now() - start)
  }
  const databaseGib = databaseBytes(zblkfs.database) / MIB / MIB_PER_GIB
  return {
    gib,
    databaseGib,
    readMbPerSecond,
    memoryPeakMib,
    memoryEndMib,
    syncMs,
    commitMs,
    mountMs: median(mounts),
  }
}

/** The median of 4 KiB written and synced; with `zblkfs` by a transaction, not an fsync. */
async function syncTime(file: string, zblkfs?: MountedZblkfs): Promise<number> {
  const page = randomFillSync(Buffer.alloc(4096))
  const fd = openSync(file, 'w')
  const times: number[] = []
  for (let i = 0; i < COMMITS; i++) {
    const start = performance.now()
    writeSync(fd, page, 0, page.length, i * page.length)
    if (zblkfs === undefined) fsyncSync(fd)
    else await zblkfs.sync()
    times.push(performance.now() - start)
  }
  closeSync(fd)
  return median(times)
}

const growths = (points: readonly Point[], realGib: number): readonly Growth[] => [
  ...growthsOfFiles(points, realGib),
  ...growthsOfDatabases(points),
]

const curvesOf =
  (points: readonly Point[]) =>
  (name: string, y: (point: Point) => number): Curve => ({
    name,
    points: points.map(point => [point.gib, y(point)] as const),
  })

function growthsOfFiles(points: readonly Point[], realGib: number): readonly Growth[] {
  const fileSize = { label: 'file size, GiB', scale: 'log' } as const
  const curve = curvesOf(points)
  const disk = points.at(-1)?.databaseGib.toFixed(1)
  return [
    {
      name: 'read-throughput',
      plot: {
        title: 'Sequential read',
        x: fileSize,
        y: { label: 'MB/s', scale: 'linear' },
        curves: [curve('read by the MiB', point => point.readMbPerSecond)],
      },
      description:
        `The mount's pages are dropped before each point. Files up to ${realGib} GiB are written; larger files consist of ` +
        `blocks that share these bytes, so the database of the last point takes ${disk} GiB on disk. Of files above ` +
        `${READ_GIB_MAX} GiB, the last ${READ_GIB_MAX} GiB are read. A block is found through a tree whose depth is ` +
        "logarithmic in the size. Once the database exceeds the host's memory, the disk limits the speed.",
    },
    {
      name: 'resident-memory',
      plot: {
        title: 'Resident memory of the daemon while a file is read',
        x: fileSize,
        y: { label: 'MiB', scale: 'linear' },
        curves: [
          curve('at most', point => point.memoryPeakMib),
          curve('afterwards', point => point.memoryEndMib),
        ],
      },
      description:
        `This is Node, its modules, and the caches, which are bounded. Up to ${realGib} GiB the same daemon has written ` +
        'the second half of the file before and keeps those buffers; for larger files it has only copied.',
    },
  ]
}

function growthsOfDatabases(points: readonly Point[]): readonly Growth[] {
  const databaseSize = { label: 'size of what the database holds, GiB', scale: 'log' } as const
  const curve = curvesOf(points)
  return [
    {
      name: 'commit-latency',
      plot: {
        title: '4 KiB written and synced',
        x: databaseSize,
        y: { label: 'ms, median', scale: 'linear' },
        curves: [
          curve('by an fsync', point => point.syncMs),
          curve('as a transaction', point => point.commitMs),
        ],
      },
      description: `The median of ${COMMITS} writes to a small file next to the large one. An fsync writes to the intent log; a transaction changes one path of each tree.`,
    },
    {
      name: 'mount-time',
      plot: {
        title: 'From mount to the first answered stat',
        x: databaseSize,
        y: { label: 'ms, median', scale: 'linear' },
        curves: [curve('mount', point => point.mountMs)],
      },
      description: `The median of ${MOUNTS} mounts. Mounting reads the superblock and the root directory; most of the time is the start of Node.`,
    },
  ]
}
