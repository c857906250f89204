/**
 * One mount's session with the kernel, from INIT to the unmount: dispatches requests to handlers.ts and sends errors.
 *
 * The data of a WRITE stays in the message that it was read into until the operation has ended; other requests are
 * decoded before their handlers first await, and their message is used again for the next one (see poller.ts).
 *
 * Only the end of the mount ends the session: a request that cannot be decoded gets EINVAL or ENOSYS and a log line.
 */
import { MountError } from '../driver.ts'
import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import type { Logger } from 'pino'
import { errnoOf } from '../../../core/file-system/errno.ts'
import type { AccessLog, LoggedRequest } from '../../../core/file-system/access-log.ts'
import type { Operations } from '../../../core/file-system/operations.ts'
import { RequestMeter } from '../../../core/file-system/request-meter.ts'
import { InitFlag } from './abi/flags.ts'
import {
  type Agreement,
  agree,
  EPOCH_MINOR,
  PRUNE_MINOR,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR_MIN,
  readInit,
} from './abi/init.ts'
import { MalformedRequestError, type Message, type RequestHeader } from './abi/message.ts'
import { Opcode, opcodeName } from './abi/opcodes.ts'
import { DirectWrites } from './direct-writes.ts'
import { describe, NO_OPERATION, operationNumber } from './describe.ts'
import type { HandlerContext, SessionRequests } from './handler.ts'
import { handlerOf, isUnanswered } from './handlers.ts'
import { canGiveUp, isDying } from './interrupt.ts'
import { KernelNotifier } from './kernel-notifier.ts'
import { Poller } from './poller.ts'
import { ListingHabits } from './listing-habits.ts'
import { ReadBuffers } from './read-buffers.ts'
import { Replies } from './replies.ts'

const { EINTR, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPROTO } = constants.errno

export interface SessionOptions {
  readonly log: Logger
  readonly meter?: RequestMeter | undefined
  readonly accessLog?: AccessLog | undefined
  readonly acl: boolean
}

export class Session implements SessionRequests {
  /** Resolves at the agreement with the kernel; rejects if there is none, or the mount ended before. */
  readonly started: Promise<Agreement>
  /** Resolves when the mount is gone and every operation has ended. */
  readonly done: Promise<void>

  readonly #fd: number
  readonly #options: SessionOptions
  readonly #log: Logger
  readonly #meter: RequestMeter
  readonly #accessLog: AccessLog | undefined
  readonly #replies: Replies
  readonly #notifier: KernelNotifier
  readonly #poller: Poller
  readonly #start = Promise.withResolvers<Agreement>()
  readonly #end = Promise.withResolvers<void>()
  /** Requests that an INTERRUPT may end, by unique. */
  readonly #interruptible = new Map<number, RequestHeader>()
  /** Requests that any signal to their caller ends, by unique. */
  readonly #waiting = new Map<number, AbortController>()
  /** Of the requests that the access log gets, lookups of names that do not exist. */
  readonly #absent = new WeakSet<RequestHeader>()
  #ended = false
  #context: HandlerContext

