/** The segments of a log (log-layout.ts) as open files, a bounded number of them. */
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
import { LRUCache } from 'lru-cache'
import { StoreError, systemCode } from '../errors.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import { hasData, isInvalidArgument, punchHole } from './file-ranges.ts'
import { fileRangesOf, segmentIndex, segmentOf, segmentPath, tailOf } from './log-layout.ts'
import { encodeSegmentHeader, readSegmentHeader } from './segment-header.ts'

const OPEN_MAX = 16
const BLOCK_BYTES = 512

export class LogFiles {
  readonly #directory: string
  readonly #id: string | undefined
  readonly #flags: 'r' | 'r+'
  readonly #open = new LRUCache<number, number>({
    max: OPEN_MAX,
    dispose: fd => closeSync(fd),
  })
  /** The last segment opened for direct writes; false where the filesystem allows none. */
  #direct: { readonly index: number; readonly fd: number } | false | undefined

  /** @param directory the log's. @param id the database's; undefined where that is damaged. */
  constructor(directory: string, id: string | undefined, use: 'read' | 'write') {
    this.#directory = directory
    this.#id = id
    this.#flags = use === 'read' ? 'r' : 'r+'
  }

  close(): void {
    this.#open.clear()
    this.#closeDirect()
  }

  /** The descriptor of a segment, valid until the next call. @throws BulkDamageError where it is missing or another database's. */
  segment(index: number): number {
    const open = this.#open.get(index)
    if (open !== undefined) return open
    const path = segmentPath(this.#directory, index)
    const fd = this.#openFile(path)
    const problem = ownershipProblem(fd, this.#id, index, path)
    if (problem !== undefined) {
      closeSync(fd)
      throw new BulkDamageError(problem)
    }
    this.#open.set(index, fd)
    return fd
  }

  /**
   * A descriptor of a segment for direct writes: whole pages, from memory that begins at a page. Undefined where the
   * filesystem allows none. Valid until a segment is made or removed, another one is asked for, or all are closed; no write
   * may be under way then.
   * @throws BulkDamageError as {@link LogFiles.segment}.
   */
  direct(index: number): number | undefined {
    if (this.#direct === false) return undefined
    if (this.#direct?.index === index) return this.#direct.fd
    this.#closeDirect()
    try {
      // The file that was verified, whatever has its name by now.
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

  /** Direct writes fail although opening for them succeeded: use none from now on. */
  forgoDirect(): void {
    this.#closeDirect()
    this.#direct = false
  }

  #closeDirect(): void {
    if (this.#direct === false) return
    if (this.#direct !== undefined) closeSync(this.#direct.fd)
    this.#direct = undefined
  }

  /** Makes an empty segment; replaces a file that a failed transaction has left. */
  create(index: number): number {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
    this.#open.delete(index)
    this.#closeDirect()
    const fd = openSync(segmentPath(this.#directory, index), 'w+', 0o600)
    this.#open.set(index, fd)
    this.#writeHeader(fd, index)
    return fd
  }

  /** Makes the names of new segments durable. */
  syncNames(): void {
    for (const path of [this.#directory, dirname(this.#directory)]) {
      const fd = openSync(path, 'r')
      try {
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
    }
  }

  /** Removes a segment; its space is free even while another process has it open. @throws BulkDamageError as {@link LogFiles.segment}. */
  remove(index: number): void {
    ftruncateSync(this.segment(index))
    this.#open.delete(index)
    this.#closeDirect()
    rmSync(segmentPath(this.#directory, index), { force: true })
  }

  /** Frees whole units of one segment; false where the filesystem cannot, or the segment is gone. */
  punch(lo: number, hi: number): boolean {
    const fd = this.#segmentIfThere(segmentOf(lo))
    return (
      fd !== undefined && fileRangesOf(lo, hi).every(({ offset, end }) => punchHole(fd, offset, end - offset))
    )
  }

  /** Whether units of one segment take space on the disk. */
  takesRoom(lo: number, hi: number): boolean {
    const fd = this.#segmentIfThere(segmentOf(lo))
    return fd !== undefined && fileRangesOf(lo, hi).some(({ offset, end }) => hasData(fd, offset, end))
  }

  /**
   * Cuts off what lies behind `end`, where no committed transaction has bytes.
   * @throws BulkDamageError where the segment there is another database's; then nothing was cut off.
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

  /** The indexes of all segments, ascending. */
  indexes(): readonly number[] {
    return segmentNames(this.#directory)
      .map(segmentIndex)
      .filter(index => index !== undefined)
      .sort((a, b) => a - b)
  }

  /** Whether a segment's header is intact. @throws BulkDamageError as {@link LogFiles.segment}. */
  hasHeader(index: number): boolean {
    return readSegmentHeader(this.segment(index)) !== undefined
  }

  /** Rewrites a segment's header. */
  mendHeader(index: number): void {
    const fd = this.segment(index)
    this.#writeHeader(fd, index)
    fsyncSync(fd)
  }

  #writeHeader(fd: number, index: number): void {
    if (this.#id === undefined) throw new StoreError(DAMAGED_ID, { code: 'damaged-id' })
    writeSync(fd, encodeSegmentHeader({ id: this.#id, index }), 0, undefined, 0)
  }

  #segmentIfThere(index: number): number | undefined {
    try {
      return this.segment(index)
    } catch (error) {
      if (error instanceof BulkDamageError) return undefined
      throw error
    }
  }

  #openFile(path: string): number {
    try {
      return openSync(path, this.#flags)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      throw new BulkDamageError(missingSegment(path))
    }
  }
}

/** The bytes that a log takes on the disk: holes take none. */
export function bytesOnDisk(directory: string): number {
  let bytes = 0
  for (const name of segmentNames(directory))
    bytes += (statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK_BYTES
  return bytes
}

/**
 * Checks that a log which ends at `end` is there and belongs to the database `id`.
 * @returns what is wrong with it, and the next step; undefined where nothing is.
 */
export function findProblem(directory: string, id: string | undefined, end: number): string | undefined {
  if (id === undefined) return DAMAGED_ID
  if (end === 0) return foreignLogProblem(directory, id)
  const { index, length } = tailOf(end)
  const path = segmentPath(directory, index)
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    return missingSegment(path)
  }
  try {
    const problem = ownershipProblem(fd, id, index, path)
    if (problem !== undefined) return problem
    if (fstatSync(fd).size < length) return `its log file ${path} is cut short`
    return undefined
  } finally {
    closeSync(fd)
  }
}

/** A database that has no bytes in its log yet must not take another database's log for its own. */
function foreignLogProblem(directory: string, id: string): string | undefined {
  const found = databaseIdOfLog(directory)
  if (found === undefined || found === id) return undefined
  return (
    `${directory} belongs to another database: ` +
    `put that back beside it, or, where it is not needed, move ${directory} away`
  )
}

function segmentNames(directory: string): readonly string[] {
  try {
    return readdirSync(directory).filter(name => segmentIndex(name) !== undefined)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}

/** The database id in the first intact segment header of a log; undefined where there is none. */
export function databaseIdOfLog(directory: string): string | undefined {
  const ids = segmentNames(directory).map(name => {
    const fd = openSync(join(directory, name), 'r')
    try {
      return readSegmentHeader(fd)?.id
    } finally {
      closeSync(fd)
    }
  })
  return ids.find(id => id !== undefined)
}

/** Why a file's bytes are not this database's. A damaged header alone is no reason: the bytes have checksums. */
function ownershipProblem(
  fd: number,
  id: string | undefined,
  index: number,
  path: string,
): string | undefined {
  if (id === undefined) return DAMAGED_ID
  const header = readSegmentHeader(fd)
  if (header === undefined || (header.id === id && header.index === index)) return undefined
  const owner = header.id === id ? 'part of the log' : 'database'
  return `its log file ${path} belongs to another ${owner}: put the right ${dirname(path)} in its place`
}

const DAMAGED_ID = "the database's id is damaged"

const missingSegment = (path: string): string =>
  `its log file ${path} is missing: put ${dirname(path)} back beside the database`
