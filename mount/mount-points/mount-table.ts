/** What is mounted, as the kernel lists it. Reading the list touches no mount, so a dead one cannot hang it. */
import { readFileSync } from 'node:fs'

/** A line of /proc/self/mountinfo. Source: proc_pid_mountinfo(5). */
export interface MountedDirectory {
  /** The kernel's number of this place of the mount; after an unmount another mount may get it. */
  readonly id: number
  readonly mountPoint: string
  /** The directory of the filesystem that is mounted there: `/`, but for a bind mount of a subdirectory. */
  readonly root: string
  /** Device number as `MAJOR:MINOR`, also the name of the mount's directory in /sys/class/bdi. */
  readonly device: string
  readonly type: string
  readonly source: string
  /** The mount's and the filesystem's options; a FUSE mount's say `user_id=` of who mounted. */
  readonly options: readonly string[]
}

/** Every mount of this process's namespace, in the order they were made. */
export function mountTable(): readonly MountedDirectory[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap(line => {
      const [left, right] = line.split(' - ')
      const [id, , device, root, mountPoint, mountOptions] = left?.split(' ') ?? []
      const [type, source, superOptions] = right?.split(' ') ?? []
      if (device === undefined || mountPoint === undefined || type === undefined) return []
      const options = `${mountOptions ?? ''},${superOptions ?? ''}`.split(',')
      return [
        {
          id: Number(id),
          device,
          root: unescape(root ?? '/'),
          mountPoint: unescape(mountPoint),
          type,
          source: unescape(source ?? ''),
          options,
        },
      ]
    })
}

/** What is mounted at a directory, given by its real path: the uppermost mount there. */
export const mountedAt = (mountPoint: string): MountedDirectory | undefined =>
  mountTable().findLast(entry => entry.mountPoint === mountPoint)

const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
