/**
 * The moments that read-only processes are reading. Each such process has a file next to the database,
 * `DATABASE-reader-PID-NUMBER`, which lists the tids, and holds the file's lock (flock(2)) while it lives. A pack keeps
 * these moments, and removes the files of dead processes.
 *
 * A reader writes its file first and then checks whether its moments are still kept; a pack first records what it
 * keeps and then looks for files. So at least one of them sees the other.
 *
 * A pin counts only if it belongs to the database's owner, to root, or to the user who packs: otherwise any user who may
 * create files in the directory could keep history for ever.
 */
import { systemCode } from '../../errors.ts'
import { closeSync, constants, fstatSync, ftruncateSync, writeSync } from 'node:fs'
import { readdirSync, readFileSync, rmSync, statSync } from '../../os-files.ts'
import { basename, dirname, join } from 'node:path'
import { formatTid, parseTid, type Tid } from '../../ids.ts'
import { isTrusted, openSideFile, SideFileError } from '../../side-files.ts'
import { tryLock } from '../../flock.ts'

let count = 0

const prefixOf = (database: string): string => `${basename(database)}-reader-`

export class ReaderPin {
  readonly #path: string
  readonly #fd: number

  /** @throws if no file can be created in the directory of `database`. */
  constructor(database: string) {
    this.#path = join(dirname(database), `${prefixOf(database)}${process.pid}-${++count}`)
    // A dead process may have had this pid. If the name is a link, this removes the link, not its target.
    rmSync(this.#path, { force: true })
    this.#fd = openSideFile(this.#path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL)
    tryLock(this.#fd)
  }

  /** Replaces the moments that are read. */
  set(moments: readonly Tid[]): void {
    ftruncateSync(this.#fd)
    writeSync(this.#fd, moments.map(moment => `${formatTid(moment)}\n`).join(''), 0)
  }

  release(): void {
    rmSync(this.#path, { force: true })
    closeSync(this.#fd)
  }
}

/** The moments that live processes are reading. */
export function pinnedMoments(database: string): readonly Tid[] {
  const directory = dirname(database)
  const prefix = prefixOf(database)
  const owner = statSync(database, { throwIfNoEntry: false })?.uid ?? 0
  return readdirSync(directory)
    .filter(name => name.startsWith(prefix))
    .flatMap(name => readPin(join(directory, name), owner))
}

function readPin(path: string, owner: number): readonly Tid[] {
  let fd: number
  try {
    fd = openSideFile(path, constants.O_RDONLY)
  } catch (error) {
    // Not a valid pin, another user's, or just removed by its reader.
    if (error instanceof SideFileError || systemCode(error) !== undefined) return []
    throw error
  }
  try {
    if (!isTrusted(fstatSync(fd).uid, owner)) return []
    if (tryLock(fd)) {
      rmSync(path, { force: true })
      return []
    }
    const lines = readFileSync(fd, 'latin1').split('\n')
    return lines.map(parseTid).filter(moment => moment !== undefined)
  } finally {
    closeSync(fd)
  }
}
