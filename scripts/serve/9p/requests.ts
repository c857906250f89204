/** The requests of 9P2000.L as operations: one function per type, which reads the request's fields and returns the answer's. */
import { ending } from '../../../store/awaitable.ts'
import { isDirectory } from '../../../core/tree/inode.ts'
import { constants } from 'node:fs'
import { ErrnoError } from '../../../core/file-system/errno.ts'
import {
  type Caller,
  DOT_DOT,
  type Entry,
  type Ino,
  name as toName,
  type Name,
  type Operations,
  ROOT_INO,
} from '../../../core/file-system/operations.ts'
import { attributesAnswer, changesIn, qidOf } from './attributes.ts'
import type { Fid, Fids } from './fids.ts'
import { LockStatus, LockType, rangeLockIn, type RangeLocks } from './locks.ts'
import { Answer, type Fields, HEADER_BYTES, type Qid, Type } from './message.ts'

const { S_IFDIR, O_WRONLY, O_RDWR, O_TRUNC, O_APPEND } = constants
const O_ACCMODE = O_WRONLY | O_RDWR
const VERSION = '9P2000.L'
const NO_ID = 0xffff_ffff
const WALK_MAX = 16
/** Maximum size of a message. */
export const MESSAGE_MAX_BYTES = (1 << 20) + 24
/** A smaller maximum is refused: most answers would not fit. */
const MESSAGE_MIN_BYTES = 4096
/** Fields of the answer to a read before its data, and of a directory's entry before its name. */
const READ_HEADER_BYTES = HEADER_BYTES + 4
const ENTRY_BYTES = 13 + 8 + 1 + 2
const ENTRIES_MAX = 1024
const AT_REMOVEDIR = 0x200
const V9FS_MAGIC = 0x0102_1997
const ATTRIBUTE_MAX_BYTES = 64 << 10

/** A connection, as its requests use it. */
export interface Connection {
  readonly operations: Operations
  readonly fids: Fids
  readonly locks: RangeLocks
  /** The names that lead to the served tree. */
  readonly base: readonly Name[]
  /** Who makes the changes of a client's user: root serves every user, others only themselves. */
  readonly callerOf: (uid: number, gid?: number) => Caller
  readonly readOnly: boolean
  messageBytes: number
}

type Handler = (fields: Fields, connection: Connection) => Promise<Answer>

/** A client sends the end that it knows as the offset of an append, but another client may have moved the end. */
const appends = (flags: number): boolean => (flags & O_APPEND) !== 0

const qidOfEntry = ({ attributes: { ino, mode } }: Entry): Qid => qidOf(ino, mode)

/** @throws ErrnoError EINVAL */
function checkedName(text: string): Name {
  if (text === '' || text.includes('/') || text.includes('\0')) throw new ErrnoError('EINVAL')
  return toName(text)
}

/** The reference that an operation adds to a new inode is not kept: the client walks to it. */
function created(entry: Entry, { operations }: Connection): Answer {
  operations.forget(entry.attributes.ino, 1)
  return new Answer().qid(qidOfEntry(entry))
}

export const HANDLERS: Readonly<Record<number, Handler>> = {
  [Type.VERSION]: async (fields, connection) => {
    const [bytes, version] = [fields.u32(), fields.text()]
    if (bytes < MESSAGE_MIN_BYTES) throw new ErrnoError('EINVAL')
    await connection.fids.clunkAll()
    connection.messageBytes = Math.min(bytes, MESSAGE_MAX_BYTES)
    return new Answer().u32(connection.messageBytes).text(version.startsWith(VERSION) ? VERSION : 'unknown')
  },
  [Type.ATTACH]: attach,
  [Type.WALK]: walk,
  [Type.CLUNK]: async (fields, connection) => {
    const { ino, uid, attribute } = await connection.fids.clunk(fields.u32())
    if (attribute?.kind === 'write') {
      const { name, value, flags } = attribute
      await connection.operations.setxattr(ino, name, value, flags, connection.callerOf(uid))
    }
    return new Answer()
  },
  [Type.STATFS]: async (fields, { operations, fids }) => {
    const { blockSize, blocks, blocksFree, blocksAvailable, files, filesFree, nameMax } =
      await operations.statfs(fids.get(fields.u32()).ino)
    const answer = new Answer().u32(V9FS_MAGIC).u32(blockSize)
    for (const count of [blocks, blocksFree, blocksAvailable, files, filesFree, 0]) answer.u64(count)
    return answer.u32(nameMax)
  },
  [Type.GETATTR]: async (fields, { operations, fids }) => {
    const { ino } = fids.get(fields.u32())
    return attributesAnswer(await operations.getattr(ino))
  },
  [Type.SETATTR]: async (fields, { operations, fids, callerOf }) => {
    const { ino, uid } = fids.get(fields.u32())
    await operations.setattr(ino, changesIn(fields), callerOf(uid))
    return new Answer()
  },
  [Type.READLINK]: async (fields, { operations, fids }) => {
    const target = await operations.readlink(fids.get(fields.u32()).ino)
    return new Answer().text(Buffer.from(target).toString('latin1'))
  },
}

