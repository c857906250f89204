import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { sha256, work } from '../programs.ts'
import type { Workload } from '../workload.ts'

const fileOf = (directory = ''): string => join(directory, 'records')

/** Appends records of 100 to 4096 bytes to a file that is new in each round. */
const append = (sync: 'each' | 'end', part: number, targets: Workload['targets']): Workload => ({
  name: `appends of 100 to 4096 bytes, ${sync === 'each' ? 'each synced' : 'synced at the end'}`,
  unit: '/s',
  places: ['auto', 'zblk1', 'host', 'bindfs', 'fuse2fs'],
  ceiling: 'host',
  targets,
  run: async ({ directory }, { count: all }) => {
    rmSync(fileOf(directory), { force: true })
    const { seconds, count } = await work('append', fileOf(directory), Math.ceil(all / part), sync)
    return count / seconds
  },
  digest: async ({ directory }) => await sha256(fileOf(directory)),
})

export const appendOnce = append('end', 1, [])
export const appendEach = append('each', 8, [])
