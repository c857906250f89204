/**
 * The handler of each opcode: it decodes the message, calls the operation and sends the reply.
 *
 * A handler decodes its message before it first awaits; after that the message may hold another request. Only the
 * data of a WRITE stays in place, until the handler has ended or gives the message back. A handler that throws has sent
 * nothing: the session sends the errno. Source of the layouts: linux/fuse.h.
 */
import { constants } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { ErrnoError, NAME_ABSENT } from '../../../core/file-system/errno.ts'
import {
  type Attributes,
  type Entry,
  type Fh,
  type KeepsSetuid,
  type LockOperations,
  type Operations,
} from '../../../core/file-system/operations.ts'
import { chain, ending, type Awaitable } from '../../../store/awaitable.ts'
import type { LockOwner } from '../../../store/file-locking.ts'
import {
  AllocateFlag,
  FSYNC_FDATASYNC,
  GETATTR_FH,
  OPEN_KILL_SUIDGID,
  RELEASE_FLOCK_UNLOCK,
  RenameFlag,
  SETXATTR_ACL_KILL_SGID,
  Whence,
  WRITE_CACHE,
  WRITE_KILL_SUIDGID,
} from './abi/flags.ts'
import { MAX_TRANSFER_BYTES } from './abi/init.ts'
import type { Message, RequestHeader } from './abi/message.ts'
import { Opcode } from './abi/opcodes.ts'
import { changesNothing, readSetattr } from './abi/setattr.ts'
import { DIRECTORY_HANDLERS } from './directory-handlers.ts'
import type { Handler, HandlerContext } from './handler.ts'
import { LOCK_HANDLERS } from './lock-handlers.ts'
import { dropsSetuid, keepsSetuid, keepsSetuidAs, seesTrustedAs } from './capabilities.ts'
import type { Replies } from './replies.ts'

const { ENOTTY } = osConstants.errno
const { S_IFDIR, S_IFMT } = constants

/** Maximum length of a copy_file_range whose reply has 32 bits. */
const COPY_MAX = 0x7fff_f000n

const NAMES: Readonly<Record<number, Handler>> = {
  [Opcode.LOOKUP]: (request, message, { operations, replies, notifier, session, habits }) => {
    const { name } = message.name(0)
    const failed = (error: unknown): void => {
      if (error !== NAME_ABSENT || !notifier.cachesAbsence) throw error
      session.absent(request)
      replies.absence(request)
    }
    const found = (entry: Entry): void => {
      if ((entry.attributes.mode & S_IFMT) !== S_IFDIR) habits.lookedUp(request.caller.pid)
      replies.entry(request, entry)
    }
    let finding: Awaitable<Entry>
    try {
      finding = operations.lookup(request.ino, name, request.caller)
    } catch (error) {
      return failed(error)
    }
    return finding instanceof Promise ? finding.then(found, failed) : found(finding)
  },
  [Opcode.SYMLINK]: async (request, message, { operations, replies }) => {
    const { name, next } = message.name(0)
    const target = Buffer.from(message.text(next).text, 'latin1')
    replies.entry(request, await operations.symlink(request.ino, name, target, request.caller))
  },
  [Opcode.MKNOD]: async (request, message, { operations, replies, sendsUmask }) => {
    const [mode, rdev] = [message.u32(0), message.u32(4)]
    const caller = sendsUmask ? { ...request.caller, umask: message.u32(8) } : request.caller
    const { name } = message.name(16)
    replies.entry(request, await operations.mknod(request.ino, name, mode, rdev, caller))
  },
  [Opcode.MKDIR]: async (request, message, { operations, replies, sendsUmask }) => {
    const mode = message.u32(0)
    const caller = sendsUmask ? { ...request.caller, umask: message.u32(4) } : request.caller
    const { name } = message.name(8)
    replies.entry(request, await operations.mkdir(request.ino, name, mode, caller))
  },
  [Opcode.LINK]: async (request, message, { operations, replies }) => {
    const ino = message.ino(0)
    const { name } = message.name(8)
    replies.entry(request, await operations.link(ino, request.ino, name, request.caller))
  },
  [Opcode.UNLINK]: async (request, message, { operations, replies }) => {
    await operations.unlink(request.ino, message.name(0).name, request.caller)
    replies.empty(request)
  },
  [Opcode.RMDIR]: async (request, message, { operations, replies }) => {
    await operations.rmdir(request.ino, message.name(0).name, request.caller)
    replies.empty(request)
  },
  [Opcode.RENAME]: async (request, message, context) => rename(request, message, context, 8, 0),
  [Opcode.RENAME2]: async (request, message, context) =>
    rename(request, message, context, 16, message.u32(8)),
  [Opcode.CREATE]: async (request, message, { operations, replies, sendsUmask }) => {
    const [flags, mode, openFlags] = [message.u32(0), message.u32(4), message.u32(12)]
    const caller = sendsUmask ? { ...request.caller, umask: message.u32(8) } : request.caller
    const { name } = message.name(16)
    const keeps = openFlags & OPEN_KILL_SUIDGID ? dropsSetuid : keepsSetuid
    const { entry, file } = await operations.create(request.ino, name, mode, flags, caller, keeps)
    replies.created(request, entry, file)
  },
  [Opcode.TMPFILE]: async (request, message, { operations, replies, sendsUmask }) => {
    const [flags, mode] = [message.u32(0), message.u32(4)]
    const caller = sendsUmask ? { ...request.caller, umask: message.u32(8) } : request.caller
    if (operations.createUnnamed === undefined) throw new ErrnoError('EOPNOTSUPP')
    const { entry, file } = await operations.createUnnamed(request.ino, mode, flags, caller)
    replies.created(request, entry, file)
  },
}

