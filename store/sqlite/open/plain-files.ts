/** SQLite opens the files beside a database by name and follows links: what lies there is checked first. */
import { lstatSync, statSync } from 'node:fs'
import { isTrusted, shown, SideFileError } from '../../segment-files/held-path.ts'
import type { DatabasePlace } from './database-place.ts'
import { userName } from './user-name.ts'

/** The suffixes of SQLite's files. */
const SUFFIXES = ['-wal', '-shm', '-journal']

/** @throws SideFileError where one of SQLite's files is a link, not a regular file, or another user's. */
export function assertPlainFiles(place: DatabasePlace): void {
  const owner = statSync(place.held, { throwIfNoEntry: false })?.uid ?? process.geteuid?.() ?? 0
  for (const path of SUFFIXES.map(suffix => place.held + suffix)) {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found === undefined) continue
    if (!found.isFile())
      throw new SideFileError(`${shown(path)} is not a regular file: SQLite did not make it; move it away`)
    if (!isTrusted(found.uid, owner))
      throw new SideFileError(
        `${shown(path)} belongs to ${userName(found.uid)}, who does not own the database`,
      )
  }
}
