/** The daemon's side of the control socket. */
import { CodedError } from '../../store/errors.ts'
import { chmod, rename, rm } from '../../store/os-files-async.ts'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import {
  type CallName,
  type ControlCalls,
  type ControlResponse,
  sentError,
  LINE_MAX_LENGTH,
} from './control-protocol.ts'
import { detachedPath, deviceOf } from './control-path.ts'
import type { Caller, Operations } from '../../core/file-system/operations.ts'
import { peerOf } from './peer.ts'
import { serveOperations } from './operations-session.ts'
import { serveTransaction, type TransactionHandler } from './transaction-session.ts'
import { logFailure } from './log-failure.ts'

/** Maximum time for a client to send its request. */
const REQUEST_TIMEOUT_MS = 10_000
const CLOSE_TIMEOUT_MS = 2000

/** The daemon's implementation of each call. A rejection's message is sent to the client. */
export type CallHandlers = {
  readonly [Name in CallName]: (
    parameters: ControlCalls[Name]['parameters'],
    /** The calling process, if known. */
    by?: Caller,
  ) => Promise<ControlCalls[Name]['result']>
}

export class ControlServer {
  readonly #server: Server
  readonly #place: { path: string }

  private constructor(server: Server, place: { path: string }) {
    this.#server = server
    this.#place = place
  }

  /** Listens at `path` with mode 0600; removes a dead daemon's socket. */
  static async listen(
    path: string,
    handlers: CallHandlers,
    log: Logger,
    { transactions, operations }: ControlSessions = {},
  ): Promise<ControlServer> {
    await rm(path, { force: true })
    const place = { path }
    const server = createServer({ allowHalfOpen: true }, socket =>
      serveConnection(socket, { device: deviceOf(place.path), handlers, log, transactions, operations }),
    )
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
    })
    await chmod(path, 0o600)
    return new ControlServer(server, place)
  }

  /** The mount has ended: the kernel may give its device number to another mount, whose calls must not come here. */
  async detach(): Promise<void> {
    const path = detachedPath(this.#place.path)
    await rename(this.#place.path, path)
    this.#place.path = path
  }

  /** Stops accepting calls, removes the socket, and waits a bounded time for pending answers to be sent. */
  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    await rm(this.#place.path, { force: true })
    await Promise.race([closed, sleep(CLOSE_TIMEOUT_MS, undefined, { ref: false })])
  }
}

/** Calls whose connection stays open. */
export interface ControlSessions {
  readonly transactions?: TransactionHandler
  /** The operations that a program may call. @throws CodedError where it may call none. */
  readonly operations?: () => Operations
}

interface Serving {
  /** The mount's device. */
  readonly device: string | undefined
  readonly handlers: CallHandlers
  readonly log: Logger
  readonly transactions: TransactionHandler | undefined
  readonly operations: ControlSessions['operations']
}

function serveConnection(socket: Socket, serving: Serving): void {
  const { device, handlers, log, transactions, operations } = serving
  let received = Buffer.alloc(0)
  socket.setTimeout(REQUEST_TIMEOUT_MS, () => socket.destroy())
  socket.on('error', error => log.debug({ err: error }, 'a control connection broke'))
  socket.on('end', () => socket.end())
  socket.on('data', (data: Buffer) => {
    received = Buffer.concat([received, data])
    const end = received.indexOf('\n')
    if (end < 0) {
      if (received.length > LINE_MAX_LENGTH) socket.destroy()
      return
    }
    socket.removeAllListeners('data').removeAllListeners('end').setTimeout(0)
    const request = parse(received.toString('utf8', 0, end))
    const reply = (response: ControlResponse): unknown => socket.end(`${JSON.stringify(response)}\n`)
    const meant = field(request, 'device')
    if (meant !== undefined && meant !== device) reply({ error: sentError(anotherMount(device)) })
    else if (transactions !== undefined && field(request, 'call') === 'transaction')
      void serveTransaction(socket.setEncoding('utf8'), transactions, log)
    else if (operations !== undefined && field(request, 'call') === 'operations')
      beginOperations(socket, operations, log)
    else void answer(request, handlers, peerOf(socket), log).then(reply)
  })
}

function beginOperations(socket: Socket, operations: () => Operations, log: Logger): void {
  try {
    serveOperations(socket, operations(), log)
    socket.write(`${JSON.stringify({ result: {} })}\n`)
  } catch (error) {
    socket.end(`${JSON.stringify({ error: sentError(error) })}\n`)
  }
}

/** The error for a caller that was misled by a link, or by a reused device number. */
const anotherMount = (device: string | undefined): CodedError =>
  new CodedError(`the call is meant for another mount than ${device ?? 'this one'}`, { code: 'not-mounted' })

/** Undefined if it is not JSON. */
function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

async function answer(
  request: unknown,
  handlers: CallHandlers,
  by: Caller | undefined,
  log: Logger,
): Promise<ControlResponse> {
  try {
    const call = field(request, 'call')
    if (typeof call !== 'string' || !Object.hasOwn(handlers, call))
      return {
        error: sentError(
          new CodedError(
            `this daemon does not support the call ${JSON.stringify(call)}: it is another version`,
            {
              code: 'daemon-version',
            },
          ),
        ),
      }
    const handler = handlers[call as CallName] as (
      parameters: unknown,
      by: Caller | undefined,
    ) => Promise<unknown>
    return { result: await handler(field(request, 'parameters') ?? {}, by) }
  } catch (error) {
    logFailure(log, error, 'a control call failed', { call: field(request, 'call') })
    return { error: sentError(error) }
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
}
