import { randomReads } from '../fio.ts'
import { MIB } from '../measure.ts'
import type { Workload } from '../workload.ts'

const randomRead = (jobs: number): Workload => ({
  name: `random 4 KiB reads, ${jobs} ${jobs === 1 ? 'job' : 'jobs'}`,
  unit: '/s',
  places: ['auto', 'zblk1', 'fuse-native', 'no-op', 'no-op native', 'bindfs', 'fuse2fs', 'qemu', 's3backer'],
  ceiling: 'own no-op',
  targets: [{ places: ['auto', 'zblk1', 'fuse-native'], of: 'own no-op', atLeast: 0.5 }],
  run: async ({ read }, { mib, seconds }) => await randomReads(read, { bytes: mib * MIB, jobs, seconds }),
})

export const randomRead1 = randomRead(1)
export const randomRead4 = randomRead(4)
