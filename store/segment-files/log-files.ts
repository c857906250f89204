/**
 * The segments of a log (log-layout.ts) as open files, a bounded number of them.
 *
 * The directory is held open from its first use: a log that is moved is still written to, and a log that is removed is
 * detected. Its files may come from elsewhere (an unpacked archive, a shared directory), so only regular files are
 * opened, never through a link, and only segments of this database are truncated or replaced.
 */
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, writeSync } from 'node:fs'
import { openSync, rmSync, statSync } from '../os-files.ts'
import { dirname } from 'node:path'
import { LRUCache } from 'lru-cache'
import { DatabaseGoneError, StoreError } from '../errors.ts'
import { BulkDamageError } from '../indexed/bulk.ts'
import { hasData, isInvalidArgument, punchHole } from './file-ranges.ts'
import { giveTo, isMissing, openSideFile, shown, SideFileError, syncNames } from '../side-files.ts'
import { makeLogDirectory, openLogDirectory, type Owner, thisUser } from './log-directory.ts'
import { cutFrames, framesTakeRoom, markFramed, releaseFrames } from './framed-segment.ts'
import { fileRangesOf, segmentIndex, segmentOf, segmentPath } from './log-layout.ts'
import {
  encodeSegmentHeader,
  type FrameTotals,
  readFrameTotals,
  readSegmentHeader,
  type SegmentLayout,
} from './segment-header.ts'
import {
  BLOCK_BYTES,
  bytesOnDisk,
  DAMAGED_ID,
  isBlank,
  layoutOf,
  missingSegment,
  ownershipProblem,
  segmentNames,
  tailLengthOf,
} from './segments.ts'

const OPEN_MAX = 16

interface OpenSegment {
  readonly fd: number
  readonly layout: SegmentLayout
}

