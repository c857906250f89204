/** The error for a database whose format this version does not read. */
import { CannotOpenError } from './errors.ts'

export const otherFormat = (name: string, format: number, known: number): CannotOpenError =>
  format > known
    ? new CannotOpenError(
        `${name} has format ${format}, newer than the format ${known} of this version of zblkfs`,
        {
          code: 'newer-format',
          path: name,
        },
      )
    : new CannotOpenError(
        `${name} has format ${format}, which this version of zblkfs (format ${known}) does not read`,
        {
          code: 'older-format',
          path: name,
        },
      )