  /** @param fd /dev/fuse, non-blocking and mounted; the session closes it. */
  constructor(fd: number, operations: Operations, options: SessionOptions) {
    this.#fd = fd
    this.#options = options
    this.#log = options.log
    this.#meter = options.meter ?? new RequestMeter()
    this.#accessLog = options.accessLog
    this.#replies = new Replies(fd, options.log)
    this.#notifier = new KernelNotifier(fd, options.log)
    this.#poller = new Poller(fd, {
      onRequest: (message, length, nowMs) => this.#dispatch(message, length, nowMs),
      onEnd: () => this.#finish(),
      log: options.log,
    })
    this.#context = {
      operations,
      replies: this.#replies,
      notifier: this.#notifier,
      directWrites: new DirectWrites(this.#notifier),
      readBuffers: new ReadBuffers(),
      habits: new ListingHabits(),
      session: this,
      setxattrBytes: 8,
      sendsUmask: false,
      recycle: message => this.#poller.recycle(message),
    }
    this.started = this.#start.promise
    this.done = this.#end.promise
    operations.attach(this.#notifier)
    this.#poller.watch()
  }

  /** Starts the handler of a request that was read at `nowMs`. Returns whether the message is held. */
  #dispatch(message: Message, length: number, nowMs: number): boolean {
    let request: RequestHeader
    try {
      request = message.begin(length)
    } catch (error) {
      this.#log.error({ err: error }, 'a request without a usable header')
      return false
    }
    const handler = handlerOf(request.opcode)
    if (handler === undefined) {
      this.#log.debug({ opcode: opcodeName(request.opcode) }, 'a request that is not supported')
      this.#replies.error(request, ENOSYS)
      return false
    }
    const logged = this.#accessLog?.isOn === true ? describe(request, message) : undefined
    let running: Promise<void> | void
    try {
      running = handler(request, message, this.#context)
    } catch (error) {
      const code = this.#errnoOf(request, error)
      if (!isUnanswered(request.opcode)) this.#replies.error(request, code)
      this.#record(request, nowMs, code, logged)
      return false
    }
    if (running === undefined) {
      this.#record(request, nowMs, 0, logged)
      return false
    }
    void this.#complete(running, request, message, nowMs, logged)
    return request.opcode === Opcode.WRITE
  }

  async #complete(
    running: Promise<void>,
    request: RequestHeader,
    message: Message,
    startMs: number,
    logged: LoggedRequest | undefined,
  ): Promise<void> {
    let code = 0
    const interruptible = canGiveUp(request.opcode)
    if (interruptible) this.#interruptible.set(request.unique, request)
    this.#poller.started()
    try {
      await running
    } catch (error) {
      code = this.#errnoOf(request, error)
      this.#replies.error(request, code)
    } finally {
      this.#poller.completed()
      this.#record(request, startMs, code, logged)
      if (interruptible) this.#interruptible.delete(request.unique)
      if (request.opcode === Opcode.SETLKW) this.#waiting.delete(request.unique)
      if (request.opcode === Opcode.WRITE) this.#poller.recycle(message)
      if (this.#ended) this.#closeWhenIdle()
    }
  }

  #record(request: RequestHeader, startMs: number, code: number, logged: LoggedRequest | undefined): void {
    const elapsedMs = performance.now() - startMs
    const operation = operationNumber(request.opcode)
    if (operation !== NO_OPERATION) this.#meter.answered(operation, elapsedMs, code)
    if (logged === undefined) return
    this.#accessLog?.answered(logged, elapsedMs, this.#absent.has(request) ? ENOENT : code)
  }

  #errnoOf(request: RequestHeader, error: unknown): number {
    const opcode = opcodeName(request.opcode)
    if (error instanceof MalformedRequestError) {
      this.#log.error({ err: error, opcode }, 'a malformed request')
      return EINVAL
    }
    const { ino } = request
    const code = errnoOf(error, error => this.#log.error({ err: error, opcode, ino }, 'an operation failed'))
    // After ENOSYS the kernel would never send this opcode again.
    return code === ENOSYS ? EOPNOTSUPP : code
  }

  absent(request: RequestHeader): void {
    if (this.#accessLog?.isOn === true) this.#absent.add(request)
  }

  whileWaiting(request: RequestHeader): AbortSignal {
    const abort = new AbortController()
    this.#waiting.set(request.unique, abort)
    return abort.signal
  }

  interrupt(unique: number): void {
    this.#waiting.get(unique)?.abort()
    const request = this.#interruptible.get(unique)
    if (request && isDying(request.caller.pid)) this.#replies.error(request, EINTR)
  }

  init(request: RequestHeader, message: Message): void {
    const init = readInit(message)
    const locks = this.#context.operations.locks !== undefined
    const agreement = agree(init, { ...this.#options, locks })
    // A kernel with a newer major sends INIT again, with ours.
    if (init.major > PROTOCOL_MAJOR) return this.#replies.init(request, agreement)
    if (init.major < PROTOCOL_MAJOR || init.minor < PROTOCOL_MINOR_MIN) {
      this.#replies.error(request, EPROTO)
      const version = `${init.major}.${init.minor}`
      return this.#start.reject(
        new MountError(
          `the kernel speaks FUSE ${version}, but 7.${PROTOCOL_MINOR_MIN} (Linux 5.4) is required`,
        ),
      )
    }
    const setxattrBytes = (agreement.flags & InitFlag.SETXATTR_EXT) === 0n ? 8 : 16
    const sendsUmask = (agreement.flags & InitFlag.DONT_MASK) !== 0n
    this.#context = { ...this.#context, setxattrBytes, sendsUmask }
    this.#notifier.cachesAbsence = agreement.minor >= EPOCH_MINOR
    this.#notifier.canForget = agreement.minor >= PRUNE_MINOR
    this.#replies.init(request, agreement)
    this.#start.resolve(agreement)
  }

  /** The mount is gone: no request follows. */
  #finish(): void {
    this.#ended = true
    // These requests would wait for an INTERRUPT, which does not follow either.
    for (const abort of this.#waiting.values()) abort.abort()
    this.#start.reject(new Error('the mount ended before it began'))
    this.#closeWhenIdle()
  }

  #closeWhenIdle(): void {
    if (this.#poller.running > 0) return
    void this.#notifier.close().then(() => {
      closeSync(this.#fd)
      this.#end.resolve()
    })
  }
}
