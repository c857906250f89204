import { work } from '../measure.ts'
import type { Workload } from '../workload.ts'

const append = (sync: 'each' | 'end', part: number): Workload => ({
  name: `appends of 500 bytes, ${sync === 'each' ? 'each synced' : 'synced at the end'}`,
  unit: '/s',
  places: ['auto', 'zblk1', 'host', 'bindfs'],
  goal: { of: 'host', atLeast: sync === 'each' ? 0.6 : 0.1 },
  run: ({ directory }, { count: all }) => {
    const { seconds, count } = work('append', `${directory}/records`, 500, Math.ceil(all / part), sync)
    return count / seconds
  },
})

export const appendOnce = append('end', 1)
export const appendEach = append('each', 8)
