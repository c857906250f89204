/** What is done with the frames of an open segment other than reading and writing them: they are found, cut off and released. */
import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs'
import { FRAME_BYTES, frameDown, frameUp } from '../indexed/frame-codec.ts'
import { punchHole } from './file-ranges.ts'
import {
  ENTRY_BYTES,
  entryAt,
  entryOffset,
  type FrameEntry,
  frameNumber,
  FRAMES_OFFSET,
  FRAMES_PER_SEGMENT,
  MARK,
  MARK_OFFSET,
  PAGE_BYTES,
  writeEntry,
} from './framed-layout.ts'

/** Marks a new segment. */
export function markFramed(fd: number): void {
  writeSync(fd, MARK, 0, MARK.length, MARK_OFFSET)
}

/** Whether a segment has the mark of frames. */
export function isMarkedFramed(fd: number): boolean {
  const mark = Buffer.alloc(MARK.length)
  return readSync(fd, mark, 0, mark.length, MARK_OFFSET) === mark.length && mark.equals(MARK)
}

/** The end in the file of the frames before position `end`, of which the last one is in this segment; undefined if its entry is missing. */
export function framesEnd(fd: number, end: number): number | undefined {
  const number = frameNumber(end - 1)
  const last = entryAt(readTable(fd, number, number + 1), 0)
  return last === undefined || last.offset < FRAMES_OFFSET ? undefined : last.offset + last.length
}

/** Removes all frames after position `end`. @param fileEnd {@link framesEnd} of it. */
export function cutFrames(fd: number, end: number, fileEnd: number): void {
  const next = frameNumber(end - 1) + 1
  const length = readTable(fd, next, FRAMES_PER_SEGMENT).findLastIndex(byte => byte !== 0) + 1
  if (length > 0) writeSync(fd, Buffer.alloc(length), 0, length, entryOffset(next))
  if (fstatSync(fd).size > fileEnd) ftruncateSync(fd, fileEnd)
}

/** Whether a frame within positions `[lo, hi)` of one segment takes space in the file. */
export function framesTakeRoom(fd: number, lo: number, hi: number): boolean {
  const [first, end] = framesWithin(lo, hi)
  const table = readTable(fd, first, end)
  for (let at = 0; at < table.length; at += ENTRY_BYTES)
    if (entryAt(table, at)?.isReleased === false) return true
  return false
}

/**
 * Releases the frames within positions `[lo, hi)` of one segment. The pages that they share with frames released earlier are
 * released too.
 * @returns the number of bytes released; undefined if the filesystem cannot punch holes.
 */
export function releaseFrames(fd: number, lo: number, hi: number): number | undefined {
  const [first, end] = framesWithin(lo, hi)
  const table = readTable(fd, first, end)
  let bytes = 0
  for (let at = 0, number = first; at < table.length; at += ENTRY_BYTES, number++) {
    const entry = entryAt(table, at)
    if (entry === undefined || entry.isReleased) continue
    // A run of frames that are adjacent in the file.
    let last = entry
    let [runAt, runNumber] = [at, number]
    for (;;) {
      bytes += last.length
      writeEntry(table, runAt, { ...last, isReleased: true })
      const next = runAt + ENTRY_BYTES < table.length ? entryAt(table, runAt + ENTRY_BYTES) : undefined
      if (next === undefined || next.isReleased) break
      last = next
      runAt += ENTRY_BYTES
      runNumber++
    }
    if (!punchRun(fd, entry, number, last, runNumber)) return undefined
    ;[at, number] = [runAt, runNumber]
  }
  // After the holes: an interrupted release is repeated.
  if (bytes > 0) writeSync(fd, table, 0, table.length, entryOffset(first))
  return bytes
}

/** Punches the pages of adjacent frames, the first and last of them with these numbers. */
function punchRun(
  fd: number,
  first: FrameEntry,
  firstNumber: number,
  last: FrameEntry,
  lastNumber: number,
): boolean {
  const lo = releasedFrom(fd, first.offset, firstNumber)
  const hi = releasedTo(fd, last.offset + last.length, lastNumber)
  return lo >= hi || punchHole(fd, lo, hi - lo)
}

/** The start of the first page at or before `offset` whose bytes before it belong to released frames; otherwise the next page's. */
function releasedFrom(fd: number, offset: number, number: number): number {
  const page = offset - (offset % PAGE_BYTES)
  for (let before = number; ;) {
    if (offset <= page) return page
    before--
    const entry = before < 0 ? undefined : entryAt(readTable(fd, before, before + 1), 0)
    if (entry?.isReleased !== true || entry.offset + entry.length !== offset) return page + PAGE_BYTES
    offset = entry.offset
  }
}

/** The end of the page with `offset`, if its bytes after that belong to released frames; otherwise the page's start. */
function releasedTo(fd: number, offset: number, number: number): number {
  const page = offset - (offset % PAGE_BYTES)
  for (let after = number; ;) {
    if (offset >= page + PAGE_BYTES || offset === page) return offset - (offset % PAGE_BYTES)
    after++
    const entry = after >= FRAMES_PER_SEGMENT ? undefined : entryAt(readTable(fd, after, after + 1), 0)
    if (entry?.isReleased !== true || entry.offset !== offset) return page
    offset = entry.offset + entry.length
  }
}

/** The numbers of the frames that lie entirely within positions of one segment. */
function framesWithin(lo: number, hi: number): readonly [first: number, end: number] {
  const [from, to] = [frameUp(lo), frameDown(hi)]
  if (from >= to) return [0, 0]
  const first = frameNumber(from)
  return [first, first + (to - from) / FRAME_BYTES]
}

/** Entries of the table, zeros for those beyond the file's end. */
export function readTable(fd: number, first: number, end: number): Buffer {
  const table = Buffer.alloc((end - first) * ENTRY_BYTES)
  if (table.length > 0) readSync(fd, table, 0, table.length, entryOffset(first))
  return table
}