const INODES: Readonly<Record<number, Handler>> = {
  [Opcode.GETATTR]: (request, message, { operations, replies }) => {
    const fh = message.u32(0) & GETATTR_FH ? message.fh(8) : undefined
    // stat(2) and fstat(2) send no handle: with one, the kernel needs the size, for lseek(2) or a read at the end.
    const found = operations.getattr(request.ino, fh, fh === undefined)
    return chain(found, attributes => replies.attributes(request, attributes))
  },
  [Opcode.STATX]: (request, message, { operations, replies }) => {
    const fh = message.u32(0) & GETATTR_FH ? message.fh(8) : undefined
    const found = operations.getattr(request.ino, fh, fh === undefined)
    return chain(found, attributes => replies.statx(request, attributes))
  },
  [Opcode.SETATTR]: async (request, message, { operations, replies }) => {
    const changes = readSetattr(message)
    const attributes = changesNothing(message)
      ? await dropPrivileges(request, operations)
      : await operations.setattr(request.ino, changes, request.caller)
    replies.attributes(request, attributes)
  },
  [Opcode.READLINK]: async (request, _message, { operations, replies }) => {
    replies.data(request, [await operations.readlink(request.ino)], MAX_TRANSFER_BYTES)
  },
  [Opcode.STATFS]: async (request, _message, { operations, replies }) => {
    replies.statistics(request, await operations.statfs(request.ino))
  },
  [Opcode.SETXATTR]: async (request, message, { operations, replies, setxattrBytes }) => {
    const [size, flags] = [message.u32(0), message.u32(4)]
    const dropsSetgid = setxattrBytes === 16 && (message.u32(8) & SETXATTR_ACL_KILL_SGID) !== 0
    const { text, next } = message.text(setxattrBytes)
    const value = Buffer.from(message.data(next, size))
    await operations.setxattr(request.ino, text, value, flags, request.caller, dropsSetgid)
    replies.empty(request)
  },
  [Opcode.GETXATTR]: (request, message, { operations, replies }) => {
    const size = message.u32(0)
    const found = operations.getxattr(request.ino, message.text(8).text)
    return chain(found, value => sendValue(request, replies, value, size))
  },
  [Opcode.LISTXATTR]: async (request, message, { operations, replies }) => {
    const size = message.u32(0)
    const names = await operations.listxattr(request.ino, seesTrustedAs(request.caller))
    sendValue(request, replies, Buffer.from(names.map(name => `${name}\0`).join(''), 'latin1'), size)
  },
  [Opcode.REMOVEXATTR]: async (request, message, { operations, replies }) => {
    await operations.removexattr(request.ino, message.text(0).text, request.caller)
    replies.empty(request)
  },
}

