/**
 * The conversation with the kernel about one mount, from INIT to the unmount.
 *
 * 1. The event loop watches /dev/fuse (non-blocking) and calls {@link Session} when there is a request.
 * 2. `#serve` then reads requests as fast as they come. Between two reads it lets microtasks run, so operations
 *    that wait for nothing outside answer at once. When there is no request it looks again for {@link SPIN_MS}:
 *    a caller that has its answer usually asks again within microseconds, and waking up costs more than looking.
 *    Where others want the processor, looking takes it from the caller too: having lost it meanwhile, `#serve` does
 *    not look again for {@link REST_MS}. That shows in the time between two looks while no operation is under way.
 * 3. It goes back to the event loop when nothing came, and at the latest after {@link BUSY_MS}, so that
 *    timers, the store's worker and the control socket have their turn under any load.
 *
 * A write's data stays in the message that it was read into until the operation has ended; other requests are
 * decoded before their handlers first await, and their message is used again for the next one. There are at most
 * {@link MESSAGES_MAX} messages; while writes hold them all, nothing is read.
 *
 * Nothing that the kernel sends ends the session but the end of the mount: a request that cannot be understood gets
 * EINVAL or ENOSYS and a log line.
 */
import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import type { Logger } from 'pino'
import { errnoOf } from '../../../core/file-system/errno.ts'
import type { Ino, Operations } from '../../../core/file-system/operations.ts'
import { InitFlag } from './abi/flags.ts'
import {
  type Agreement,
  agree,
  MAX_TRANSFER_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR_MIN,
  readInit,
} from './abi/init.ts'
import { MalformedRequestError, Message, type RequestHeader } from './abi/message.ts'
import { Opcode, opcodeName } from './abi/opcodes.ts'
import { type Handler, type HandlerContext, handlerOf } from './handlers.ts'
import { canGiveUp, isDying } from './interrupt.ts'
import { KernelNotifier } from './kernel-notifier.ts'
import { ReadBuffers } from './read-buffers.ts'
import { Replies } from './replies.ts'
import { addressOf, errno, read, watch } from './system-calls.ts'

const { EAGAIN, EINTR, EINVAL, ENODEV, ECONNABORTED, ENOENT, ENOSYS, ENOTTY, EOPNOTSUPP, EPROTO } =
  constants.errno

/** A whole write, its header, and a page to spare. */
const MESSAGE_BYTES = MAX_TRANSFER_BYTES + 4096
const MESSAGES_MAX = 12
const SPIN_MS = 0.05
/** Between two looks in a row there is a microsecond, unless another process had this processor in between. */
const PREEMPTED_MS = 0.3
const REST_MS = 100
const BUSY_MS = 2
/** So many promises one after the other may go on between two looks, while an operation is under way. */
const HOPS = 64

/** Awaited to let the promises that can go on do so. */
const MICROTASKS = Promise.resolve()

export interface SessionOptions {
  readonly log: Logger
  readonly writebackCache: boolean
}

export class Session {
  /** Resolves when the kernel and we have agreed; rejects where we cannot or the mount ended before. */
  readonly started: Promise<Agreement>
  /** Resolves when the mount is gone and every operation has settled. */
  readonly done: Promise<void>

  readonly #fd: number
  readonly #operations: Operations
  readonly #options: SessionOptions
  readonly #log: Logger
  readonly #replies: Replies
  readonly #notifier: KernelNotifier
  readonly #start = Promise.withResolvers<Agreement>()
  readonly #end = Promise.withResolvers<void>()
  readonly #free: PlacedMessage[] = []
  /** Requests that an INTERRUPT may end, by unique. */
  readonly #interruptible = new Map<number, RequestHeader>()
  #messages = 0
  #underway = 0
  /** Operations that have ended. */
  #settled = 0
  /** Until when it goes to the event loop as soon as there is no request. */
  #restUntil = 0
  #ended = false
  #context: HandlerContext
  #unwatch: (() => void) | undefined

