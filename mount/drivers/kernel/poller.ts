/**
 * Reads requests from /dev/fuse (non-blocking) as fast as they come, without blocking the event loop for long.
 *
 *     watching --readable--> polling --no request for SPIN_MS, or BUSY_MS are over--> watching
 *                            polling --all messages are held--> paused --one is given back--> watching
 *                            polling --the device is gone--> ended
 *
 * - **watching**: libuv watches the device. A request starts polling in the next phase of the event loop.
 * - **polling**: requests are read and dispatched. If one was not answered at once, all microtasks run before the next, so operations
 *   that wait for no I/O are answered first. When there is no request, polling continues for {@link SPIN_MS}: a caller that has its answer
 *   usually sends the next request within microseconds, and waking up costs more than polling. If another process took the
 *   processor meanwhile, polling competes with the callers: then there is no spinning for {@link REST_MS}. The time
 *   between two reads shows it. Polling ends after {@link BUSY_MS}, so that timers, the
 *   store's worker and the control socket are served under any load. While operations run, the event loop has a turn after each read
 *   that gave no request, because they may wait for it.
 * - **paused**: nothing is read while writes hold all {@link MESSAGES_MAX} messages.
 */
import { constants } from 'node:os'
import type { Logger } from 'pino'
import { MAX_TRANSFER_BYTES } from './abi/init.ts'
import { Message } from './abi/message.ts'
import { addressOf, errno, read, watch } from './system-calls.ts'

const { EAGAIN, EINTR, ENODEV, ECONNABORTED, ENOENT } = constants.errno

/** The largest write, its header, and a page to spare. */
const MESSAGE_BYTES = MAX_TRANSFER_BYTES + 4096
const MESSAGES_MAX = 12
const SPIN_MS = 0.05
/** Two reads in a row are a microsecond apart, unless another process had this processor in between. */
const PREEMPTED_MS = 0.3
const REST_MS = 100
const BUSY_MS = 2

/** Its reactions run among the pending microtasks. */
const MICROTASKS = Promise.resolve()

export interface PollerOptions {
  /** Dispatches a request, read at `nowMs`. Returns whether the message is held, until {@link Poller.recycle}. */
  readonly onRequest: (message: Message, length: number, nowMs: number) => boolean
  /** The device is gone: nothing more is read. */
  readonly onEnd: () => void
  readonly log: Logger
}

export class Poller {
  readonly #fd: number
  readonly #options: PollerOptions
  readonly #free: PlacedMessage[] = []
  readonly #held = new Map<Message, PlacedMessage>()
  #messages = 0
  #state: 'watching' | 'polling' | 'paused' | 'ended' = 'paused'
  #unwatch: (() => void) | undefined
  /** No spinning before this time. */
  #restUntilMs = 0
  /** Polling ends after this time. */
  #busyUntilMs = 0
  readonly #spin = new Spin()
  #running = 0

  /** @param fd /dev/fuse, non-blocking. */
  constructor(fd: number, options: PollerOptions) {
    this.#fd = fd
    this.#options = options
  }

  /** Starts to watch the device. */
  watch(): void {
    this.#state = 'watching'
    // The listener runs inside libuv, where microtasks do not run: the work is done in the next phase.
    this.#unwatch ??= watch(this.#fd, () => {
      if (this.#state !== 'watching') return
      this.#state = 'polling'
      setImmediate(this.#begin)
    })
  }

  readonly #begin = (): void => {
    this.#busyUntilMs = performance.now() + BUSY_MS
    this.#spin.restart()
    this.#poll()
  }

  /** An operation has started. */
  started(): void {
    this.#running++
  }

  /** An operation has ended. */
  completed(): void {
    this.#running--
  }

  /** Operations that are running. */
  get running(): number {
    return this.#running
  }

  /** Allows a held message to be used again; does nothing if that was done before. */
  recycle(message: Message): void {
    const placed = this.#held.get(message)
    if (placed === undefined) return
    this.#held.delete(message)
    this.#free.push(placed)
    if (this.#state === 'paused') this.watch()
  }

  /** Reads and dispatches until the end of polling. Returns while operations run, until their microtasks have run. */
  readonly #poll = (): void => {
    while (this.#state === 'polling') {
      const message = this.#takeMessage()
      if (message === undefined) return this.#stop('paused')
      const length = read(this.#fd, message.address, MESSAGE_BYTES)
      const nowMs = performance.now()
      if (length > 0) {
        if (this.#options.onRequest(message, length, nowMs)) this.#held.set(message, message)
        else this.#free.push(message)
        this.#spin.restart()
      } else {
        this.#free.push(message)
        if (this.#isGone(length)) return this.#end()
        if (this.#spin.wasPreempted(nowMs)) this.#restUntilMs = nowMs + REST_MS
        if (this.#spin.isOver(nowMs) || nowMs < this.#restUntilMs) return this.#rest()
        if (this.#running > 0) return this.#serveOthers()
      }
      if (nowMs > this.#busyUntilMs) return this.#rest()
      if (length > 0 && this.#running > 0) return void MICROTASKS.then(this.#pollAfterMicrotasks)
    }
  }

  /** Running operations may go on in the event loop: it has a turn between two polls. */
  #serveOthers(): void {
    this.#spin.interrupt()
    setImmediate(this.#poll)
  }

  /** A tick that a microtask has queued runs when no microtask is left. */
  readonly #pollAfterMicrotasks = (): void => process.nextTick(this.#poll)

  /** Whether a read that gave no request says that the device is gone. */
  #isGone(length: number): boolean {
    const code = length === 0 ? ENODEV : errno()
    // EINTR: a signal; ENOENT: a request was withdrawn while it was read. Polling continues.
    if (code === EAGAIN || code === EINTR || code === ENOENT) return false
    if (code !== ENODEV && code !== ECONNABORTED)
      this.#options.log.fatal({ errno: code }, 'reading /dev/fuse failed: the mount ends')
    return true
  }

  #takeMessage(): PlacedMessage | undefined {
    const message = this.#free.pop()
    if (message !== undefined || this.#messages === MESSAGES_MAX) return message
    this.#messages++
    return new PlacedMessage(MESSAGE_BYTES)
  }

  #rest(): void {
    if (this.#state === 'polling') this.#state = 'watching'
  }

  #stop(state: 'paused' | 'ended'): void {
    this.#state = state
    this.#unwatch?.()
    this.#unwatch = undefined
  }

  #end(): void {
    this.#stop('ended')
    this.#options.onEnd()
  }
}

/** Reads in a row that gave no request. */
class Spin {
  /** The first of them. */
  #sinceMs = Infinity
  #lastMs = Infinity

  restart(): void {
    this.#sinceMs = Infinity
    this.#lastMs = Infinity
  }

  /** Other work follows: the time until the next one is not counted as that of another process. */
  interrupt(): void {
    this.#lastMs = Infinity
  }

  /** Whether another process had the processor since the last of them. */
  wasPreempted(nowMs: number): boolean {
    return nowMs - this.#lastMs > PREEMPTED_MS
  }

  /** Whether a read at `nowMs` ends the spinning. */
  isOver(nowMs: number): boolean {
    this.#sinceMs = Math.min(this.#sinceMs, nowMs)
    this.#lastMs = nowMs
    return nowMs - this.#sinceMs > SPIN_MS
  }
}

/** A message with the address of its bytes, for read(2). */
class PlacedMessage extends Message {
  readonly address = addressOf(this.bytes)
}
