/**
 * The channel between a client and a mount with WCFS's layout: one open `head/watch`. Its frames are lines, each with the number of
 * the exchange that it belongs to. A client's exchanges have odd numbers, the mount's even ones; 0 is for fatal errors.
 *
 *     C: 1 watch 0000000000000010 @03f7e0a8c1d2b3a4    show the file as of this transaction from now on
 *     S: 2 pin 0000000000000010 #7 @03f7e0a8c1d2b3a4   read block 7 from @03f7.../bigfile/
 *     C: 2 ack
 *     S: 1 ok                                          or: 1 error <reason>
 *     S: 4 pin 0000000000000010 #7 @head               read it from head/bigfile/ again
 *     C: 3 watch 0000000000000010 -                    stop
 *     C: 5 bye
 *
 * A client that does not acknowledge a pin in time is killed, after `0 fatal: <reason>`: it would read bytes of another transaction than
 * it requested. One that sends no valid frames gets `0 error: <reason>`, and its link ends. Source: the description of the isolation
 * protocol in wendelin.core, and the messages that its tests expect.
 */
import type { Logger } from 'pino'
import { setTimeout as sleep } from 'node:timers/promises'
import { NO_BYTES } from '../../../store/bytes.ts'
import { messageOf } from '../../../store/errors.ts'

/** Maximum length of a frame of a client, in bytes. */
const FRAME_MAX_BYTES = 4096
/** Clients of wendelin.core take lines of 128 bytes. */
const ANSWER_MAX_BYTES = 120
/** Maximum number of a client's requests in progress. */
const REQUESTS_MAX = 1024
/** Maximum bytes that a client has not read. */
const QUEUE_MAX_BYTES = 4 << 20
const FIRST_PIN = 2
/** How long a client that was sent SIGBUS may take to end before SIGKILL follows. */
const BUS_MS = 1000
const KILL_MS = 2000
const POLL_MS = 20

/** Handles a client's requests. */
export interface LinkRequests {
  /** @throws an error whose message is the answer. */
  handle(link: WatchLink, request: string): Promise<void>
  /** Called once, when the link has ended. */
  ended(link: WatchLink): void
}

export class WatchLink {
  readonly #pid: number
  readonly #requests: LinkRequests
  readonly #pinTimeoutMs: number
  readonly #log: Logger
  #queue: Buffer[] = []
  #queuedBytes = 0
  #received = ''
  #nextPin = FIRST_PIN
  #requestsInProgress = 0
  /** By the exchange's number. */
  readonly #pins = new Map<number, { readonly acked: () => void; readonly timer: NodeJS.Timeout }>()
  #isEnded = false
  #isKilling = false
  #isClosed = false
  #wake: (() => void) | undefined
  #lastRead: Promise<unknown> = Promise.resolve()

  /** @param pid the client's process; 0: unknown. */
  constructor(pid: number, requests: LinkRequests, pinTimeoutMs: number, log: Logger) {
    this.#pid = pid
    this.#requests = requests
    this.#pinTimeoutMs = pinTimeoutMs
    this.#log = log
  }

  /** Whether no more frames are exchanged. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /** The next bytes for the client, at most `len`; waits for them. Empty once the link has ended. */
  read(len: number): Promise<Uint8Array> {
    const next = this.#lastRead.then(() => this.#next(len))
    this.#lastRead = next
    return next
  }

