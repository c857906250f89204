import { existsSync, rmSync } from 'node:fs'
import { work } from '../measure.ts'
import type { Place } from '../places.ts'
import type { Setting, Workload } from '../workload.ts'

const directoryOf = ({ directory }: Place): string => `${directory}/small`

const smallFiles = (what: string, run: Workload['run']): Workload => ({
  name: `files of 1 KiB, ${what}`,
  unit: '/s',
  places: ['auto', 'host', 'bindfs'],
  goal: { atLeast: 3000 },
  run,
})

const rate = ({ seconds, count }: { readonly seconds: number; readonly count: number }): number =>
  count / seconds

const create = (place: Place, { count }: Setting): number =>
  rate(work('createFiles', directoryOf(place), Math.ceil(count / 2)))

/** What an earlier workload may have left, or removed. */
function makeSure(place: Place, setting: Setting): void {
  if (!existsSync(directoryOf(place))) create(place, setting)
}

export const createFiles = smallFiles('created', (place, setting) => {
  rmSync(directoryOf(place), { recursive: true, force: true })
  return create(place, setting)
})

export const readFiles = smallFiles('listed and read', (place, setting) => {
  makeSure(place, setting)
  return rate(work('readFiles', directoryOf(place)))
})

export const removeFiles = smallFiles('removed', (place, setting) => {
  makeSure(place, setting)
  return rate(work('removeFiles', directoryOf(place)))
})
