/**
 * The segments of a log (log-layout.ts) as open files, a bounded number of them.
 *
 * The directory is held open from its first use: a log that is moved is still written to, and a log that is removed is
 * detected. Its files may come from elsewhere (an unpacked archive, a shared directory), so only regular files are
 * opened, never through a link, and only segments of this database are truncated or replaced.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { DatabaseGoneError, StoreError, systemCode } from '../errors.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import { hasData, isInvalidArgument, punchHole } from './file-ranges.ts'
import { giveTo, isMissing, openSideFile, shown, SideFileError } from './held-path.ts'
import { makeLogDirectory, notLogDirectory, openLogDirectory, type Owner, thisUser } from './log-directory.ts'
import { fileRangesOf, segmentIndex, segmentOf, segmentPath, tailOf } from './log-layout.ts'
import { encodeSegmentHeader, HEADER_BYTES, readSegmentHeader } from './segment-header.ts'

const OPEN_MAX = 16
const BLOCK_BYTES = 512

export class LogFiles {
  /** Whether files that were removed are written to as well. */
  storesUnnamed = false
  /** Its path, through the descriptor of the database's directory if there is one. */
  readonly #path: string
  readonly #id: string | undefined
  readonly #use: 'read' | 'write'
  readonly #owner: Owner
  /** The directory. */
  #directory: number | undefined
  readonly #open = new LRUCache<number, number>({
    max: OPEN_MAX,
    dispose: fd => closeSync(fd),
  })
  /** The last segment opened for direct writes; false if the filesystem does not support them. */
  #direct: { readonly index: number; readonly fd: number } | false | undefined

  /**
   * @param directory the log's. @param id the database's; undefined if that is damaged.
   * @param owner the database's owner; files that root creates are given to them.
   */
  constructor(directory: string, id: string | undefined, use: 'read' | 'write', owner: Owner = thisUser()) {
    this.#path = directory
    this.#id = id
    this.#use = use
    this.#owner = owner
  }

  close(): void {
    this.#open.clear()
    this.#closeDirect()
    if (this.#directory !== undefined) closeSync(this.#directory)
    this.#directory = undefined
  }

  /** @throws DatabaseGoneError if the directory, or a segment in use, was removed. */
  assertThere(): void {
    if (this.storesUnnamed) return
    if (this.#directory !== undefined && fstatSync(this.#directory).nlink === 0)
      throw new DatabaseGoneError(shown(this.#path))
  }

  /** As {@link LogFiles.assertThere}, for a segment that was written to. */
  assertSegmentThere(index: number): void {
    if (!this.storesUnnamed && fstatSync(this.segment(index)).nlink === 0)
      throw new DatabaseGoneError(shown(segmentPath(this.#path, index)))
  }

  /** The descriptor of a segment, valid until the next call. @throws BulkDamageError if it is missing or another database's. */
  segment(index: number): number {
    const open = this.#open.get(index)
    if (open !== undefined) return open
    const fd = this.#openFile(index)
    const problem = ownershipProblem(fd, this.#id, index, segmentPath(this.#path, index))
    if (problem !== undefined) {
      closeSync(fd)
      throw new BulkDamageError(problem)
    }
    this.#open.set(index, fd)
    return fd
  }

  /** Closes a segment that has lost its name since it was opened; returns whether it has. */
  closeRemoved(index: number): boolean {
    const fd = this.#open.get(index)
    return fd !== undefined && fstatSync(fd).nlink === 0 && this.#open.delete(index)
  }

  /**
   * A descriptor of a segment for direct writes: whole pages, from page-aligned memory. Undefined if the
   * filesystem does not support them. Valid until a segment is created or removed, another one is requested, or all are
   * closed; no write may be in progress then.
   * @throws BulkDamageError as {@link LogFiles.segment}.
   */
  direct(index: number): number | undefined {
    if (this.#direct === false) return undefined
    if (this.#direct?.index === index) return this.#direct.fd
    this.#closeDirect()
    try {
      // The verified file, even if its name now refers to another.
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

  /** Falls back to buffered writes: the filesystem accepted O_DIRECT at open, but rejects the write. */
  disableDirect(): void {
    this.#closeDirect()
    this.#direct = false
  }

  #closeDirect(): void {
    if (this.#direct === false) return
    if (this.#direct !== undefined) closeSync(this.#direct.fd)
    this.#direct = undefined
  }

  /** Creates an empty segment; replaces one left by a failed transaction. */
  create(index: number): number {
    this.#directory ??= makeLogDirectory(this.#path, this.#owner)
    this.#open.delete(index)
    this.#closeDirect()
    const path = segmentPath(this.#heldPath(), index)
    this.#removeLeftover(index, path)
    const fd = openSideFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL)
    this.#open.set(index, fd)
    giveTo(fd, this.#owner)
    this.#writeHeader(fd, index)
    return fd
  }

  /** Makes the names of new segments durable. */
  syncNames(): void {
    for (const path of [this.#heldPath(), dirname(this.#path)]) {
      const fd = openSync(path, 'r')
      try {
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
    }
  }

  /** Removes a segment; its space is freed even while another process has it open. @throws BulkDamageError as {@link LogFiles.segment}. */
  remove(index: number): void {
    ftruncateSync(this.segment(index))
    this.#open.delete(index)
    this.#closeDirect()
    rmSync(segmentPath(this.#heldPath(), index), { force: true })
  }

  /** Frees whole units of one segment; false if the filesystem cannot do that, or the segment is missing. */
  punch(lo: number, hi: number): boolean {
    const fd = this.#segmentIfThere(segmentOf(lo))
    return (
      fd !== undefined && fileRangesOf(lo, hi).every(({ offset, end }) => punchHole(fd, offset, end - offset))
    )
  }

  /** Whether units of one segment take space on disk. */
  isAllocated(lo: number, hi: number): boolean {
    const fd = this.#segmentIfThere(segmentOf(lo))
    return fd !== undefined && fileRangesOf(lo, hi).some(({ offset, end }) => hasData(fd, offset, end))
  }

  /**
   * Removes everything after `end`, where no committed transaction has bytes.
   * @throws BulkDamageError, StoreError if a file there is not a segment of this log. Nothing has been removed then.
   */
  cut(end: number): void {
    const tail = end === 0 ? { index: -1, length: 0 } : tailOf(end)
    const indexes = this.indexes().filter(index => index >= tail.index)
    const isCut = (index: number): boolean =>
      index !== tail.index || fstatSync(this.segment(index)).size > tail.length
    for (const index of indexes) if (isCut(index)) this.#assertOwn(index)
    for (const index of indexes) {
      if (index === tail.index) ftruncateSync(this.segment(index), tail.length)
      else this.remove(index)
    }
  }

  /** The indexes of all segments, ascending. */
  indexes(): readonly number[] {
    return segmentNames(this.#heldPath())
      .map(segmentIndex)
      .filter(index => index !== undefined)
      .sort((a, b) => a - b)
  }

  /** As {@link bytesOnDisk}. */
  bytesOnDisk(): number {
    return bytesOnDisk(this.#heldPath())
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

  #openFile(index: number): number {
    const path = segmentPath(this.#heldPath(), index)
    try {
      return openSideFile(path, this.#use === 'read' ? constants.O_RDONLY : constants.O_RDWR)
    } catch (error) {
      if (error instanceof SideFileError) throw new BulkDamageError(error.message)
      if (!isMissing(error)) throw error
      throw new BulkDamageError(missingSegment(segmentPath(this.#path, index)))
    }
  }

  /** Before bytes are removed, their owner must be certain: a damaged header is not enough, a blank one is. */
  #assertOwn(index: number): void {
    const fd = this.segment(index)
    if (readSegmentHeader(fd) !== undefined || isBlank(fd)) return
    throw new StoreError(
      `${shown(segmentPath(this.#path, index))} is not a segment of this log, or its header is damaged`,
      { code: 'damaged-log', path: shown(this.#path) },
    )
  }

  #removeLeftover(index: number, path: string): void {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return
    this.#assertOwn(index)
    this.#open.delete(index)
    rmSync(path, { force: true })
  }

  /** The path of the directory through its descriptor; its name if there is none yet. */
  #heldPath(): string {
    this.#directory ??= openLogDirectory(this.#path, this.#use === 'write' ? this.#owner : undefined)
    return this.#directory === undefined ? this.#path : `/proc/self/fd/${this.#directory}`
  }
}

/** Whether a segment's header was never written: the process died first, or the power failed. */
function isBlank(fd: number): boolean {
  const header = Buffer.alloc(HEADER_BYTES)
  readSync(fd, header, 0, HEADER_BYTES, 0)
  return header.every(byte => byte === 0)
}

/** The bytes that a log takes on disk, excluding holes. */
export function bytesOnDisk(directory: string): number {
  let bytes = 0
  for (const name of segmentNames(directory))
    bytes += (statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK_BYTES
  return bytes
}

/**
 * Checks that a log which ends at `end` is present and belongs to the database `id`.
 * @returns the problem and the next step; undefined if there is none.
 */
export function findProblem(directory: string, id: string | undefined, end: number): string | undefined {
  if (id === undefined) return DAMAGED_ID
  if (end === 0) return foreignLogProblem(directory, id)
  const { index, length } = tailOf(end)
  const path = segmentPath(directory, index)
  let fd: number
  try {
    fd = openSideFile(path, constants.O_RDONLY)
  } catch (error) {
    if (error instanceof SideFileError) return error.message
    if (!isMissing(error)) throw error
    return missingSegment(path)
  }
  try {
    const problem = ownershipProblem(fd, id, index, path)
    if (problem !== undefined) return problem
    if (fstatSync(fd).size < length) return `its log file ${shown(path)} is cut short`
    return undefined
  } finally {
    closeSync(fd)
  }
}

/** A database without bytes in its log must not adopt another database's log. */
function foreignLogProblem(directory: string, id: string): string | undefined {
  const found = databaseIdOfLog(directory)
  if (found === undefined || found === id) return undefined
  const path = shown(directory)
  return (
    `${path} belongs to another database: ` +
    `put that database back next to it, or, if it is not needed, move ${path} away`
  )
}

function segmentNames(directory: string): readonly string[] {
  try {
    return readdirSync(directory).filter(name => segmentIndex(name) !== undefined)
  } catch (error) {
    if (isMissing(error)) return []
    if (systemCode(error) === 'ENOTDIR') throw notLogDirectory(directory)
    throw error
  }
}

/** The database id in the first intact segment header of a log; undefined if there is none. */
export function databaseIdOfLog(directory: string): string | undefined {
  const ids = segmentNames(directory).map(name => {
    const fd = openSideFile(join(directory, name), constants.O_RDONLY)
    try {
      return readSegmentHeader(fd)?.id
    } finally {
      closeSync(fd)
    }
  })
  return ids.find(id => id !== undefined)
}

/** Why a file's bytes do not belong to this database. A damaged header does not matter: the bytes have checksums. */
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
  return `its log file ${shown(path)} belongs to another ${owner}: put the right ${shown(dirname(path))} in its place`
}

const DAMAGED_ID = "the database's id is damaged"

const missingSegment = (path: string): string =>
  `its log file ${shown(path)} is missing: put ${shown(dirname(path))} back next to the database`