export const FILE_HANDLERS: Readonly<Record<number, Handler>> = {
  [Type.LOPEN]: async (fields, { operations, fids, callerOf, readOnly }) => {
    const number = fields.u32()
    const flags = fields.u32() & (O_ACCMODE | O_TRUNC | O_APPEND)
    if (readOnly && (flags & (O_ACCMODE | O_TRUNC)) !== 0) throw new ErrnoError('EROFS')
    const answer = new Answer()
    await fids.open(number, async ({ ino, uid }) => {
      const { mode } = await operations.getattr(ino)
      answer.qid(qidOf(ino, mode)).u32(0)
      const caller = callerOf(uid)
      return isDirectory({ mode })
        ? { kind: 'directory', fh: await operations.opendir(ino, flags, caller) }
        : { kind: 'file', fh: (await operations.open(ino, flags, caller)).fh, appends: appends(flags) }
    })
    return answer
  },
  [Type.LCREATE]: async (fields, { operations, fids, callerOf }) => {
    const number = fields.u32()
    const { ino, uid, rootIno } = fids.get(number)
    const name = checkedName(fields.text())
    const flags = fields.u32() & (O_ACCMODE | O_TRUNC | O_APPEND)
    const [mode, gid] = [fields.u32(), fields.u32()]
    const { entry, file } = await operations.create(ino, name, mode & 0o7777, flags, callerOf(uid, gid))
    const handle = { kind: 'file' as const, fh: file.fh, appends: appends(flags) }
    await fids.put(number, { ino: fids.entered(entry), rootIno, uid, handle })
    return new Answer().qid(qidOfEntry(entry)).u32(0)
  },
  [Type.READ]: async (fields, { operations, fids, messageBytes }) => {
    const { ino, handle, attribute } = fids.get(fields.u32())
    const off = fields.u64()
    const length = Math.min(fields.u32(), messageBytes - READ_HEADER_BYTES)
    if (attribute?.kind === 'read') {
      const value = attribute.value.subarray(Number(off), Number(off) + length)
      return new Answer().u32(value.length).data(value)
    }
    if (handle?.kind !== 'file') throw new ErrnoError('EBADF')
    const pieces = await operations.read(ino, handle.fh, off, length)
    const answer = new Answer().u32(pieces.reduce((sum, piece) => sum + piece.length, 0))
    for (const piece of pieces) answer.data(piece)
    return answer
  },
  [Type.WRITE]: async (fields, { operations, fids }) => {
    const { ino, handle, attribute } = fids.get(fields.u32())
    const off = fields.u64()
    const data = fields.data(fields.u32())
    if (attribute?.kind === 'write') {
      if (off + BigInt(data.length) > BigInt(attribute.value.length)) throw new ErrnoError('ENOSPC')
      data.copy(attribute.value, Number(off))
      return new Answer().u32(data.length)
    }
    if (handle?.kind !== 'file') throw new ErrnoError('EBADF')
    if (handle.appends) await operations.append(ino, handle.fh, data)
    else await operations.write(ino, handle.fh, off, data)
    return new Answer().u32(data.length)
  },
  [Type.FSYNC]: async (fields, { operations, fids }) => {
    const { ino, handle } = fids.get(fields.u32())
    await operations.fsync(ino, handle?.fh, fields.u32() !== 0)
    return new Answer()
  },
  [Type.READDIR]: readDirectory,
  [Type.LOCK]: (fields, { fids, locks }) => {
    const { ino } = fids.get(fields.u32())
    const type = fields.u8()
    fields.u32()
    const isTaken = locks.set(ino, rangeLockIn(fields, type, fids))
    return Promise.resolve(new Answer().u8(isTaken ? LockStatus.SUCCESS : LockStatus.BLOCKED))
  },
  [Type.GETLOCK]: (fields, { fids, locks }) => {
    const { ino } = fids.get(fields.u32())
    const wanted = rangeLockIn(fields, fields.u8(), fids)
    const { type, start, length, process, client } = locks.conflict(ino, wanted) ?? {
      ...wanted,
      type: LockType.UNLOCK,
    }
    return Promise.resolve(new Answer().u8(type).u64(start).u64(length).u32(process).text(client))
  },
}

