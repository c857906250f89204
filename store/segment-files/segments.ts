/** The segment files of a log by their names and headers: which ones there are, what they consist of, and to which database they belong. */
import { closeSync, constants, fstatSync, readSync } from 'node:fs'
import { readdirSync, statSync } from '../os-files.ts'
import { dirname, join } from 'node:path'
import { systemCode } from '../errors.ts'
import { framesEnd, isMarkedFramed } from './framed-segment.ts'
import { isMissing, openSideFile, shown, SideFileError } from '../side-files.ts'
import { notLogDirectory } from './log-directory.ts'
import { segmentIndex, segmentOf, segmentPath, tailOf } from './log-layout.ts'
import { HEADER_BYTES, readSegmentHeader, type SegmentLayout } from './segment-header.ts'

export const BLOCK_BYTES = 512

/** What a segment consists of; if its header is damaged, the mark of frames tells. */
export const layoutOf = (fd: number): SegmentLayout =>
  readSegmentHeader(fd)?.layout ?? (isMarkedFramed(fd) ? 'frames' : 'groups')

/** The length of a segment that ends at position `end`; undefined if the frame before that is missing. */
export const tailLengthOf = (fd: number, layout: SegmentLayout, end: number): number | undefined =>
  layout === 'frames' ? framesEnd(fd, end) : tailOf(end).length

/** Whether a segment's header was never written: the process died first, or the power failed. */
export function isBlank(fd: number): boolean {
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
  const index = segmentOf(end - 1)
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
    const length = tailLengthOf(fd, layoutOf(fd), end)
    if (length === undefined || fstatSync(fd).size < length) return `its log file ${shown(path)} is cut short`
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

export function segmentNames(directory: string): readonly string[] {
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
export function ownershipProblem(
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

export const DAMAGED_ID = "the database's id is damaged"

export const missingSegment = (path: string): string =>
  `its log file ${shown(path)} is missing: put ${shown(dirname(path))} back next to the database`
