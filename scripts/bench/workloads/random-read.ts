import { dropPages, MIB, randomReads } from '../measure.ts'
import type { Workload } from '../workload.ts'

const randomRead = (jobs: number): Workload => ({
  name: `random 4 KiB reads, ${jobs} ${jobs === 1 ? 'job' : 'jobs'}`,
  unit: '/s',
  places: ['auto', 'zblk1', 'no-op', 'bindfs', 'fuse2fs'],
  goal: { of: 'no-op', atLeast: 0.5 },
  run: ({ read }, { mib }) => {
    dropPages(read)
    return randomReads(read, mib * MIB, jobs)
  },
})

export const randomRead1 = randomRead(1)
export const randomRead4 = randomRead(4)
