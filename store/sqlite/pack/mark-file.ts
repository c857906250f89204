/** The file of the mark memory (store/indexed/pack/mark-memory.ts) in the directory of a database's log. */
import { closeSync, constants, fstatSync } from 'node:fs'
import { statSync } from '../../os-files.ts'
import { join } from 'node:path'
import { MarkMemory } from '../../indexed/pack/mark-memory.ts'
import { giveTo, isMissing, isTrusted, openSideFile, SideFileError } from '../../side-files.ts'
import { makeLogDirectory } from '../../segment-files/log-directory.ts'
import { logDirectory } from '../log.ts'

const MARK_NAME = 'mark'

export const markPath = (database: string): string => join(logDirectory(database), MARK_NAME)

/** A temporary one if the file cannot be opened or made. */
export function openMarkMemory(database: string, isTemporary: boolean): MarkMemory {
  if (isTemporary) return MarkMemory.temporary()
  const path = markPath(database)
  try {
    const owner = statSync(database)
    closeSync(makeLogDirectory(logDirectory(database), owner))
    claim(path, owner)
    return MarkMemory.inFile(path)
  } catch {
    return MarkMemory.temporary()
  }
}

/** Makes the file if it is missing, and checks that no one else's is used. @throws SideFileError, and as open(2) */
function claim(path: string, owner: { readonly uid: number; readonly gid: number }): void {
  for (const name of [path, `${path}-journal`]) {
    const isJournal = name !== path
    let fd: number
    try {
      fd = openSideFile(name, isJournal ? constants.O_RDONLY : constants.O_RDWR | constants.O_CREAT)
    } catch (error) {
      if (isJournal && isMissing(error)) continue
      throw error
    }
    try {
      if (!isTrusted(fstatSync(fd).uid, owner.uid)) throw new SideFileError(`${name} belongs to another user`)
      if (!isJournal) giveTo(fd, owner)
    } finally {
      closeSync(fd)
    }
  }
}
