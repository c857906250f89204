/** Checks the files next to a database before SQLite opens them: it opens them by name and follows links. */
import { lstatSync, statSync } from '../../os-files.ts'
import { isTrusted, shown, SideFileError } from '../../side-files.ts'
import type { DatabasePlace } from './database-place.ts'
import { userName } from './user-name.ts'
import { thisUser } from '../../segment-files/log-directory.ts'

/** The suffixes of SQLite's files. */
const SUFFIXES = ['-wal', '-shm', '-journal']

/** @throws SideFileError if one of SQLite's files is a link, not a regular file, or another user's. */
export function assertPlainFiles(place: DatabasePlace): void {
  const owner = statSync(place.held, { throwIfNoEntry: false })?.uid ?? thisUser().uid
  for (const path of SUFFIXES.map(suffix => place.held + suffix)) {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found === undefined) continue
    if (!found.isFile())
      throw new SideFileError(`${shown(path)} is not a regular file: SQLite did not create it; move it away`)
    if (!isTrusted(found.uid, owner))
      throw new SideFileError(
        `${shown(path)} belongs to ${userName(found.uid)}, who does not own the database`,
      )
  }
}