export class LogFiles {
  /** Whether files that were removed are written to as well. */
  storesUnnamed = false
  /** Its path, through the descriptor of the database's directory if there is one. */
  readonly #path: () => string
  readonly #id: string | undefined
  readonly #use: 'read' | 'write'
  readonly #owner: Owner
  /** The directory. */
  #directory: number | undefined
  readonly #open = new LRUCache<number, OpenSegment>({
    max: OPEN_MAX,
    dispose: ({ fd }) => closeSync(fd),
  })
  #isClosed = false
  /** The last segment opened for direct writes; false if the filesystem does not support them. */
  #direct: { readonly index: number; readonly fd: number } | false | undefined

  /**
   * @param directory returns the path of the log's. @param id the database's; undefined if that is damaged.
   * @param owner the database's owner; files that root creates are given to them.
   */
  constructor(
    directory: () => string,
    id: string | undefined,
    use: 'read' | 'write',
    owner: Owner = thisUser(),
  ) {
    this.#path = directory
    this.#id = id
    this.#use = use
    this.#owner = owner
  }

  /** @throws StoreError after {@link LogFiles.close}. */
  assertOpen(): void {
    if (this.#isClosed) throw new StoreError(`${shown(this.#path())} is closed`)
  }

  close(): void {
    this.#isClosed = true
    this.#open.clear()
    this.#closeDirect()
    if (this.#directory !== undefined) closeSync(this.#directory)
    this.#directory = undefined
  }

  /** The descriptor of the directory; undefined if there is none. */
  get directory(): number | undefined {
    this.#heldPath()
    return this.#directory
  }

  /** @throws DatabaseGoneError if the directory, or a segment in use, was removed. */
  assertThere(): void {
    if (this.storesUnnamed) return
    if (this.#directory !== undefined && fstatSync(this.#directory).nlink === 0)
      throw new DatabaseGoneError(shown(this.#path()))
  }

  /** As {@link LogFiles.assertThere}, for a segment that was written to. */
  assertSegmentThere(index: number): void {
    if (!this.storesUnnamed && fstatSync(this.segment(index)).nlink === 0)
      throw new DatabaseGoneError(shown(segmentPath(this.#path(), index)))
  }

  /** The descriptor of a segment, valid until the next call. @throws BulkDamageError if it is missing or another database's. */
  segment(index: number): number {
    return this.#segment(index).fd
  }

  /** What a segment consists of. @throws as {@link LogFiles.segment} */
  layout(index: number): SegmentLayout {
    return this.#segment(index).layout
  }

  #segment(index: number): OpenSegment {
    const open = this.#open.get(index)
    if (open !== undefined) return open
    const fd = this.#openFile(index)
    const problem = ownershipProblem(fd, this.#id, index, segmentPath(this.#path(), index))
    if (problem !== undefined) {
      closeSync(fd)
      throw new BulkDamageError(problem)
    }
    const segment = { fd, layout: layoutOf(fd) }
    this.#open.set(index, segment)
    return segment
  }

  /** Closes a segment that has lost its name since it was opened; returns whether it has. */
  closeRemoved(index: number): boolean {
    const open = this.#open.get(index)
    return open !== undefined && fstatSync(open.fd).nlink === 0 && this.#open.delete(index)
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
  create(index: number, layout: SegmentLayout): number {
    this.#directory ??= makeLogDirectory(this.#path(), this.#owner)
    this.#open.delete(index)
    this.#closeDirect()
    const path = segmentPath(this.#heldPath(), index)
    this.#removeLeftover(index, path)
    const fd = openSideFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL)
    this.#open.set(index, { fd, layout })
    giveTo(fd, this.#owner)
    this.#writeHeader(fd, index, layout)
    if (layout === 'frames') markFramed(fd)
    return fd
  }

  /** Makes the names of new segments durable. */
  syncNames(): void {
    syncNames([this.#heldPath(), dirname(this.#path())])
  }

  /**
   * Removes a segment; its space is freed even while another process has it open. Returns the number of bytes.
   * @throws BulkDamageError as {@link LogFiles.segment}.
   */
  remove(index: number): number {
    const fd = this.segment(index)
    const bytes = fstatSync(fd).blocks * BLOCK_BYTES
    ftruncateSync(fd)
    this.#open.delete(index)
    this.#closeDirect()
    rmSync(segmentPath(this.#heldPath(), index), { force: true })
    return bytes
  }

  /** Frees whole units of one segment. Returns the number of bytes; 0 if the filesystem cannot do that, or the segment is missing. */
  punch(lo: number, hi: number): number {
    const segment = this.#segmentIfThere(segmentOf(lo))
    if (segment === undefined) return 0
    const { fd, layout } = segment
    if (layout === 'frames') return releaseFrames(fd, lo, hi) ?? 0
    const isFreed = fileRangesOf(lo, hi).every(({ offset, end }) => punchHole(fd, offset, end - offset))
    return isFreed ? hi - lo : 0
  }

  /** Whether units of one segment take space on disk. */
  isAllocated(lo: number, hi: number): boolean {
    const segment = this.#segmentIfThere(segmentOf(lo))
    if (segment === undefined) return false
    const { fd, layout } = segment
    if (layout === 'frames') return framesTakeRoom(fd, lo, hi)
    return fileRangesOf(lo, hi).some(({ offset, end }) => hasData(fd, offset, end))
  }

  /** The totals of all frames. */
  frameTotals(): FrameTotals {
    let [unitBytes, storedBytes] = [0, 0]
    for (const index of this.indexes()) {
      const segment = this.#segmentIfThere(index)
      if (segment?.layout !== 'frames') continue
      const totals = readFrameTotals(segment.fd)
      unitBytes += totals.unitBytes
      storedBytes += totals.storedBytes
    }
    return { unitBytes, storedBytes }
  }

  /**
   * Removes everything after `end`, where no committed transaction has bytes.
   * @throws BulkDamageError, StoreError if a file there is not a segment of this log. Nothing has been removed then.
   */
  cut(end: number): void {
    const tail = end === 0 ? -1 : segmentOf(end - 1)
    const indexes = this.indexes().filter(index => index >= tail)
    const length = indexes.includes(tail) ? this.tailLength(end) : 0
    const isCut = (index: number): boolean => index !== tail || fstatSync(this.segment(index)).size > length
    for (const index of indexes) if (isCut(index)) this.#assertOwn(index)
    for (const index of indexes) {
      if (index !== tail) this.remove(index)
      else if (this.layout(index) === 'frames') cutFrames(this.segment(index), end, length)
      else ftruncateSync(this.segment(index), length)
    }
  }

  /** The length of the segment with the last byte before `end`, if it ends there. @throws BulkDamageError if that byte is missing. */
  tailLength(end: number): number {
    const { fd, layout } = this.#segment(segmentOf(end - 1))
    const length = tailLengthOf(fd, layout, end)
    if (length === undefined) throw new BulkDamageError('its log file has no entry for its bytes')
    return length
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
    const { fd, layout } = this.#segment(index)
    this.#writeHeader(fd, index, layout)
    fsyncSync(fd)
  }

  #writeHeader(fd: number, index: number, layout: SegmentLayout): void {
    if (this.#id === undefined) throw new StoreError(DAMAGED_ID, { code: 'damaged-id' })
    writeSync(fd, encodeSegmentHeader({ id: this.#id, index, layout }), 0, undefined, 0)
  }

  #segmentIfThere(index: number): OpenSegment | undefined {
    try {
      return this.#segment(index)
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
      throw new BulkDamageError(missingSegment(segmentPath(this.#path(), index)))
    }
  }

  /** Before bytes are removed, their owner must be certain: a damaged header is not enough, a blank one is. */
  #assertOwn(index: number): void {
    const fd = this.segment(index)
    if (readSegmentHeader(fd) !== undefined || isBlank(fd)) return
    throw new StoreError(
      `${shown(segmentPath(this.#path(), index))} is not a segment of this log, or its header is damaged`,
      { code: 'damaged-log', path: shown(this.#path()) },
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
    // An empty directory is removed by the writer that closes the database, and made again by the next one.
    if (this.#use === 'read' && this.#directory !== undefined && fstatSync(this.#directory).nlink === 0) {
      closeSync(this.#directory)
      this.#directory = undefined
    }
    this.#directory ??= openLogDirectory(this.#path(), this.#use === 'write' ? this.#owner : undefined)
    return this.#directory === undefined ? this.#path() : `/proc/self/fd/${this.#directory}`
  }
}
