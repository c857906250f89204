/**
 * The moments that read-only processes are reading. Each such process has a file beside the database,
 * `DATABASE-reader-PID-NUMBER`, with the tids in it, and holds the file's lock (flock(2)) while it lives. A pack keeps
 * these moments, and removes the files of processes that have ended.
 *
 * A reader writes its file first and then checks whether its moments are still kept; a pack records what it keeps first
 * and then looks for files. So one of the two sees the other.
 */
import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { formatTid, parseTid, type Tid } from '../../ids.ts'
import { tryLock } from './flock.ts'

let count = 0

const prefixOf = (database: string): string => `${basename(database)}-reader-`

export class ReaderPin {
  readonly #path: string
  readonly #fd: number

  /** @throws where the directory of `database` cannot be written. */
  constructor(database: string) {
    this.#path = join(dirname(database), `${prefixOf(database)}${process.pid}-${++count}`)
    this.#fd = openSync(this.#path, 'w', 0o600)
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

/** The moments that live processes read. */
export function pinnedMoments(database: string): readonly Tid[] {
  const directory = dirname(database)
  const prefix = prefixOf(database)
  return readdirSync(directory)
    .filter(name => name.startsWith(prefix))
    .flatMap(name => readPin(join(directory, name)))
}

function readPin(path: string): readonly Tid[] {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch {
    // Its reader has ended meanwhile.
    return []
  }
  try {
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
