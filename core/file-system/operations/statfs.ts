/** statfs(2): used is what today's files take, available is what the disk of the database has room for. */
import type { Usage } from '../../tree/superblock.ts'
import type { FileSystemStatistics } from '../operations.ts'

const BLOCK_BYTES = 4096
const NAME_MAX = 255
/** Room on a disk without a known limit. */
export const UNKNOWN_BYTES = 2 ** 50
const UNKNOWN_FILES = 2 ** 40

/** @param roomBytes what the disk of the database has room for. */
export function statfs(usage: Usage, roomBytes: number): FileSystemStatistics {
  const available = Math.floor(roomBytes / BLOCK_BYTES)
  return {
    blockSize: BLOCK_BYTES,
    blocks: Math.ceil(usage.bytes / BLOCK_BYTES) + available,
    blocksFree: available,
    blocksAvailable: available,
    files: usage.inodes + UNKNOWN_FILES,
    filesFree: UNKNOWN_FILES,
    nameMax: NAME_MAX,
  }
}
