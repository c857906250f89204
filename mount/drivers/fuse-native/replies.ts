/** The arrays of 32-bit numbers that fuse-native takes as a stat and a statvfs. Source: its populate_stat. */
import { constants } from 'node:fs'
import type {
  Attributes,
  DirectoryEntry,
  FileSystemStatistics,
} from '../../../core/file-system/operations.ts'

const STAT_LENGTH = 18
const STATFS_LENGTH = 11
const UINT32_END = 2 ** 32

const low = (value: bigint): number => Number(value & 0xffff_ffffn)
const high = (value: bigint): number => Number((value >> 32n) & 0xffff_ffffn)

/** A stat. Times are in milliseconds; inode numbers keep their low 32 bits. */
export function statOf(attributes: Attributes): Uint32Array {
  const { mode, uid, gid, size, nlink, ino, rdev, blksize, blocks } = attributes
  const atimeMs = attributes.atimeNs / 1_000_000n
  const mtimeMs = attributes.mtimeNs / 1_000_000n
  const ctimeMs = attributes.ctimeNs / 1_000_000n
  const ints = new Uint32Array(STAT_LENGTH)
  ints.set([mode, uid, gid, low(size), high(size), 0, nlink, ino, rdev, blksize, blocks, blocks / UINT32_END])
  ints.set([low(atimeMs), high(atimeMs), low(mtimeMs), high(mtimeMs), low(ctimeMs), high(ctimeMs)], 12)
  return ints
}

/** The stat of a directory's entry: its inode number and file type, which is all that readdir passes on. */
export function entryStatOf(entry: DirectoryEntry): Uint32Array {
  const ints = new Uint32Array(STAT_LENGTH)
  ints[0] = entry.type & constants.S_IFMT
  ints[7] = entry.ino
  return ints
}

/** A statvfs. Its counts have 32 bits, so a large filesystem is reported in larger blocks. */
export function statfsOf(statistics: FileSystemStatistics): Uint32Array {
  const { blocks, blocksFree, blocksAvailable, blockSize, files, filesFree, nameMax } = statistics
  let unit = 1
  while (blocks / unit >= UINT32_END) unit *= 2
  const bounded = (count: number): number => Math.min(count, UINT32_END - 1)
  const ints = new Uint32Array(STATFS_LENGTH)
  ints.set([blockSize * unit, blockSize * unit, blocks / unit, blocksFree / unit, blocksAvailable / unit])
  ints.set([bounded(files), bounded(filesFree), bounded(filesFree), 0, 0, nameMax], 5)
  return ints
}
