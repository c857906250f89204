/** Checks whether a directory can be mounted over, without accessing a filesystem that may be mounted there already. */
import { systemCode } from '../../../store/errors.ts'
import { type Stats } from 'node:fs'
import { absolutePath, lstatSync, readdirSync, realpathSync } from '../../../store/os-files.ts'
import { basename, dirname, join } from 'node:path'
import { MountError } from '../driver.ts'
import { mountedAt } from '../../mount-points/mount-table.ts'

/** The filesystem type of our mounts in the mount table. */
export const FILE_SYSTEM_TYPE = 'fuse.zblkfs'

/**
 * The real path of a mount point.
 * @throws MountError if it is missing, not a directory, one of our mounts, or has entries (unless `nonEmpty`).
 */
export function checkMountPoint(path: string, nonEmpty: boolean): string {
  const real = realParent(path)
  const mounted = mountedAt(real)
  if (mounted?.type === FILE_SYSTEM_TYPE)
    throw new MountError(`${path} is already mounted (${mounted.source})`, { code: 'already-mounted', path })
  const stats = inspect(path, real)
  if (stats.isSymbolicLink()) return checkMountPoint(follow(path), nonEmpty)
  if (!stats.isDirectory()) throw new MountError(`${path} is not a directory: name an empty directory`)
  if (!nonEmpty && entriesIn(path, real) > 0)
    throw new MountError(`${path} is not empty`, { code: 'not-empty', path })
  return real
}

/** The path with all symbolic links but the last component followed. */
function realParent(path: string): string {
  const absolute = absolutePath(path)
  if (absolute === '/') return absolute
  try {
    return join(realpathSync(dirname(absolute)), basename(absolute))
  } catch (error) {
    throw missing(path, error)
  }
}

function inspect(path: string, real: string): Stats {
  try {
    return lstatSync(real)
  } catch (error) {
    if (codeOf(error) === 'ENOTCONN')
      throw new MountError(
        `${path} is a mount whose server has died: free it with 'fusermount3 -uz ${path}'`,
        {
          cause: error,
        },
      )
    throw missing(path, error)
  }
}

function follow(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    throw missing(path, error)
  }
}

function entriesIn(path: string, real: string): number {
  try {
    return readdirSync(real).length
  } catch (error) {
    throw new MountError(`${path} cannot be listed (${codeOf(error)}): mount on a directory of your own`, {
      cause: error,
    })
  }
}

function missing(path: string, error: unknown): MountError {
  const code = codeOf(error)
  return code === 'ENOENT'
    ? new MountError(`${path} does not exist: create it with 'mkdir -p ${path}'`, { cause: error })
    : new MountError(`${path} cannot be reached (${code}): check the permissions of its parent directories`, {
        cause: error,
      })
}

/** The code of a system error; `unknown` if it has none. */
const codeOf = (error: unknown): string => systemCode(error) ?? 'unknown'
