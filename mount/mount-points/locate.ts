/**
 * Resolves a path to a zblkfs mount and a path in its tree, from the kernel's list of mounts and the root of each, so that
 * bind mounts of a subdirectory work. No zblkfs mount is accessed, because its daemon may be stopped or dead: only links
 * outside these mounts are followed (see {@link followInside}).
 */
import { lstatSync, readlinkSync, workingDirectory } from '../../store/os-files.ts'
import { realpath } from '../../store/os-files-async.ts'
import { basename, dirname, isAbsolute, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FILE_SYSTEM_TYPE } from '../drivers/kernel/mount-point.ts'
import { MountError } from '../drivers/driver.ts'
import { type MountedDirectory, mountTable } from './mount-table.ts'

export const NO_WORKING_DIRECTORY =
  'the working directory has no path (it was removed, or is too deep): change to another'

const LINKS_MAX = 40
const FOLLOW_TIMEOUT_MS = 2000

export interface Location {
  /** Absolute; links outside zblkfs mounts are followed. */
  readonly path: string
  /** The zblkfs mount that contains it. */
  readonly mount: MountedDirectory | undefined
  /** Relative to the root of the filesystem that is mounted there; '' for the root, and outside of mounts. */
  readonly inner: string
  /** The symbolic links that were followed, and their owners. */
  readonly links: readonly FollowedLink[]
}

export interface FollowedLink {
  readonly path: string
  readonly uid: number
}

/** @throws MountError if the path is relative and the working directory has no path, or links form a circle. */
export function locate(path: string): Location {
  const mounts = mountTable()
  const parts = (isAbsolute(path) ? path : `${namedWorkingDirectory()}/${path}`).split('/')
  let current = '/'
  const links: FollowedLink[] = []
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    if (part === '' || part === '.') continue
    if (part === '..') {
      current = dirname(current)
      continue
    }
    const next = join(current, part)
    const link = isOurs(innermost(mounts, next)) ? undefined : linkAt(next)
    if (link === undefined) {
      current = next
      continue
    }
    const { target, uid } = link
    links.push({ path: next, uid })
    if (links.length > LINKS_MAX) throw new MountError(`${path} leads through too many symbolic links`)
    parts.unshift(...target.split('/'))
    if (isAbsolute(target)) current = '/'
  }
  const mount = innermost(mounts, current)
  return mount !== undefined && isOurs(mount)
    ? { path: current, mount, inner: innerOf(mount, current), links }
    : { path: current, mount: undefined, inner: '', links }
}

/**
 * Also follows links inside the mount, except for the last component. Requires a live daemon, which must answer for each
 * component.
 */
export async function followInside(location: Location): Promise<Location> {
  if (location.mount === undefined || location.path === location.mount.mountPoint) return location
  const parent = dirname(location.path)
  const late = sleep(FOLLOW_TIMEOUT_MS, undefined, { ref: false })
  // A missing path has no links to follow.
  const real = await Promise.race([realpath(parent).catch(() => undefined), late])
  return real === undefined || real === parent ? location : locate(join(real, basename(location.path)))
}

/** @throws MountError if it was removed, or its path is too long for the kernel. */
function namedWorkingDirectory(): string {
  try {
    return workingDirectory()
  } catch (error) {
    throw new MountError(NO_WORKING_DIRECTORY, { cause: error })
  }
}

const isOurs = (mount: MountedDirectory | undefined): boolean => mount?.type === FILE_SYSTEM_TYPE

function linkAt(path: string): { readonly target: string; readonly uid: number } | undefined {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false })
    return found?.isSymbolicLink() === true ? { target: readlinkSync(path), uid: found.uid } : undefined
  } catch {
    return undefined
  }
}

/** The mount that contains a path; of several at the same place, the topmost. */
function innermost(mounts: readonly MountedDirectory[], path: string): MountedDirectory | undefined {
  let found: MountedDirectory | undefined
  for (const mount of mounts) {
    const { mountPoint } = mount
    const isAbove = path === mountPoint || path.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`)
    if (isAbove && mountPoint.length >= (found?.mountPoint.length ?? 0)) found = mount
  }
  return found
}

/** The kernel's root field ends in this if the mounted directory was removed. */
const DELETED = '//deleted'

function innerOf({ mountPoint, root }: MountedDirectory, path: string): string {
  if (root.endsWith(DELETED))
    throw new MountError(`the directory that is mounted at ${mountPoint} was removed`)
  return join(root, relative(mountPoint, path)).replace(/^\/+/, '').replace(/\/$/, '')
}
