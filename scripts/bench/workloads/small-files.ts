import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { run, work } from '../programs.ts'
import type { Place } from '../places/place.ts'
import type { Setting, Workload } from '../workload.ts'

const COUNT_MAX = 10_000

const directoryOf = ({ directory = '' }: Place): string => join(directory, 'small')

async function create(place: Place, { count: wanted }: Setting): Promise<number> {
  const { seconds, count } = await work('createFiles', directoryOf(place), Math.min(wanted, COUNT_MAX))
  return count / seconds
}

/** Every other workload needs the files, which an earlier one may have left, removed or not made. */
const withFiles =
  (task: string): Workload['run'] =>
  async (place, setting) => {
    if (!existsSync(directoryOf(place))) await create(place, setting)
    const { seconds, count } = await work(task, directoryOf(place))
    return count / seconds
  }

const smallFiles = (what: string, rest: Pick<Workload, 'targets' | 'run' | 'digest'>): Workload => ({
  name: `files of 1 KiB, ${what}`,
  unit: '/s',
  places: ['auto', 'host', 'bindfs', 'fuse2fs'],
  ceiling: 'host',
  ...rest,
})

export const createFiles = smallFiles('created', {
  targets: [{ places: ['auto'], atLeast: 3000 }],
  run: async (place, setting) => {
    rmSync(directoryOf(place), { recursive: true, force: true })
    return await create(place, setting)
  },
  digest: async place => await run('sh', '-c', 'cd "$1" && cat -- * | sha256sum', 'sh', directoryOf(place)),
})

export const listFiles = smallFiles('listed with their attributes', {
  targets: [],
  run: withFiles('listFiles'),
})

export const readFiles = smallFiles('read', { targets: [], run: withFiles('readFiles') })

export const removeFiles = smallFiles('removed', { targets: [], run: withFiles('removeFiles') })