  /** @param fd - /dev/fuse, non-blocking and mounted; the session closes it. */
  constructor(fd: number, operations: Operations, options: SessionOptions) {
    this.#fd = fd
    this.#operations = operations
    this.#options = options
    this.#log = options.log
    this.#replies = new Replies(fd, options.log)
    this.#notifier = new KernelNotifier(fd, options.log)
    this.#context = {
      operations,
      replies: this.#replies,
      readBuffers: new ReadBuffers(),
      setxattrBytes: 8,
    }
    this.started = this.#start.promise
    this.done = this.#end.promise
    operations.attach(this.#notifier)
    this.#watch()
  }

  /** Serve the device from the event loop, once it has something. */
  #watch(): void {
    let scheduled = false
    // The listener runs inside libuv, outside of what makes promises go on: the work is done in the next phase.
    this.#unwatch = watch(this.#fd, () => {
      if (scheduled) return
      scheduled = true
      setImmediate(() => {
        scheduled = false
        void this.#serve()
      })
    })
  }

  #pause(): void {
    this.#unwatch?.()
    this.#unwatch = undefined
  }

  async #serve(): Promise<void> {
    const start = performance.now()
    /** When there was no request for the first time since the last one. */
    let idleSince = Infinity
    /** When there was none for the last time, and nothing to do. */
    let looked = Infinity
    while (!this.#ended) {
      const message = this.#takeMessage()
      if (!message) return this.#pause()
      const length = read(this.#fd, message.address, MESSAGE_BYTES)
      const now = performance.now()
      if (length > 0) {
        if (!this.#dispatch(message, length)) this.#free.push(message)
        idleSince = looked = Infinity
      } else {
        this.#free.push(message)
        const code = length === 0 ? ENODEV : errno()
        if (code === ENODEV || code === ECONNABORTED) return this.#finish()
        // EINTR: a signal; ENOENT: a request was withdrawn while it was handed over. Both: look again.
        if (code !== EAGAIN && code !== EINTR && code !== ENOENT) {
          this.#log.fatal({ errno: code }, 'reading /dev/fuse failed: the mount ends')
          return this.#finish()
        }
        if (now - looked > PREEMPTED_MS) this.#restUntil = now + REST_MS
        idleSince = Math.min(idleSince, now)
        if (now - idleSince > SPIN_MS || now < this.#restUntil) return
        // An operation that goes on takes its time until the next look: that would tell nothing.
        looked = this.#underway === 0 ? now : Infinity
      }
      if (now - start > BUSY_MS) return
      const settled = this.#settled
      for (let hop = 0; hop < HOPS; hop++) {
        await MICROTASKS
        if (this.#underway === 0 || this.#settled !== settled) break
      }
    }
  }

  #takeMessage(): PlacedMessage | undefined {
    const message = this.#free.pop()
    if (message || this.#messages === MESSAGES_MAX) return message
    this.#messages++
    return new PlacedMessage(MESSAGE_BYTES)
  }

  #giveBack(message: PlacedMessage): void {
    this.#free.push(message)
    if (!this.#unwatch && !this.#ended) this.#watch()
  }

  /** Starts what a request asks for. Returns whether it keeps the message. */
  #dispatch(message: PlacedMessage, length: number): boolean {
    let request: RequestHeader
    try {
      request = message.begin(length)
    } catch (error) {
      this.#log.error({ err: error }, 'a request without a usable header')
      return false
    }
    const handler = handlerOf(request.opcode)
    if (!handler) {
      this.#answerUnhandled(request, message)
      return false
    }
    const keeps = request.opcode === Opcode.WRITE
    void this.#run(handler, request, message, keeps)
    return keeps
  }

  async #run(
    handler: Handler,
    request: RequestHeader,
    message: PlacedMessage,
    keeps: boolean,
  ): Promise<void> {
    const interruptible = canGiveUp(request.opcode)
    if (interruptible) this.#interruptible.set(request.unique, request)
    this.#underway++
    try {
      await handler(request, message, this.#context)
    } catch (error) {
      this.#replies.error(request, this.#errnoOf(request, error))
    } finally {
      this.#underway--
      this.#settled++
      if (interruptible) this.#interruptible.delete(request.unique)
      if (keeps) this.#giveBack(message)
      if (this.#ended) this.#closeWhenIdle()
    }
  }

  #errnoOf(request: RequestHeader, error: unknown): number {
    const opcode = opcodeName(request.opcode)
    if (error instanceof MalformedRequestError) {
      this.#log.error({ err: error, opcode }, 'a malformed request')
      return EINVAL
    }
    const { ino } = request
    const code = errnoOf(error, error => this.#log.error({ err: error, opcode, ino }, 'an operation failed'))
    // ENOSYS would tell the kernel never to ask again.
    return code === ENOSYS ? EOPNOTSUPP : code
  }

  /** What concerns the session itself, and what we do not know. */
  #answerUnhandled(request: RequestHeader, message: Message): void {
    try {
      switch (request.opcode) {
        case Opcode.FORGET:
          return this.#operations.forget(request.ino, message.u64(0))
        case Opcode.BATCH_FORGET:
          return this.#forgetBatch(message)
        case Opcode.INTERRUPT:
          return this.#interrupt(message.u64(0))
        case Opcode.INIT:
          return this.#init(request, message)
        case Opcode.DESTROY:
          return this.#replies.empty(request)
        case Opcode.IOCTL:
          return this.#replies.error(request, ENOTTY)
        case Opcode.FLUSH:
          // Closing stores nothing: the kernel is not to ask again.
          return this.#replies.error(request, ENOSYS)
        default:
          this.#log.debug({ opcode: opcodeName(request.opcode) }, 'a request that is not supported')
          return this.#replies.error(request, ENOSYS)
      }
    } catch (error) {
      const code = this.#errnoOf(request, error)
      if (!isUnanswered(request.opcode)) this.#replies.error(request, code)
    }
  }

  /** fuse_batch_forget_in (u32 count, dummy), then a u64 inode and a u64 count each. */
  #forgetBatch(message: Message): void {
    const count = message.u32(0)
    for (let index = 0; index < count; index++) {
      const at = 8 + index * 16
      this.#operations.forget(message.u64(at) as Ino, message.u64(at + 8))
    }
  }

  #interrupt(unique: number): void {
    const request = this.#interruptible.get(unique)
    if (request && isDying(request.caller.pid)) this.#replies.error(request, EINTR)
  }

  #init(request: RequestHeader, message: Message): void {
    const init = readInit(message)
    const agreement = agree(init, this.#options.writebackCache)
    // A newer major asks again after it has been told ours.
    if (init.major > PROTOCOL_MAJOR) return this.#replies.init(request, agreement)
    if (init.major < PROTOCOL_MAJOR || init.minor < PROTOCOL_MINOR_MIN) {
      this.#replies.error(request, EPROTO)
      const version = `${init.major}.${init.minor}`
      return this.#start.reject(
        new Error(`the kernel speaks FUSE ${version}, and 7.${PROTOCOL_MINOR_MIN} (Linux 5.4) is needed`),
      )
    }
    const setxattrBytes = (agreement.flags & InitFlag.SETXATTR_EXT) === 0n ? 8 : 16
    this.#context = { ...this.#context, setxattrBytes }
    this.#replies.init(request, agreement)
    this.#start.resolve(agreement)
  }

  /** The mount is gone: nothing more comes. */
  #finish(): void {
    this.#ended = true
    this.#pause()
    this.#start.reject(new Error('the mount ended before it began'))
    this.#closeWhenIdle()
  }

  #closeWhenIdle(): void {
    if (this.#underway > 0) return
    void this.#notifier.close().then(() => {
      closeSync(this.#fd)
      this.#end.resolve()
    })
  }
}

/** A message, and where its bytes lie for read(2). */
class PlacedMessage extends Message {
  readonly address = addressOf(this.bytes)
}

const isUnanswered = (opcode: number): boolean =>
  opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT
