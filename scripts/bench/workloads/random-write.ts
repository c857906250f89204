import { MIB, work } from '../measure.ts'
import type { Workload } from '../workload.ts'

const randomWrite = (sync: 'each' | 'end', atLeast: number, part: number): Workload => ({
  name: `random 4 KiB writes, ${sync === 'each' ? 'each synced' : 'synced at the end'}`,
  unit: '/s',
  places: ['auto', 'zblk1', 'host', 'bindfs', 'fuse2fs'],
  goal: { of: 'host', atLeast },
  run: ({ written }, { mib, count: all }) => {
    const { seconds, count } = work('randomWrites', written, mib * MIB, Math.ceil(all / part), sync)
    return count / seconds
  },
})

export const randomWriteOnce = randomWrite('end', 0.5, 1)
export const randomWriteEach = randomWrite('each', 0.6, 8)