export const NAME_HANDLERS: Readonly<Record<number, Handler>> = {
  [Type.MKDIR]: async (fields, connection) => {
    const { ino, uid } = connection.fids.get(fields.u32())
    const [name, mode, gid] = [checkedName(fields.text()), fields.u32(), fields.u32()]
    const caller = connection.callerOf(uid, gid)
    return created(await connection.operations.mkdir(ino, name, mode & 0o7777, caller), connection)
  },
  [Type.SYMLINK]: async (fields, connection) => {
    const { ino, uid } = connection.fids.get(fields.u32())
    const [name, target, gid] = [checkedName(fields.text()), fields.text(), fields.u32()]
    const caller = connection.callerOf(uid, gid)
    const bytes = Buffer.from(target, 'latin1')
    return created(await connection.operations.symlink(ino, name, bytes, caller), connection)
  },
  [Type.MKNOD]: async (fields, connection) => {
    const { ino, uid } = connection.fids.get(fields.u32())
    const [name, mode] = [checkedName(fields.text()), fields.u32()]
    const [major, minor, gid] = [fields.u32(), fields.u32(), fields.u32()]
    const rdev = (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)
    const caller = connection.callerOf(uid, gid)
    return created(await connection.operations.mknod(ino, name, mode, rdev, caller), connection)
  },
  [Type.LINK]: async (fields, connection) => {
    const { operations, fids, callerOf } = connection
    const directory = fids.get(fields.u32())
    const { ino } = fids.get(fields.u32())
    const entry = await operations.link(
      ino,
      directory.ino,
      checkedName(fields.text()),
      callerOf(directory.uid),
    )
    operations.forget(entry.attributes.ino, 1)
    return new Answer()
  },
  [Type.RENAMEAT]: async (fields, { operations, fids, callerOf }) => {
    const { ino, uid } = fids.get(fields.u32())
    const name = checkedName(fields.text())
    const target = fids.get(fields.u32())
    await operations.rename(ino, name, target.ino, checkedName(fields.text()), {}, callerOf(uid))
    return new Answer()
  },
  [Type.UNLINKAT]: async (fields, { operations, fids, callerOf }) => {
    const { ino, uid } = fids.get(fields.u32())
    const name = checkedName(fields.text())
    const remove = (fields.u32() & AT_REMOVEDIR) !== 0 ? 'rmdir' : 'unlink'
    await operations[remove](ino, name, callerOf(uid))
    return new Answer()
  },
  [Type.XATTRWALK]: async (fields, { operations, fids }) => {
    const { ino, rootIno, uid } = fids.get(fields.u32())
    const [number, name] = [fields.u32(), fields.text()]
    const value =
      name === ''
        ? Buffer.from((await operations.listxattr(ino)).map(name => `${name}\0`).join(''), 'latin1')
        : await operations.getxattr(ino, name)
    await fids.copy(number, { ino, rootIno, uid })
    try {
      fids.setAttribute(number, { kind: 'read', value })
    } catch (error) {
      await fids.clunk(number)
      throw error
    }
    return new Answer().u64(value.length)
  },
  [Type.XATTRCREATE]: (fields, { fids }) => {
    const [number, name, size, flags] = [fields.u32(), fields.text(), fields.u64(), fields.u32()]
    if (size > ATTRIBUTE_MAX_BYTES) throw new ErrnoError('E2BIG')
    fids.setAttribute(number, { kind: 'write', name, flags, value: Buffer.alloc(Number(size)) })
    return Promise.resolve(new Answer())
  },
}

