import { rmSync } from 'node:fs'
import { dd, dropPages, run, sha256 } from '../programs.ts'
import { MIB } from '../measure.ts'
import type { Workload } from '../workload.ts'

/** Writes a new file in units of 1 MiB and syncs it. */
export const sequentialWrite: Workload = {
  name: 'sequential write, synced',
  unit: 'MB/s',
  places: [
    'auto',
    'zblk1',
    'fuse-native',
    'no-op',
    'no-op native',
    'host',
    'bindfs',
    'fuse2fs',
    'qemu',
    's3backer',
  ],
  ceiling: 'host',
  targets: [{ places: ['auto', 'zblk1'], of: 'host', atLeast: 0.6 }],
  run: async ({ name, directory, written }, { mib, source }) => {
    // A place that serves a single file frees its blocks instead, if it supports that.
    if (directory === undefined)
      await run('fallocate', '--punch-hole', '--length', `${mib}M`, written).catch(() => undefined)
    else if (!name.startsWith('no-op')) rmSync(written, { force: true })
    const rate = await dd(mib * MIB, `if=${source}`, `of=${written}`, 'conv=fsync,notrunc')
    if (name !== 'host') await dropPages(written)
    return rate
  },
  digest: async ({ read }) => await sha256(read),
}
