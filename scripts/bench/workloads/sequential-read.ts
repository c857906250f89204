import { join } from 'node:path'
import { MIB } from '../measure.ts'
import { dd, dropPages, sha256 } from '../programs.ts'
import type { Place } from '../places/place.ts'
import type { Setting, Workload } from '../workload.ts'
import { writeMeanwhile } from './writer.ts'

const TARGETS: Workload['targets'] = [
  { places: ['auto', 'fuse-native'], of: 'own no-op', atLeast: 0.85 },
  { places: ['zblk1'], of: 'own no-op', atLeast: 0.75 },
]

/** Drops the mount's pages: those of all places would displace the memory that keeps the stores warm. */
async function readAll(file: string, { mib }: Setting): Promise<number> {
  await dropPages(file)
  const rate = await dd(mib * MIB, `if=${file}`, 'of=/dev/null', `count=${mib}`)
  await dropPages(file)
  return rate
}

/** Reads a file in units of 1 MiB, with the mount's pages dropped and the store warm. */
export const sequentialRead: Workload = {
  name: 'sequential read',
  unit: 'MB/s',
  places: ['auto', 'zblk1', 'fuse-native', 'no-op', 'no-op native', 'bindfs', 'fuse2fs', 'qemu', 's3backer'],
  ceiling: 'own no-op',
  targets: TARGETS,
  run: async ({ read }, setting) => await readAll(read, setting),
  digest: async ({ read }) => await sha256(read),
}

/** The same while another process writes 32 MiB/s to another file of the same mount, with a sync each second. */
export const sequentialReadBesideWriter: Workload = {
  name: 'sequential read beside a writer of 32 MiB/s',
  unit: 'MB/s',
  places: ['auto', 'zblk1', 'no-op', 'bindfs', 'fuse2fs'],
  ceiling: 'own no-op',
  targets: [],
  run: async ({ name, directory = '', read, written }, setting) =>
    await writeMeanwhile(
      name === 'no-op' ? written : join(directory, 'writer'),
      async () => await readAll(read, setting),
    ),
}

/** By place, the digest of its file after the sequential write. */
const moments = new Map<Place, string>()

/** To be called while the file equals the setting's source. */
export async function rememberMoment(place: Place): Promise<void> {
  if (place.zblkfs !== undefined) moments.set(place, await place.zblkfs.sync())
}

const pathOfMoment = (place: Place): string =>
  place.zblkfs === undefined ? place.read : join(place.zblkfs.directory, `@${moments.get(place)}`, 'file')

/** Reads the old state of the file, after other workloads have changed it at random offsets. */
export const sequentialReadOfPast: Workload = {
  name: 'sequential read of /@tid',
  unit: 'MB/s',
  places: ['auto', 'zblk1', 'no-op'],
  ceiling: 'own no-op',
  targets: [],
  run: async (place, setting) => await readAll(pathOfMoment(place), setting),
  digest: async place => await sha256(pathOfMoment(place)),
}
