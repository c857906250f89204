/** statfs in terms that a person believes: used is what the files of today take, available what the disk has. */
import { statfs } from 'node:fs/promises'
import type { Usage } from '../../tree/superblock.ts'
import type { FileSystemStatistics } from '../operations.ts'

const BLOCK_BYTES = 4096
const NAME_MAX = 255
/** A database that is in no file has no limit that is known. */
const UNKNOWN_BYTES = 2 ** 50
const UNKNOWN_FILES = 2 ** 40

/** The bytes that the disk of a database has left. */
export async function availableBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  } catch {
    return UNKNOWN_BYTES
  }
}

export async function spaceStatistics(path: string, usage: Usage): Promise<FileSystemStatistics> {
  const available = Math.floor((await availableBytes(path)) / BLOCK_BYTES)
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
