/** The mounts of zblkfs on this machine, told without touching them: they may be dead. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FILE_SYSTEM_TYPE } from '../drivers/kernel/mount-point.ts'
import { type MountedDirectory, mountTable } from '../mount-points/mount-table.ts'

const RESOLVE_TIMEOUT_MS = 2000

/** Every mount of zblkfs, in the order of mounting. */
export const listMounts = (): readonly MountedDirectory[] =>
  mountTable().filter(({ type }) => type === FILE_SYSTEM_TYPE)

/** The user who mounted. */
export function ownerOf(mount: MountedDirectory): number {
  const option = mount.options.find(option => option.startsWith('user_id='))
  return Number(option?.slice('user_id='.length) ?? 0)
}

/**
 * The mount of zblkfs that a path lies in. Where the path as it is written lies in none, symbolic links are followed,
 * which may touch a mount and therefore is given up after a while.
 */
export async function findMountOf(path: string): Promise<MountedDirectory | undefined> {
  const mounts = listMounts()
  const absolute = resolve(path)
  const late = sleep(RESOLVE_TIMEOUT_MS, undefined, { ref: false })
  const followed = [
    async () => absolute,
    async () => join(await realpath(dirname(absolute)), basename(absolute)),
    async () => await realpath(absolute),
  ]
  for (const follow of followed) {
    const candidate = await Promise.race([follow().catch(() => undefined), late])
    const mount = candidate === undefined ? undefined : innermost(mounts, candidate)
    if (mount !== undefined) return mount
  }
  return undefined
}

function innermost(mounts: readonly MountedDirectory[], path: string): MountedDirectory | undefined {
  const isAbove = ({ mountPoint }: MountedDirectory): boolean =>
    path === mountPoint || path.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`)
  const above = mounts.filter(isAbove)
  const longest = Math.max(...above.map(({ mountPoint }) => mountPoint.length))
  return above.findLast(({ mountPoint }) => mountPoint.length === longest)
}