  /** Takes bytes of the client. */
  write(bytes: Uint8Array): void {
    if (this.#isEnded) return
    this.#received += Buffer.from(bytes).toString('latin1')
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const frame = this.#received.slice(0, end)
      this.#received = this.#received.slice(end + 1)
      this.#receive(frame)
      if (this.#isEnded) return
    }
    if (this.#received.length > FRAME_MAX_BYTES) this.#fail('a frame is too long')
  }

  /** Resolves when the client reads a block from elsewhere, or has gone. @param message `pin <file> #<block> @<rev>` */
  pin(message: string): Promise<void> {
    if (this.#isEnded) return Promise.resolve()
    const number = this.#nextPin
    this.#nextPin += 2
    return new Promise(resolve => {
      const timer = setTimeout(() => void this.#kill(`it has not answered '${message}'`), this.#pinTimeoutMs)
      this.#pins.set(number, { acked: resolve, timer })
      this.#send(`${number} ${message}`)
    })
  }

  /** Ends the exchange: waiting reads return, and later ones find the end. */
  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#releasePins()
    this.#wake?.()
    this.#requests.ended(this)
  }

  /** The client has closed its file. */
  close(): void {
    this.#isClosed = true
    this.end()
  }

  #receive(frame: string): void {
    const [, digits = '', message = ''] = /^(\d{1,15}) (.+)$/.exec(frame) ?? []
    if (digits === '') return this.#fail(`invalid frame: ${JSON.stringify(`${frame}\n`)} (invalid stream)`)
    const number = Number(digits)
    if (number % 2 === 0) this.#answered(number, message)
    else if (message === 'bye') this.end()
    else if (this.#requestsInProgress >= REQUESTS_MAX) this.#fail('too many requests are in progress')
    else void this.#handle(number, message)
  }

  #answered(number: number, message: string): void {
    const pin = this.#pins.get(number)
    if (pin === undefined) return this.#fail(`unexpected reply: "${number} ${message}"`)
    if (message !== 'ack') return void this.#kill(`its answer '${message}' is not an ack of a pin`)
    this.#pins.delete(number)
    clearTimeout(pin.timer)
    pin.acked()
  }

  async #handle(number: number, message: string): Promise<void> {
    this.#requestsInProgress++
    let answer = 'ok'
    try {
      await this.#requests.handle(this, message)
    } catch (error) {
      answer = `error ${messageOf(error)}`
    } finally {
      this.#requestsInProgress--
    }
    this.#send(lineOf(`${number} ${answer}`))
  }

  #send(frame: string): void {
    if (this.#isEnded) return
    if (this.#queuedBytes > QUEUE_MAX_BYTES) return void this.#kill('it does not read its frames')
    const bytes = Buffer.from(`${frame}\n`)
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.length
    this.#wake?.()
  }

  #fail(reason: string): void {
    this.#log.warn({ pid: this.#pid }, `a link of head/watch ends: ${reason}`)
    this.#send(lineOf(`0 error: ${reason}`))
    this.end()
  }

  /** Ends the client's process, and then the link. */
  async #kill(reason: string): Promise<void> {
    if (this.#isEnded || this.#isKilling) return
    this.#isKilling = true
    this.#send(lineOf(`0 fatal: ${reason}`))
    this.#log.error({ pid: this.#pid }, `a client of head/watch is killed: ${reason}`)
    if (!(await this.#isGone('SIGBUS', BUS_MS)) && !(await this.#isGone('SIGKILL', KILL_MS)))
      this.#log.error(
        { pid: this.#pid },
        'the client cannot be killed; it may read bytes of other transactions',
      )
    this.end()
  }

  async #isGone(signal: NodeJS.Signals, waitMs: number): Promise<boolean> {
    if (this.#pid <= 1 || this.#pid === process.pid) return false
    for (const start = performance.now(); ; signal = 'SIGCONT') {
      try {
        process.kill(this.#pid, signal)
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'ESRCH'
      }
      if (this.#isClosed) return true
      if (performance.now() - start > waitMs) return false
      await sleep(POLL_MS)
    }
  }

  #releasePins(): void {
    for (const { acked, timer } of this.#pins.values()) {
      clearTimeout(timer)
      acked()
    }
    this.#pins.clear()
  }

  async #next(len: number): Promise<Uint8Array> {
    while (this.#queuedBytes === 0 && !this.#isEnded)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    const first = this.#queue.shift()
    if (first === undefined) return NO_BYTES
    if (first.length > len) this.#queue.unshift(first.subarray(len))
    const taken = first.subarray(0, len)
    this.#queuedBytes -= taken.length
    return taken
  }
}

const lineOf = (text: string): string => text.replaceAll(/[^ -~]/g, '?').slice(0, ANSWER_MAX_BYTES)