const FILES: Readonly<Record<number, Handler>> = {
  [Opcode.OPEN]: async (request, message, { operations, replies }) => {
    const [flags, openFlags] = [message.u32(0), message.u32(4)]
    const keeps = openFlags & OPEN_KILL_SUIDGID ? dropsSetuid : keepsSetuid
    replies.opened(request, await operations.open(request.ino, flags, request.caller, keeps))
  },
  [Opcode.READ]: (request, message, context) => {
    const range = { fh: message.fh(0), off: message.bigU64(8), size: message.u32(16) }
    // The flags of open(2) and fcntl(2).
    if ((message.u32(32) & constants.O_DIRECT) === 0) context.directWrites.cached(request.ino)
    return chain(context.readBuffers.take(), buffer => read(request, range, buffer, context))
  },
  [Opcode.WRITE]: (request, message, context) => {
    const [fh, off, size, flags] = [message.fh(0), message.bigU64(8), message.u32(16), message.u32(20)]
    // The flags of open(2) and fcntl(2); pages that are written back have those of any open handle.
    const fileFlags = flags & WRITE_CACHE ? 0 : message.u32(32)
    const data = message.data(40, size)
    const keeps = flags & WRITE_KILL_SUIDGID ? dropsSetuid : keepsSetuid
    if (fileFlags & (constants.O_APPEND | constants.O_DIRECT)) {
      const written = { fh, off, data, keeps, fileFlags }
      return writeSpecially(request, message, written, context)
    }
    const { operations, replies, directWrites } = context
    directWrites.cached(request.ino)
    return chain(operations.write(request.ino, fh, off, data, keeps), () => replies.count(request, size))
  },
  [Opcode.RELEASE]: (request, message, { operations, replies }) => {
    const { locks } = operations
    if (locks !== undefined && (message.u32(12) & RELEASE_FLOCK_UNLOCK) !== 0)
      return releaseLocked(request, message, operations, locks, replies)
    return chain(operations.release(request.ino, message.fh(0)), () => replies.empty(request))
  },
  [Opcode.FSYNC]: async (request, message, { operations, replies }) => {
    const dataOnly = (message.u32(8) & FSYNC_FDATASYNC) !== 0
    await operations.fsync(request.ino, message.fh(0), dataOnly)
    replies.empty(request)
  },
  [Opcode.FALLOCATE]: async (request, message, { operations, replies }) => {
    const [fh, off, len, mode] = [message.fh(0), message.bigU64(8), message.bigU64(16), message.u32(24)]
    const { KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE } = AllocateFlag
    if (mode & ~(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE))
      throw new ErrnoError('EOPNOTSUPP', `fallocate's mode ${mode} is not supported`)
    const flags = {
      keepSize: (mode & KEEP_SIZE) !== 0,
      punchHole: (mode & PUNCH_HOLE) !== 0,
      zeroRange: (mode & ZERO_RANGE) !== 0,
    }
    await operations.allocate(request.ino, fh, flags, off, len, keepsSetuidAs(request.caller))
    replies.empty(request)
  },
  [Opcode.LSEEK]: async (request, message, { operations, replies }) => {
    const [fh, off, whence] = [message.fh(0), message.bigU64(8), message.u32(16)]
    if (whence !== Whence.DATA && whence !== Whence.HOLE) throw new ErrnoError('EINVAL')
    const kind = whence === Whence.DATA ? 'data' : 'hole'
    replies.big(request, await operations.seek(request.ino, fh, off, kind))
  },
  [Opcode.COPY_FILE_RANGE]: async (request, message, context) => {
    context.replies.count(request, Number(await copy(request, message, context.operations, COPY_MAX)))
  },
  [Opcode.COPY_FILE_RANGE_64]: async (request, message, context) => {
    context.replies.big(request, await copy(request, message, context.operations, undefined))
  },
}

const CONTROL: Readonly<Record<number, Handler>> = {
  [Opcode.INIT]: (request, message, { session }) => session.init(request, message),
  [Opcode.DESTROY]: (request, _message, { replies }) => replies.empty(request),
  [Opcode.INTERRUPT]: (_request, message, { session }) => session.interrupt(message.u64(0)),
  [Opcode.FORGET]: (request, message, { operations }) => operations.forget(request.ino, message.u64(0)),
  // fuse_batch_forget_in: u32 count, u32 padding, then for each a u64 inode and a u64 count.
  [Opcode.BATCH_FORGET]: (_request, message, { operations }) => {
    const count = message.u32(0)
    for (let at = 8; at < 8 + count * 16; at += 16) operations.forget(message.ino(at), message.u64(at + 8))
  },
  [Opcode.IOCTL]: (request, _message, { replies }) => replies.error(request, ENOTTY),
}

const HANDLERS: Readonly<Record<number, Handler>> = {
  ...NAMES,
  ...INODES,
  ...FILES,
  ...DIRECTORY_HANDLERS,
  ...CONTROL,
  ...LOCK_HANDLERS,
}

/** The handler of an opcode; undefined if it is not supported (ENOSYS). */
export const handlerOf = (opcode: number): Handler | undefined => HANDLERS[opcode]

