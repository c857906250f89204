/**
 * The decoding of SETATTR.
 *
 * | at | struct fuse_setattr_in                            |
 * |----|---------------------------------------------------|
 * | 0  | u32 valid (SetattrField), padding                 |
 * | 8  | u64 fh, size, lock_owner                          |
 * | 32 | u64 atime, mtime, ctime                           |
 * | 56 | u32 atimensec, mtimensec, ctimensec               |
 * | 68 | u32 mode, unused, uid, gid, unused                |
 */
import type { AttributeChanges } from '../../../../core/file-system/operations.ts'
import { joinTime } from './fields.ts'
import { SetattrField } from './flags.ts'
import type { Message } from './message.ts'

const PERMISSION_BITS = 0o7777

export function readSetattr(message: Message): AttributeChanges {
  const valid = message.u32(0)
  const has = (field: number) => (valid & field) !== 0
  const time = (field: number, now: number, secondsAt: number, nanosecondsAt: number) =>
    has(now)
      ? ('now' as const)
      : has(field)
        ? joinTime(message.bigI64(secondsAt), message.u32(nanosecondsAt))
        : undefined
  const atimeNs = time(SetattrField.ATIME, SetattrField.ATIME_NOW, 32, 56)
  const mtimeNs = time(SetattrField.MTIME, SetattrField.MTIME_NOW, 40, 60)
  return {
    ...(has(SetattrField.MODE) && { mode: message.u32(68) & PERMISSION_BITS }),
    ...(has(SetattrField.UID) && { uid: message.u32(76) }),
    ...(has(SetattrField.GID) && { gid: message.u32(80) }),
    ...(has(SetattrField.SIZE) && { size: message.bigU64(16) }),
    ...(atimeNs !== undefined && { atimeNs }),
    ...(mtimeNs !== undefined && { mtimeNs }),
    ...(has(SetattrField.CTIME) && { ctimeNs: joinTime(message.bigI64(48), message.u32(64)) }),
    ...(has(SetattrField.FH) && { fh: message.fh(8) }),
    ...(has(SetattrField.KILL_SUIDGID) && { dropsSetuid: true }),
  }
}

/** Whether no attribute is to be changed. */
export const changesNothing = (message: Message): boolean => (message.u32(0) & ~SetattrField.FH) === 0
