import { dd, dropPages, MIB } from '../measure.ts'
import type { Workload } from '../workload.ts'

/** A file read by the MiB, with the mount's pages dropped and the store warm. */
export const sequentialRead: Workload = {
  name: 'sequential read',
  unit: 'MB/s',
  places: ['auto', 'zblk1', 'no-op', 'bindfs', 'fuse2fs'],
  goal: { of: 'no-op', atLeast: 0.75 },
  run: ({ read }, { mib }) => {
    dropPages(read)
    return dd(mib * MIB, `if=${read}`, 'of=/dev/null', `count=${mib}`) / 1e6
  },
}
