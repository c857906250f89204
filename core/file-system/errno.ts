/** The only mapping of errors to errno numbers. */
import { constants } from 'node:os'
import { NoSpaceError, ReadOnlyError } from '../../store/errors.ts'

export type ErrnoName = keyof typeof constants.errno

/** A failure with a POSIX number. */
export class ErrnoError extends Error {
  override readonly name = 'ErrnoError'
  readonly code: ErrnoName
  constructor(code: ErrnoName, message: string = code) {
    // An ordinary answer, for example to each lookup of a missing name: a stack trace would be expensive and useless.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.code = code
  }
}

/**
 * What a lookup throws for a name that does not exist, if that may be cached: until an operation of the same driver creates the
 * name, or the filesystem invalidates it.
 */
export const NAME_ABSENT = new ErrnoError('ENOENT', 'there is no such name')

/** What getxattr throws for an attribute that an inode does not have: the kernel asks each new file for `security.capability`. */
export const ATTRIBUTE_ABSENT = new ErrnoError('ENODATA', 'there is no such attribute')

/**
 * The positive errno of an error. Any other error is EIO, and is passed to `unexpected` to be logged: damage, and conflicts,
 * which a retry of the operation cannot solve.
 */
export function errnoOf(error: unknown, unexpected: (error: unknown) => void): number {
  if (error instanceof ErrnoError) return constants.errno[error.code]
  if (error instanceof NoSpaceError) return constants.errno.ENOSPC
  if (error instanceof ReadOnlyError) return constants.errno.EROFS
  unexpected(error)
  return constants.errno.EIO
}
