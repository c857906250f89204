/** The segments of a database's log (log-layout.ts) as open files, a bounded number of them. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { Database } from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import { StoreError } from '../errors.ts'
import { TID_NONE, type Tid } from '../ids.ts'
import { readDatabaseId } from '../sqlite/open/database-id.ts'
import { hasData, isInvalidArgument, punchHole } from './file-ranges.ts'
import { fileRangesOf, logDirectory, segmentIndex, segmentOf, segmentPath, tailOf } from './log-layout.ts'
import { encodeSegmentHeader, readSegmentHeader } from './segment-header.ts'

const OPEN_MAX = 16
const BLOCK_BYTES = 512

/** A range of the log cannot be given. The caller knows whose bytes they are. */
export class LogDamageError extends Error {
  override readonly name = 'LogDamageError'
}

export class LogFiles {
  readonly #database: string
  readonly #id: string | undefined
  readonly #flags: 'r' | 'r+'
  readonly #open = new LRUCache<number, number>({
    max: OPEN_MAX,
    dispose: fd => closeSync(fd),
  })
  /** The last segment that was written past the kernel's cache; false where that cannot be done. */
  #direct: { readonly index: number; readonly fd: number } | false | undefined

  /** @param db the database whose log it is. @param id its id; undefined where that is damaged. */
  constructor(db: Database, use: 'read' | 'write', id: string | undefined = readDatabaseId(db)) {
    this.#database = db.name
    this.#id = id
    this.#flags = use === 'read' ? 'r' : 'r+'
  }

  close(): void {
    this.#open.clear()
    this.#closeDirect()
  }

  /** The descriptor of a segment; good until the next call. @throws LogDamageError where it is missing, or not ours. */
  segment(index: number): number {
    const open = this.#open.get(index)
    if (open !== undefined) return open
    const path = segmentPath(this.#database, index)
    const fd = this.#openFile(path)
    const problem = ownershipProblem(fd, this.#id, index, path, this.#database)
    if (problem !== undefined) {
      closeSync(fd)
      throw new LogDamageError(problem)
    }
    this.#open.set(index, fd)
    return fd
  }

  /**
   * A descriptor of a segment that writes past the kernel's cache: whole pages, from memory that lies on a page.
   * Undefined where the filesystem cannot. Good until a segment is made or removed, another one is asked for, or all is closed:
   * nothing may be on its way by then.
   * @throws LogDamageError as {@link segment}.
   */
  direct(index: number): number | undefined {
    if (this.#direct === false) return undefined
    if (this.#direct?.index === index) return this.#direct.fd
    this.#closeDirect()
    try {
      // The file that was looked at, and no other that has its name by now.
      const path = `/proc/self/fd/${this.segment(index)}`
      const fd = openSync(path, constants.O_RDWR | constants.O_DIRECT)
      this.#direct = { index, fd }
      return fd
    } catch (error) {
      if (!isInvalidArgument(error)) throw error
      this.#direct = false
      return undefined
    }
  }

  /** It cannot, though it did not say so at first. */
  forgoDirect(): void {
    this.#closeDirect()
    this.#direct = false
  }

  #closeDirect(): void {
    if (this.#direct === false) return
    if (this.#direct !== undefined) closeSync(this.#direct.fd)
    this.#direct = undefined
  }

  /** Makes an empty segment, in the place of what a transaction that failed may have left there. */
  create(index: number): number {
    const directory = logDirectory(this.#database)
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.#open.delete(index)
    this.#closeDirect()
    const fd = openSync(segmentPath(this.#database, index), 'w+', 0o600)
    this.#open.set(index, fd)
    this.#writeHeader(fd, index)
    return fd
  }

  /** Makes the names of new segments durable. */
  syncNames(): void {
    const directory = logDirectory(this.#database)
    for (const path of [directory, dirname(directory)]) {
      const fd = openSync(path, 'r')
      try {
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
    }
  }

  /** Removes a segment; its room is free even where somebody has it open. @throws LogDamageError as {@link segment}. */
  remove(index: number): void {
    ftruncateSync(this.segment(index))
    this.#open.delete(index)
    this.#closeDirect()
    rmSync(segmentPath(this.#database, index), { force: true })
  }

  /** Gives the room of whole units of one segment back; false where the filesystem cannot, or they are gone. */
  punch(lo: number, hi: number): boolean {
    const fd = this.#segmentIfThere(segmentOf(lo))
    return (
      fd !== undefined && fileRangesOf(lo, hi).every(({ offset, end }) => punchHole(fd, offset, end - offset))
    )
  }

  /** Whether units of one segment take any room. */
  takesRoom(lo: number, hi: number): boolean {
    const fd = this.#segmentIfThere(segmentOf(lo))
    return fd !== undefined && fileRangesOf(lo, hi).some(({ offset, end }) => hasData(fd, offset, end))
  }

  /**
   * Cuts off what lies behind `end`: no transaction that was committed has it.
   * @throws LogDamageError where that is another database's; then nothing was cut off.
   */
  cut(end: number): void {
    const tail = end === 0 ? { index: -1, length: 0 } : tailOf(end)
    const indexes = this.indexes().filter(index => index >= tail.index)
    for (const index of indexes) this.segment(index)
    for (const index of indexes) {
      if (index === tail.index) ftruncateSync(this.segment(index), tail.length)
      else this.remove(index)
    }
  }

  /** The segments that there are, in their order. */
  indexes(): readonly number[] {
    return segmentNames(this.#database)
      .map(segmentIndex)
      .filter(index => index !== undefined)
      .sort((a, b) => a - b)
  }

  /** Whether a segment's header is what was written. @throws LogDamageError as {@link segment}. */
  hasHeader(index: number): boolean {
    return readSegmentHeader(this.segment(index)) !== undefined
  }

  /** Writes a segment's header anew. */
  mendHeader(index: number): void {
    const fd = this.segment(index)
    this.#writeHeader(fd, index)
    fsyncSync(fd)
  }

  #writeHeader(fd: number, index: number): void {
    if (this.#id === undefined) throw new StoreError(damagedId(this.#database))
    writeSync(fd, encodeSegmentHeader({ id: this.#id, index }), 0, undefined, 0)
  }

  #segmentIfThere(index: number): number | undefined {
    try {
      return this.segment(index)
    } catch (error) {
      if (error instanceof LogDamageError) return undefined
      throw error
    }
  }

  #openFile(path: string): number {
    try {
      return openSync(path, this.#flags)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
      throw new LogDamageError(missingSegment(path, this.#database))
    }
  }
}

/** What a database's log takes on the disk, in bytes: holes take nothing. */
export function logBytesOnDisk(database: string): number {
  let bytes = 0
  for (const name of segmentNames(database))
    bytes +=
      (statSync(join(logDirectory(database), name), { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK_BYTES
  return bytes
}

/**
 * Looks whether the log that a database needs to go on is beside it.
 * @returns what is wrong with it, and what to do; undefined where nothing is.
 */
export function findLogProblem(db: Database): string | undefined {
  const id = readDatabaseId(db)
  if (id === undefined) return damagedId(db.name)
  const end = lastLogEnd(db)
  if (end === 0) return foreignLogProblem(db.name, id)
  const { index, length } = tailOf(end)
  const path = segmentPath(db.name, index)
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    return missingSegment(path, db.name)
  }
  try {
    const problem = ownershipProblem(fd, id, index, path, db.name)
    if (problem !== undefined) return problem
    if (fstatSync(fd).size < length)
      return `its log file ${path} is cut short: restore both from one copy, or see what 'zblkfs fsck' can save`
    return undefined
  } finally {
    closeSync(fd)
  }
}

/** A database that has nothing in its log yet must not take another's for its own. */
function foreignLogProblem(database: string, id: string): string | undefined {
  const found = databaseIdOfLog(database)
  if (found === undefined || found === id) return undefined
  return (
    `${logDirectory(database)} belongs to another database: ` +
    `put that back beside it, or, where it is not needed, move ${logDirectory(database)} away`
  )
}

/** The log's end as the last transaction knows it. */
export const lastLogEnd = (db: Database): number =>
  db.prepare<[], number>('SELECT log_end FROM txn ORDER BY tid DESC LIMIT 1').pluck().get() ?? 0

/** The last transaction that the table of transactions has. */
export const lastTidOf = (db: Database): Tid =>
  (db.prepare<[], bigint>('SELECT max(tid) FROM txn').pluck().safeIntegers().get() ?? TID_NONE) as Tid

function segmentNames(database: string): readonly string[] {
  try {
    return readdirSync(logDirectory(database)).filter(name => segmentIndex(name) !== undefined)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

/** The id that the log beside a database carries; undefined where there is none, or nobody can tell. */
export function databaseIdOfLog(database: string): string | undefined {
  const ids = segmentNames(database).map(name => {
    const fd = openSync(join(logDirectory(database), name), 'r')
    try {
      return readSegmentHeader(fd)?.id
    } finally {
      closeSync(fd)
    }
  })
  return ids.find(id => id !== undefined)
}

/** Why a file's bytes may not be taken for the database's. A damaged header alone is no reason: they have checksums. */
function ownershipProblem(
  fd: number,
  id: string | undefined,
  index: number,
  path: string,
  database: string,
): string | undefined {
  if (id === undefined) return damagedId(database)
  const header = readSegmentHeader(fd)
  if (header === undefined || (header.id === id && header.index === index)) return undefined
  return (
    `its log file ${path} belongs to another ${header.id === id ? 'part of the log' : 'database'}: ` +
    `put the right ${logDirectory(database)} beside ${database}`
  )
}

const damagedId = (database: string): string =>
  `the id of ${database} is damaged: run 'zblkfs fsck --repair' on it`

const missingSegment = (path: string, database: string): string =>
  `its log file ${path} is missing: put ${logDirectory(database)} back beside ${database}`
