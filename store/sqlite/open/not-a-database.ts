/** Why a path is not a database of zblkfs, in the same words wherever that is found. */
import { basename } from 'node:path'
import { CannotOpenError } from '../../errors.ts'
import { bytesOf } from '../../os-text.ts'

/** Linux's limit for a name, and the longest suffix without which a database cannot be opened (SQLite's). */
const NAME_MAX_BYTES = 255
const SUFFIX = '-journal'

/** @param reason a clause: `it is a directory`. */
export const notADatabase = (path: string, reason: string): CannotOpenError =>
  new CannotOpenError(`${path} is not a zblkfs database: ${reason}`, { code: 'not-a-database', path })

/** @throws CannotOpenError if the files beside a database of this name would have names that are too long. */
export function assertNameFits(path: string): void {
  const bytes = bytesOf(basename(path)).length
  const maxBytes = NAME_MAX_BYTES - SUFFIX.length
  if (bytes > maxBytes)
    throw new CannotOpenError(
      `${path} cannot be a database: its name has ${bytes} bytes, and the names of the files beside it begin with it; ` +
        `at most ${maxBytes} are possible`,
    )
}
