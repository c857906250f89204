/**
 * A 9P2000.L server, for the kernel's 9p client (Linux guests, WSL).
 *
 * Requests of a connection run concurrently and are answered as they end. The protocol has no authentication that clients use: who can
 * connect may do what the user of this process may do.
 */
import { constants } from 'node:os'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { errnoOf } from '../../../core/file-system/errno.ts'
import type { Caller, Name, Operations } from '../../../core/file-system/operations.ts'
import { isRoot, processOwner } from '../../../core/process-owner.ts'
import { ByteReader } from '../byte-reader.ts'
import type { ListenPlace } from '../listen.ts'
import { type RunningServer, startServer } from '../server.ts'
import { Fids, type FidUsage } from './fids.ts'
import { RangeLocks } from './locks.ts'
import { Answer, Fields, HEADER_BYTES, MalformedMessageError, Type } from './message.ts'
import { type Connection, FILE_HANDLERS, HANDLERS, MESSAGE_MAX_BYTES, NAME_HANDLERS } from './requests.ts'
import { drained } from '../../drained.ts'

const { EINVAL, EOPNOTSUPP, EROFS } = constants.errno
const REQUESTS_MAX = 64
/** Bytes of a connection's requests that run, and of the answers that they may have. */
const RUNNING_MAX_BYTES = 8 << 20
const NO_ID = 0xffff_ffff
const ALL = { ...HANDLERS, ...FILE_HANDLERS, ...NAME_HANDLERS }

/** The requests that always change something; opening, and creating, are refused by the filesystem. */
const CHANGING: ReadonlySet<number> = new Set([
  Type.LCREATE,
  Type.SYMLINK,
  Type.MKNOD,
  Type.SETATTR,
  Type.XATTRCREATE,
  Type.LINK,
  Type.MKDIR,
  Type.RENAMEAT,
  Type.UNLINKAT,
  Type.WRITE,
])

/** The requests whose answers may be as long as a message may be. */
const ANSWERS_DATA: ReadonlySet<number> = new Set([Type.READ, Type.READDIR])

export interface NinePOptions {
  readonly operations: Operations
  /** The names that lead to the served tree: a moment of the past. */
  readonly base: readonly Name[]
  readonly readOnly: boolean
  readonly place: ListenPlace
  readonly log: Logger
}

/** Serves until it is closed. @throws CommandError if the place is taken. */
export async function startNinePServer(options: NinePOptions): Promise<RunningServer> {
  const shared = { locks: new RangeLocks(), usage: { fids: 0, attributeBytes: 0 } }
  return await startServer(options.place, socket => serveClient(socket, options, shared))
}

/** Files that a client makes belong to its user if this process may give them away. */
function callerOf(uid: number, gid?: number): Caller {
  const owner = processOwner()
  const pid = process.pid
  if (!isRoot()) return { ...owner, pid }
  return {
    uid: uid === NO_ID ? owner.uid : uid,
    gid: gid === undefined || gid === NO_ID ? owner.gid : gid,
    pid,
  }
}

/** What all connections share. */
interface Shared {
  readonly locks: RangeLocks
  readonly usage: FidUsage
}

async function serveClient(socket: Socket, options: NinePOptions, { locks, usage }: Shared): Promise<void> {
  const { operations, base, readOnly, log } = options
  socket.on('error', error => log.debug({ err: error }, 'a 9P connection broke'))
  const fids = new Fids(operations, usage)
  const connection: Connection = {
    operations,
    fids,
    locks,
    base,
    callerOf,
    readOnly,
    messageBytes: MESSAGE_MAX_BYTES,
  }
  const running = new Map<number, Promise<void>>()
  // Of the requests that run.
  const load = { bytes: 0 }
  try {
    const reader = new ByteReader(socket)
    for (;;) {
      const header = await reader.take(HEADER_BYTES)
      const size = header?.readUInt32LE(0) ?? 0
      if (header === undefined || size < HEADER_BYTES || size > MESSAGE_MAX_BYTES) break
      const body = await reader.take(size - HEADER_BYTES)
      if (body === undefined) break
      const [type, tag] = [header.readUInt8(4), header.readUInt16LE(5)]
      // A second request with the tag would be served uncounted, and the connection would not wait for it.
      if (running.has(tag)) break
      const flushed = type === Type.FLUSH && body.length >= 2 ? running.get(body.readUInt16LE()) : undefined
      const bytes = ANSWERS_DATA.has(type) ? connection.messageBytes : size
      load.bytes += bytes
      const work = answer(type, new Fields(body), connection, options, flushed)
        .then(message => void socket.write(message.answer.message(message.type, tag)))
        .finally(() => {
          running.delete(tag)
          load.bytes -= bytes
        })
      running.set(tag, work)
      while (running.size >= REQUESTS_MAX || load.bytes >= RUNNING_MAX_BYTES)
        await Promise.race(running.values())
      await drained(socket)
    }
  } catch (error) {
    log.debug({ err: error }, 'a 9P connection ended')
  } finally {
    await Promise.allSettled(running.values())
    await fids.clunkAll()
    locks.release(fids)
    // What is not read yet is not waited for.
    socket.destroySoon()
  }
}

/** Never rejects. */
async function answer(
  type: number,
  fields: Fields,
  connection: Connection,
  { readOnly, log }: NinePOptions,
  flushed: Promise<void> | undefined,
): Promise<{ readonly type: number; readonly answer: Answer }> {
  const fail = (errno: number) => ({ type: Type.RLERROR, answer: new Answer().u32(errno) })
  try {
    if (type === Type.FLUSH) {
      // The answer to the flushed request comes first: the client then knows its effect.
      await flushed
      return { type: type + 1, answer: new Answer() }
    }
    // Error 0: this server requires no authentication, in the form that libnpclient (diod) expects; other clients take any error for that.
    if (type === Type.AUTH) return fail(0)
    const handler = ALL[type]
    if (handler === undefined) return fail(EOPNOTSUPP)
    if (readOnly && CHANGING.has(type)) return fail(EROFS)
    return { type: type + 1, answer: await handler(fields, connection) }
  } catch (error) {
    if (error instanceof MalformedMessageError) return fail(EINVAL)
    return fail(errnoOf(error, error => log.error({ err: error, type }, 'a 9P request failed')))
  }
}
