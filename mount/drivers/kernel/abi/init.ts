/**
 * The first request, INIT: the kernel and the server agree on a version and on flags.
 *
 * | at | struct fuse_init_in              | | at | struct fuse_init_out (64 bytes)             |
 * |----|----------------------------------|-|----|---------------------------------------------|
 * | 0  | u32 major, minor                 | | 0  | u32 major, minor                            |
 * | 8  | u32 max_readahead, flags         | | 8  | u32 max_readahead, flags                    |
 * | 16 | u32 flags2 (since 7.36), unused  | | 16 | u16 max_background, congestion_threshold    |
 * |    |                                  | | 20 | u32 max_write, time_gran                    |
 * |    |                                  | | 28 | u16 max_pages, map_alignment                |
 * |    |                                  | | 32 | u32 flags2, then unused fields              |
 */
import { InitFlag } from './flags.ts'
import type { Message } from './message.ts'

const INIT_OUT_BYTES = 64
export const PROTOCOL_MAJOR = 7
/** Linux 5.4: the first version with every required feature. */
export const PROTOCOL_MINOR_MIN = 31
/** The newest version supported. */
const PROTOCOL_MINOR_MAX = 45

/** Linux 6.16: the first version that invalidates all names at once (FUSE_NOTIFY_INC_EPOCH). */
export const EPOCH_MINOR = 44
/** Linux 6.18: the first version that forgets inodes on request (FUSE_NOTIFY_PRUNE). */
export const PRUNE_MINOR = 45

/** Maximum length of a read or write in bytes. */
export const MAX_TRANSFER_BYTES = 1 << 20
const PAGE_BYTES = 4096
/** Maximum number of pending background requests (read-ahead, write-back). */
const MAX_BACKGROUND = 64
const CONGESTION_THRESHOLD = 48

export interface InitRequest {
  readonly major: number
  readonly minor: number
  readonly maxReadaheadBytes: number
  readonly flags: bigint
}

/** The result of INIT. */
export interface Agreement {
  readonly minor: number
  readonly maxReadaheadBytes: number
  readonly flags: bigint
}

/** The requested features. */
const WANTED =
  InitFlag.ASYNC_READ |
  InitFlag.ATOMIC_O_TRUNC |
  InitFlag.BIG_WRITES |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.ABORT_ERROR |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.EXPLICIT_INVAL_DATA |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.SETXATTR_EXT |
  InitFlag.INIT_EXT |
  InitFlag.DIRECT_IO_ALLOW_MMAP

export function readInit(message: Message): InitRequest {
  const flags = message.u32(12)
  const extended = (BigInt(flags) & InitFlag.INIT_EXT) !== 0n
  return {
    major: message.u32(0),
    minor: message.u32(4),
    maxReadaheadBytes: message.u32(8),
    flags: BigInt(flags) | (extended ? BigInt(message.u32(16)) << 32n : 0n),
  }
}

/** Features that are requested if a mount has them. */
export interface OptionalFeatures {
  readonly acl: boolean
  /** The server keeps locks of files. */
  readonly locks: boolean
}

/** The features of both sides. */
export function agree(init: InitRequest, { acl, locks }: OptionalFeatures): Agreement {
  const wanted =
    WANTED |
    (acl ? InitFlag.POSIX_ACL | InitFlag.DONT_MASK : 0n) |
    (locks ? InitFlag.POSIX_LOCKS | InitFlag.FLOCK_LOCKS : 0n)
  return {
    minor: Math.min(init.minor, PROTOCOL_MINOR_MAX),
    maxReadaheadBytes: Math.min(init.maxReadaheadBytes, MAX_TRANSFER_BYTES),
    flags: init.flags & wanted,
  }
}

/** Writes a fuse_init_out; returns its length. */
export function writeInit(view: DataView, at: number, agreement: Agreement): number {
  new Uint8Array(view.buffer, view.byteOffset + at, INIT_OUT_BYTES).fill(0)
  view.setUint32(at, PROTOCOL_MAJOR, true)
  view.setUint32(at + 4, agreement.minor, true)
  view.setUint32(at + 8, agreement.maxReadaheadBytes, true)
  view.setUint32(at + 12, Number(agreement.flags & 0xffff_ffffn), true)
  view.setUint16(at + 16, MAX_BACKGROUND, true)
  view.setUint16(at + 18, CONGESTION_THRESHOLD, true)
  view.setUint32(at + 20, MAX_TRANSFER_BYTES, true)
  view.setUint32(at + 24, 1, true)
  view.setUint16(at + 28, MAX_TRANSFER_BYTES / PAGE_BYTES, true)
  view.setUint32(at + 32, Number(agreement.flags >> 32n), true)
  return INIT_OUT_BYTES
}
