/** Reads of segment files that distinguish what is missing or damaged from other failures. */
import { readSync } from 'node:fs'
import { BulkDamageError } from '../indexed/bulk.ts'
import { isReadFailure } from './file-ranges.ts'

export const CUT_SHORT = 'its log file ends before its bytes'

/** Returns the number of bytes read, fewer than requested at the end of the file. @throws BulkDamageError if the disk cannot read them. */
export function readUpTo(fd: number, target: Uint8Array, offset: number): number {
  try {
    return readSync(fd, target, 0, target.length, offset)
  } catch (error) {
    if (isReadFailure(error)) throw new BulkDamageError('the disk cannot read its bytes (EIO)')
    throw error
  }
}