/** The root of a tree for a user. The name may be a path in the tree, as `@yesterday` or `data/images`. */
async function attach(fields: Fields, connection: Connection): Promise<Answer> {
  const { fids, base } = connection
  const [number] = [fields.u32(), fields.u32(), fields.text()]
  const [path, uid] = [fields.text(), fields.u32()]
  const names = [
    ...base,
    ...path
      .split('/')
      .filter(part => part !== '' && part !== '.')
      .map(checkedName),
  ]
  const fid = await walkTo(
    connection,
    { ino: ROOT_INO, rootIno: ROOT_INO, uid: uid === NO_ID ? 0 : uid },
    names,
  )
  await fids.put(number, { ...fid, rootIno: fid.ino })
  return new Answer().qid(qidOf(fid.ino, S_IFDIR))
}

/** The fid of a path, whose use of the inode passes to the caller. */
async function walkTo(
  { operations, fids, callerOf }: Connection,
  from: Fid,
  names: readonly Name[],
): Promise<Fid> {
  const { uid } = from
  let { ino } = from
  let held: Ino | undefined
  for (const name of names) {
    const parent = ino
    const entry = await ending(
      () => operations.lookup(parent, name, callerOf(uid)),
      () => {
        if (held !== undefined) fids.letGo(held)
      },
    )
    ino = held = fids.entered(entry)
  }
  // The root needs no reference.
  return { ...from, ino }
}

async function walk(fields: Fields, connection: Connection): Promise<Answer> {
  const { operations, fids, callerOf } = connection
  const from = fids.get(fields.u32())
  const [number, count] = [fields.u32(), fields.u16()]
  if (count > WALK_MAX) throw new ErrnoError('EINVAL')
  const names = Array.from({ length: count }, () => fields.text())
  if (count === 0) {
    await fids.copy(number, from)
    return new Answer().u16(0)
  }
  const qids: Qid[] = []
  let { ino } = from
  let held: Ino | undefined
  try {
    for (const text of names) {
      // The root is its own parent.
      const name =
        text === '..' && ino === from.rootIno ? toName('.') : text === '..' ? DOT_DOT : checkedName(text)
      const entry = await operations.lookup(ino, name, callerOf(from.uid))
      const next = fids.entered(entry)
      if (held !== undefined) fids.letGo(held)
      ino = held = next
      qids.push(qidOfEntry(entry))
    }
  } catch (error) {
    if (qids.length === 0) throw error
  }
  if (qids.length === count) await fids.put(number, { ino, rootIno: from.rootIno, uid: from.uid })
  else if (held !== undefined) fids.letGo(held)
  const answer = new Answer().u16(qids.length)
  for (const qid of qids) answer.qid(qid)
  return answer
}

async function readDirectory(
  fields: Fields,
  { operations, fids, messageBytes }: Connection,
): Promise<Answer> {
  const { ino, handle } = fids.get(fields.u32())
  const cookie = fields.u64()
  let left = Math.min(fields.u32(), messageBytes - READ_HEADER_BYTES)
  if (handle?.kind !== 'directory') throw new ErrnoError('EBADF')
  const limit = Math.min(ENTRIES_MAX, Math.max(1, Math.floor(left / (ENTRY_BYTES + 1))))
  const entries = new Answer()
  let length = 0
  for (const entry of await operations.readdir(ino, handle.fh, cookie, limit)) {
    const bytes = ENTRY_BYTES + entry.name.length
    if (bytes > left) break
    left -= bytes
    length += bytes
    entries
      .qid(qidOf(entry.ino, entry.type))
      .u64(entry.cookie)
      .u8(entry.type >> 12)
      .text(entry.name)
  }
  return new Answer().u32(length).data(entries.fields())
}