/** Whether the kernel expects no answer. */
export const isUnanswered = (opcode: number): boolean =>
  opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT

interface SpecialWrite {
  readonly fh: Fh
  readonly off: bigint
  readonly data: Uint8Array
  readonly keeps: KeepsSetuid
  /** Of open(2) and fcntl(2). */
  readonly fileFlags: number
}

/** Closes a handle, and releases the flock(2) locks of it. */
async function releaseLocked(
  request: RequestHeader,
  message: Message,
  operations: Operations,
  locks: LockOperations,
  replies: Replies,
): Promise<void> {
  const owner: LockOwner = { kind: 'flock', id: message.bigU64(16) }
  try {
    await operations.release(request.ino, message.fh(0))
  } finally {
    // The kernel ignores errors of RELEASE and does not repeat it.
    await locks.unlockAll(request.ino, owner)
  }
  replies.empty(request)
}

/** A write at the end of the file, and one that does not use the kernel's pages. */
async function writeSpecially(
  request: RequestHeader,
  message: Message,
  { fh, off, data, keeps, fileFlags }: SpecialWrite,
  { operations, replies, directWrites, recycle }: HandlerContext,
): Promise<void> {
  const { length } = data
  let at = off
  if (fileFlags & constants.O_APPEND)
    at = (await operations.append(request.ino, fh, data, keeps, off)) - BigInt(length)
  else await operations.write(request.ino, fh, off, data, keeps)
  if (fileFlags & constants.O_DIRECT) {
    // To drop a dirty page the kernel writes it first.
    recycle(message)
    await directWrites.written(request.ino, at, BigInt(length))
  }
  replies.count(request, length)
}

/** Answers a READ, at once if the bytes are at hand, and gives the buffer back. */
function read(
  request: RequestHeader,
  { fh, off, size }: { readonly fh: Fh; readonly off: bigint; readonly size: number },
  buffer: Uint8Array,
  { operations, replies, readBuffers }: HandlerContext,
): Awaitable<void> {
  const into = size <= buffer.length ? buffer : undefined
  return ending(
    () =>
      chain(operations.read(request.ino, fh, off, size, into), pieces => replies.data(request, pieces, size)),
    () => readBuffers.recycle(buffer),
  )
}

async function rename(
  request: RequestHeader,
  message: Message,
  { operations, replies }: HandlerContext,
  namesAt: number,
  bits: number,
): Promise<void> {
  if (bits & ~(RenameFlag.NOREPLACE | RenameFlag.EXCHANGE | RenameFlag.WHITEOUT))
    throw new ErrnoError('EINVAL')
  const newParent = message.ino(0)
  const { name, next } = message.name(namesAt)
  const { name: newName } = message.name(next)
  const flags = {
    noReplace: (bits & RenameFlag.NOREPLACE) !== 0,
    exchange: (bits & RenameFlag.EXCHANGE) !== 0,
    whiteout: (bits & RenameFlag.WHITEOUT) !== 0,
  }
  await operations.rename(request.ino, name, newParent, newName, flags, request.caller)
  replies.empty(request)
}

/** Replies to getxattr and listxattr. With size 0 the kernel requests only the length. */
function sendValue(request: RequestHeader, replies: Replies, value: Uint8Array, size: number): void {
  if (size === 0) replies.count(request, value.length)
  else if (value.length > size) throw new ErrnoError('ERANGE')
  else replies.data(request, [value], size)
}

function copy(
  request: RequestHeader,
  message: Message,
  operations: Operations,
  limit: bigint | undefined,
): Promise<bigint> {
  const from = { ino: request.ino, fh: message.fh(0), off: message.bigU64(8) }
  const to = { ino: message.ino(16), fh: message.fh(24), off: message.bigU64(32) }
  const length = message.bigU64(40)
  if (message.bigU64(48) !== 0n) throw new ErrnoError('EINVAL')
  const bounded = limit !== undefined && length > limit ? limit : length
  return operations.copyFileRange(from, to, bounded, keepsSetuidAs(request.caller))
}

/**
 * A SETATTR without attributes: a chown(2) that keeps owner and group, which drops setuid and setgid if the caller may change the mode. The
 * kernel also sends it before a write that drops them, although the WRITE has a flag for that.
 */
async function dropPrivileges({ ino, caller }: RequestHeader, operations: Operations): Promise<Attributes> {
  const attributes = await operations.getattr(ino, undefined, false)
  if (caller.uid !== 0 && caller.uid !== attributes.uid) return attributes
  return await operations.setattr(ino, { dropsPrivileges: true }, caller)
}
