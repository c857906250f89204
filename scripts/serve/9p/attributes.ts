/** The attributes of an inode as 9P2000.L has them. */
import { isDirectory, isSymbolicLink } from '../../../core/tree/inode.ts'
import type { AttributeChanges, Attributes, Ino } from '../../../core/file-system/operations.ts'
import { Answer, type Fields, type Qid } from './message.ts'

/** All of P9_GETATTR_ALL. */
const GETATTR_ALL = 0x3fffn

const Valid = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  ATIME_SET: 128,
  MTIME_SET: 256,
} as const

export const qidOf = (ino: Ino, mode: number): Qid => ({
  type: isDirectory({ mode }) ? 0x80 : isSymbolicLink({ mode }) ? 0x02 : 0,
  path: BigInt(ino),
})

export function attributesAnswer(attributes: Attributes): Answer {
  const { ino, mode, uid, gid, nlink, rdev, size, blksize, blocks } = attributes
  const answer = new Answer().u64(GETATTR_ALL).qid(qidOf(ino, mode)).u32(mode).u32(uid).u32(gid)
  for (const value of [nlink, rdev, size, blksize, blocks]) answer.u64(value)
  for (const timeNs of [attributes.atimeNs, attributes.mtimeNs, attributes.ctimeNs, attributes.birthtimeNs]) {
    const nanoseconds = ((timeNs % NS_PER_S) + NS_PER_S) % NS_PER_S
    answer.u64((timeNs - nanoseconds) / NS_PER_S).u64(nanoseconds)
  }
  return answer.u64(0).u64(0)
}

const NS_PER_S = 1_000_000_000n

export function changesIn(fields: Fields): AttributeChanges {
  const [valid, mode, uid, gid, size] = [fields.u32(), fields.u32(), fields.u32(), fields.u32(), fields.u64()]
  const time = (): bigint => BigInt.asIntN(64, fields.u64()) * NS_PER_S + fields.u64()
  const [atimeNs, mtimeNs] = [time(), time()]
  return {
    ...(valid & Valid.MODE && { mode: mode & 0o7777 }),
    ...(valid & Valid.UID && { uid }),
    ...(valid & Valid.GID && { gid }),
    ...(valid & Valid.SIZE && { size }),
    ...(valid & Valid.ATIME && { atimeNs: valid & Valid.ATIME_SET ? atimeNs : ('now' as const) }),
    ...(valid & Valid.MTIME && { mtimeNs: valid & Valid.MTIME_SET ? mtimeNs : ('now' as const) }),
  }
}
