/** The client's side of file operations over a control connection (operations-protocol.ts). */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { constants } from 'node:os'
import { CodedError } from '../../store/errors.ts'
import { ErrnoError, type ErrnoName } from '../../core/file-system/errno.ts'
import type { Operations } from '../../core/file-system/operations.ts'
import { isObject, isWireError } from './answers.ts'
import { connectTo, receivedError, requestTo, resultOf } from './control-protocol.ts'
import { NoAnswerError } from './no-answer.ts'
import { FrameReader, sendFrame } from './operations-protocol.ts'
import { OPERATION_NAMES, parameterCount, type OperationName } from './operations-session.ts'

const CONNECT_TIMEOUT_MS = 10_000
const LINE_MAX_BYTES = 1 << 16

interface Waiting {
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/** {@link Operations} that a daemon carries out. */
export class RemoteOperations {
  readonly operations: Operations
  readonly #socket: Socket
  readonly #reader = new FrameReader()
  readonly #waiting = new Map<number, Waiting>()
  #nextId = 1
  #failure: Error | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    const methods = OPERATION_NAMES.map(name => [
      name,
      (...parameters: unknown[]) => this.#call(name, parameters),
    ])
    // All names of Operations except attach, which is for drivers, and forget, which has no answer.
    this.operations = Object.fromEntries([
      ...methods,
      ['forget', (...parameters: unknown[]) => this.#forget(parameters)],
    ]) as Operations
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', error => this.#fail(error))
    socket.on('close', () => this.#fail(new NoAnswerError('gone', 'the daemon of the mount is gone')))
  }

  /**
   * Connects to the first of `paths` on which a daemon listens.
   * @throws NoAnswerError; CodedError if the daemon refuses.
   */
  static async connect(paths: readonly string[]): Promise<RemoteOperations> {
    for (const path of paths) {
      const signal = AbortSignal.timeout(CONNECT_TIMEOUT_MS)
      let socket: Socket
      try {
        socket = await connectTo(path, signal)
      } catch (error) {
        if (error instanceof NoAnswerError) throw error
        continue
      }
      try {
        socket.write(`${requestTo(path, 'operations', {})}\n`)
        resultOf(await firstLine(socket, signal), 'operations')
        return new RemoteOperations(socket)
      } catch (error) {
        socket.destroy()
        throw error
      }
    }
    throw new NoAnswerError('gone', 'the daemon of the mount is gone')
  }

  /** Ends the connection; the daemon closes its open handles. */
  async close(): Promise<void> {
    if (this.#socket.destroyed) return
    const closed = once(this.#socket, 'close')
    this.#socket.end()
    await closed
  }

  async #call(operation: OperationName, parameters: unknown[]): Promise<unknown> {
    if (this.#failure !== undefined) throw this.#failure
    const id = this.#nextId++
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    sendFrame(this.#socket, { id, operation, parameters: parameters.slice(0, parameterCount(operation)) })
    return await answer
  }

  #forget(parameters: unknown[]): void {
    if (this.#failure === undefined) sendFrame(this.#socket, { id: 0, operation: 'forget', parameters })
  }

  #receive(bytes: Buffer): void {
    try {
      for (const frame of this.#reader.push(bytes)) this.#settle(frame)
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)))
      this.#socket.destroy()
    }
  }

  #settle(frame: unknown): void {
    if (!isObject(frame)) return
    const waiting = this.#waiting.get(Number(frame['id']))
    this.#waiting.delete(Number(frame['id']))
    const { errno, error } = frame
    if (typeof errno === 'string' && errno in constants.errno)
      waiting?.reject(new ErrnoError(errno as ErrnoName))
    else if (isWireError(error)) waiting?.reject(receivedError(error))
    else waiting?.resolve(frame['result'])
  }

  #fail(error: Error): void {
    this.#failure ??=
      error instanceof CodedError ? error : new NoAnswerError('gone', error.message, { cause: error })
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
  }
}

/** The first line received; bytes after it are dropped. */
async function firstLine(socket: Socket, signal: AbortSignal): Promise<string> {
  let received = Buffer.alloc(0)
  while (received.length < LINE_MAX_BYTES) {
    const [bytes] = (await once(socket, 'data', { signal })) as [Buffer]
    received = Buffer.concat([received, bytes])
    const end = received.indexOf('\n')
    if (end >= 0) return received.subarray(0, end + 1).toString()
  }
  throw new NoAnswerError('gone', 'the daemon of the mount sends no line')
}
