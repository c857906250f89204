/** The daemon's side of the control socket. */
import { CodedError } from '../../store/errors.ts'
import { chmod, rm } from 'node:fs/promises'
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
import { serveTransaction, type TransactionHandler } from './transaction-session.ts'

/** How long a client may take to say what it wants. */
const REQUEST_TIMEOUT_MS = 10_000
const CLOSE_TIMEOUT_MS = 2000

/** What the daemon does for each call. A rejection's message is the client's answer. */
export type CallHandlers = {
  readonly [Name in CallName]: (
    parameters: ControlCalls[Name]['parameters'],
  ) => Promise<ControlCalls[Name]['result']>
}

export class ControlServer {
  readonly #server: Server
  readonly #path: string

  private constructor(server: Server, path: string) {
    this.#server = server
    this.#path = path
  }

  /** Listens at `path` with mode 0600; what a dead daemon left there is removed. */
  static async listen(
    path: string,
    handlers: CallHandlers,
    log: Logger,
    transactions?: TransactionHandler,
  ): Promise<ControlServer> {
    await rm(path, { force: true })
    const server = createServer({ allowHalfOpen: true }, socket =>
      serveConnection(socket, handlers, log, transactions),
    )
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
    })
    await chmod(path, 0o600)
    return new ControlServer(server, path)
  }

  /** Accepts no more calls, removes the socket, and waits for answers under way to be sent, for a bounded time. */
  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    await rm(this.#path, { force: true })
    await Promise.race([closed, sleep(CLOSE_TIMEOUT_MS, undefined, { ref: false })])
  }
}

function serveConnection(
  socket: Socket,
  handlers: CallHandlers,
  log: Logger,
  transactions: TransactionHandler | undefined,
): void {
  let received = ''
  socket.setEncoding('utf8')
  socket.setTimeout(REQUEST_TIMEOUT_MS, () => socket.destroy())
  socket.on('error', error => log.debug({ err: error }, 'a control connection broke'))
  socket.on('end', () => socket.end())
  socket.on('data', (data: string) => {
    received += data
    const end = received.indexOf('\n')
    if (end < 0) {
      if (received.length > LINE_MAX_LENGTH) socket.destroy()
      return
    }
    socket.removeAllListeners('data').removeAllListeners('end').setTimeout(0)
    if (transactions !== undefined && isTransaction(received.slice(0, end))) {
      void serveTransaction(socket, transactions, log)
      return
    }
    void answer(received.slice(0, end), handlers, log).then(response =>
      socket.end(`${JSON.stringify(response)}\n`),
    )
  })
}

function isTransaction(line: string): boolean {
  try {
    return field(JSON.parse(line), 'call') === 'transaction'
  } catch {
    return false
  }
}

async function answer(line: string, handlers: CallHandlers, log: Logger): Promise<ControlResponse> {
  try {
    const request: unknown = JSON.parse(line)
    const call = field(request, 'call')
    if (typeof call !== 'string' || !Object.hasOwn(handlers, call))
      return {
        error: sentError(
          new CodedError(`this daemon knows no call ${JSON.stringify(call)}: it is of another version`, {
            code: 'daemon-version',
          }),
        ),
      }
    const handler = handlers[call as CallName] as (parameters: unknown) => Promise<unknown>
    return { result: await handler(field(request, 'parameters') ?? {}) }
  } catch (error) {
    log.warn({ err: error }, 'a control call failed')
    return { error: sentError(error) }
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
}
