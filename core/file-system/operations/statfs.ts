/** statfs(2): used is what today's files take, available is the free space of the database's disk. */
import type { Measuring } from '../../../store/capabilities.ts'
import type { Usage } from '../../tree/superblock.ts'
import type { FileSystemStatistics } from '../operations.ts'

const BLOCK_BYTES = 4096
const NAME_MAX = 255
/** For a database without a known limit. */
const UNKNOWN_BYTES = 2 ** 50
const UNKNOWN_FILES = 2 ** 40

/** Free bytes on the disk of a database. */
export async function availableBytes(measuring: Measuring | undefined): Promise<number> {
  return (await measuring?.availableBytes()) ?? UNKNOWN_BYTES
}

export async function statfs(measuring: Measuring | undefined, usage: Usage): Promise<FileSystemStatistics> {
  const available = Math.floor((await availableBytes(measuring)) / BLOCK_BYTES)
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
