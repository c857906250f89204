/** The kernel's list of mounts. Reading it does not access any mount, so a dead one cannot block it. */
import { readFileSync } from '../../store/os-files.ts'
import { textOf } from '../../store/os-text.ts'

/** A line of /proc/self/mountinfo. Source: proc_pid_mountinfo(5). */
export interface MountedDirectory {
  /** The kernel's id of this mount; it may be reused after an unmount. */
  readonly id: number
  readonly mountPoint: string
  /** The directory of the filesystem that is mounted there: `/`, except for a bind mount of a subdirectory. */
  readonly root: string
  /** Device number as `MAJOR:MINOR`, also the name of the mount's directory in /sys/class/bdi. */
  readonly device: string
  readonly type: string
  readonly source: string
  /** The mount's and the filesystem's options; those of a FUSE mount include the mounting user as `user_id=`. */
  readonly options: readonly string[]
}

/** Every mount of this process's namespace, in the order of mounting. */
export function mountTable(): readonly MountedDirectory[] {
  return readFileSync('/proc/self/mountinfo', 'latin1')
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

/** The topmost mount at a directory, given by its real path. */
export const mountedAt = (mountPoint: string): MountedDirectory | undefined =>
  mountTable().findLast(entry => entry.mountPoint === mountPoint)

/** A field, one character per byte, in which the kernel has written some bytes in octal. */
function unescape(field: string): string {
  const bytes = field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(parseInt(octal, 8)),
  )
  return textOf(Buffer.from(bytes, 'latin1'))
}
