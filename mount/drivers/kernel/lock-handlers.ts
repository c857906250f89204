/** The handlers of requests about locks of files. The kernel sends them only if INIT has agreed on it (`-o locks=global`). */
import { constants } from 'node:os'
import type { LockOwner } from '../../../store/file-locking.ts'
import { readLock } from './abi/lock.ts'
import type { Message, RequestHeader } from './abi/message.ts'
import { Opcode } from './abi/opcodes.ts'
import type { Handler, HandlerContext } from './handler.ts'

const { ENOSYS } = constants.errno

export const LOCK_HANDLERS: Readonly<Record<number, Handler>> = {
  [Opcode.GETLK]: async (request, message, { operations, replies }) => {
    const { owner, lock } = readLock(message)
    replies.lock(request, await operations.locks?.test(request.ino, owner, lock))
  },
  [Opcode.SETLK]: (request, message, context) => setLock(request, message, context, undefined),
  [Opcode.SETLKW]: (request, message, context) =>
    setLock(request, message, context, context.session.whileWaiting(request)),
  // Closing stores nothing. It releases locks of fcntl(2) if these are kept here; otherwise the kernel sends no other FLUSH after this
  // answer.
  [Opcode.FLUSH]: (request, message, { operations, replies }) => {
    const { locks } = operations
    if (locks === undefined) return replies.error(request, ENOSYS)
    const owner: LockOwner = { kind: 'fcntl', id: message.bigU64(16) }
    return locks.unlockAll(request.ino, owner).then(() => replies.empty(request))
  },
}

async function setLock(
  request: RequestHeader,
  message: Message,
  { operations, replies }: HandlerContext,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { locks } = operations
  const { owner, lock, unlocks } = readLock(message)
  if (unlocks) await locks?.unlock(request.ino, owner, lock)
  else await locks?.lock(request.ino, owner, lock, signal)
  replies.empty(request)
}
