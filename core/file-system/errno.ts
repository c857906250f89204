/** Which errno an error means: the one place where errors become numbers. */
import { constants } from 'node:os'
import {
  ConflictError,
  CorruptRecordError,
  NoSpaceError,
  ObjectNotFoundError,
  ReadOnlyError,
} from '../../store/errors.ts'

export type ErrnoName = keyof typeof constants.errno | 'EREMOTEIO' | 'ENOATTR'

/** A failure that POSIX has a number for. */
export class ErrnoError extends Error {
  override readonly name = 'ErrnoError'
  readonly code: ErrnoName
  constructor(code: ErrnoName, message: string = code) {
    // It is an answer, given as often as a name is looked up that is not there: nobody reads where it was made.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.code = code
  }
}

/** Linux's numbers, those included that Node does not name. */
const NUMBERS: Readonly<Record<string, number>> = {
  ...constants.errno,
  EREMOTEIO: 121,
  ENOATTR: constants.errno.ENODATA,
}

/** The positive errno of an error. An unknown error is EIO; `unexpected` is called with it, to be logged. */
export function errnoOf(error: unknown, unexpected: (error: unknown) => void): number {
  if (error instanceof ErrnoError) return NUMBERS[error.code] ?? constants.errno.EIO
  if (error instanceof NoSpaceError) return constants.errno.ENOSPC
  if (error instanceof ReadOnlyError) return constants.errno.EROFS
  unexpected(error)
  if (error instanceof ConflictError) return constants.errno.EAGAIN
  if (error instanceof CorruptRecordError || error instanceof ObjectNotFoundError) return constants.errno.EIO
  return constants.errno.EIO
}
