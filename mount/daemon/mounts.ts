/** Lists the zblkfs mounts on this machine without accessing them, as they may be dead. */
import { FILE_SYSTEM_TYPE } from '../drivers/kernel/mount-point.ts'
import { type MountedDirectory, mountTable } from '../mount-points/mount-table.ts'

/** All zblkfs mounts, in the order of mounting. */
export const listMounts = (): readonly MountedDirectory[] =>
  mountTable().filter(({ type }) => type === FILE_SYSTEM_TYPE)

/** The user who mounted it. */
export function ownerOf(mount: MountedDirectory): number {
  const option = mount.options.find(option => option.startsWith('user_id='))
  return Number(option?.slice('user_id='.length) ?? 0)
}
