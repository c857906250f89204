import { rmSync } from 'node:fs'
import { dd, MIB } from '../measure.ts'
import type { Workload } from '../workload.ts'

/** A new file, written by the MiB and synced. */
export const sequentialWrite: Workload = {
  name: 'sequential write, synced',
  unit: 'MB/s',
  places: ['auto', 'zblk1', 'host', 'no-op', 'bindfs', 'fuse2fs'],
  goal: { of: 'host', atLeast: 0.6 },
  run: ({ name, written }, { mib, source }) => {
    if (name !== 'no-op') rmSync(written, { force: true })
    return dd(mib * MIB, `if=${source}`, `of=${written}`, 'conv=fsync') / 1e6
  },
}
