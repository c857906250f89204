/** Checks what an operation requires of a resolved path, each with its POSIX error. */
import { constants } from 'node:fs'
import { ErrnoError, type ErrnoName } from '../file-system/errno.ts'
import type { Attributes } from '../file-system/operations.ts'
import { isType, type Found } from './walk.ts'

const { S_IFDIR } = constants

/** @throws ErrnoError ENOENT; ENOTDIR or EINVAL if it is of another type. */
export function existing({ attributes, ending }: Found, type?: number): Attributes {
  if (attributes === undefined) throw new ErrnoError('ENOENT')
  if (ending !== undefined && !isType(attributes, S_IFDIR)) throw new ErrnoError('ENOTDIR')
  if (type !== undefined && !isType(attributes, type))
    throw new ErrnoError(type === S_IFDIR ? 'ENOTDIR' : 'EINVAL')
  return attributes
}

/** The last name of a path, which may exist or not. @throws ErrnoError `code` for the root. */
export function placed({ place }: Found, code: ErrnoName): NonNullable<Found['place']> {
  if (place === undefined) throw new ErrnoError(code)
  return place
}

/** A name that does not exist yet, for a new inode of that type. @throws ErrnoError EEXIST, ENOENT */
export function free({ place, attributes, ending }: Found, type?: number): NonNullable<Found['place']> {
  if (attributes !== undefined || place === undefined) throw new ErrnoError('EEXIST')
  if (ending !== undefined && type !== S_IFDIR) throw new ErrnoError('ENOENT')
  return place
}

/** The name of a file that may exist. @throws ErrnoError EISDIR for a directory; ENOTDIR, ENOENT */
export function replaceable(found: Found): NonNullable<Found['place']> {
  const { place, attributes, ending } = found
  if (place === undefined || (attributes !== undefined && isType(attributes, S_IFDIR)))
    throw new ErrnoError('EISDIR')
  if (ending !== undefined) throw new ErrnoError(attributes === undefined ? 'ENOENT' : 'ENOTDIR')
  return place
}
