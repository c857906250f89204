/**
 * Locks of files.
 *
 * | at | struct fuse_lk_in (48 bytes)         | | at | struct fuse_file_lock (24 bytes)      |
 * |----|--------------------------------------|-|----|---------------------------------------|
 * | 0  | u64 fh                               | | 0  | u64 start                             |
 * | 8  | u64 owner                            | | 8  | u64 end, included                     |
 * | 16 | struct fuse_file_lock                | | 16 | u32 type: 0 read, 1 write, 2 none     |
 * | 40 | u32 flags, padding                   | | 20 | u32 pid                               |
 */
import type { LockOwner } from '../../../../store/file-locking.ts'
import type { RequestedLock } from '../../../../core/file-system/operations.ts'
import { LOCK_FLOCK } from './flags.ts'
import { MalformedRequestError, type Message } from './message.ts'

const LockType = { READ: 0, WRITE: 1, NONE: 2 } as const
const LOCK_BYTES = 24
const OFFSET_MAX = (1n << 63n) - 1n

export interface LockRequest {
  readonly owner: LockOwner
  readonly lock: RequestedLock
  readonly unlocks: boolean
}

/** The body of GETLK, SETLK and SETLKW. @throws MalformedRequestError */
export function readLock(message: Message): LockRequest {
  const [start, end, type] = [message.bigU64(16), message.bigU64(24), message.u32(32)]
  if (start > OFFSET_MAX || end < start || type > LockType.NONE)
    throw new MalformedRequestError(`there is no lock of type ${type} from ${start} to ${end}`)
  return {
    owner: { kind: message.u32(40) & LOCK_FLOCK ? 'flock' : 'fcntl', id: message.bigU64(8) },
    lock: {
      start,
      last: end > OFFSET_MAX ? OFFSET_MAX : end,
      isExclusive: type === LockType.WRITE,
      pid: message.u32(36),
    },
    unlocks: type === LockType.NONE,
  }
}

/** Writes a fuse_lk_out, with a conflicting lock or none; returns its length. */
export function writeLock(view: DataView, at: number, lock: RequestedLock | undefined): number {
  view.setBigUint64(at, lock?.start ?? 0n, true)
  view.setBigUint64(at + 8, lock?.last ?? 0n, true)
  const type = lock === undefined ? LockType.NONE : lock.isExclusive ? LockType.WRITE : LockType.READ
  view.setUint32(at + 16, type, true)
  view.setUint32(at + 20, lock?.pid ?? 0, true)
  return LOCK_BYTES
}
