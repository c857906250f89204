import { randomWrites } from '../fio.ts'
import { databaseBytes, MIB } from '../measure.ts'
import { sha256 } from '../programs.ts'
import type { Workload } from '../workload.ts'

const PAGE_BYTES = 4096

/**
 * Random writes into the sequentially written file; the same job on the host. Without s3backer, whose cache keeps
 * synced data in memory.
 */
const randomWrite = (sync: 'each' | 'end', atLeast: number, part: number): Workload => ({
  name: `random 4 KiB writes, ${sync === 'each' ? 'each synced' : 'synced at the end'}`,
  unit: '/s',
  places: ['auto', 'zblk1', 'host', 'bindfs', 'fuse2fs', 'qemu'],
  ceiling: 'host',
  targets: [{ places: ['auto', 'zblk1'], of: 'host', atLeast }],
  run: async ({ written }, { mib, count }, round) =>
    await randomWrites(written, { bytes: mib * MIB, count: Math.ceil(count / part), sync, seed: round + 1 }),
  digest: async ({ read }) => await sha256(read),
})

export const randomWriteOnce = randomWrite('end', 0.5, 1)
export const randomWriteEach = randomWrite('each', 0.6, 8)

/**
 * Growth of the database per byte that such writes change. It is packed before and after, to the same moment,
 * so that both the old and the new data are kept.
 */
export const randomWriteGrowth: Workload = {
  name: 'growth by random 4 KiB writes, old data kept',
  unit: 'B/B',
  places: ['auto', 'zblk1'],
  targets: [{ places: ['auto', 'zblk1'], atMost: 1.5 }],
  roundsMax: 1,
  run: async ({ zblkfs, written }, { mib, count }, round) => {
    // No warm-up needed.
    if (round === 0 || zblkfs === undefined) return Number.NaN
    const before = await zblkfs.sync()
    await zblkfs.pack(before)
    const bytes = databaseBytes(zblkfs.database)
    await randomWrites(written, { bytes: mib * MIB, count, sync: 'end', seed: 1000 })
    await zblkfs.pack(before)
    return (databaseBytes(zblkfs.database) - bytes) / (count * PAGE_BYTES)
  },
}

/** Growth after the old data is dropped. */
export const randomWriteGrowthPresent: Workload = {
  ...randomWriteGrowth,
  name: 'growth by random 4 KiB writes, old data dropped',
  run: async ({ zblkfs, written }, { mib, count }, round) => {
    if (round === 0 || zblkfs === undefined) return Number.NaN
    await zblkfs.pack(await zblkfs.sync())
    const bytes = databaseBytes(zblkfs.database)
    await randomWrites(written, { bytes: mib * MIB, count, sync: 'end', seed: 2000 })
    await zblkfs.pack(await zblkfs.sync())
    return (databaseBytes(zblkfs.database) - bytes) / (count * PAGE_BYTES)
  },
}
