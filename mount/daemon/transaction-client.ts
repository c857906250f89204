/** The client's side of a transaction on a mount (transaction-session.ts). */
import type { Socket } from 'node:net'
import { createInterface, type Interface } from 'node:readline'
import { connectTo, requestTo, resultOf } from './control-protocol.ts'
import { NoAnswerError } from './no-answer.ts'
import type { TransactionEnd } from './transaction-session.ts'

const CONNECT_TIMEOUT_MS = 10_000
/** A running commit ends before a transaction begins. */
const BEGIN_TIMEOUT_MS = 120_000

export class RemoteTransaction {
  readonly #socket: Socket
  readonly #lines: AsyncIterator<string>
  readonly #reader: Interface

  private constructor(socket: Socket) {
    this.#socket = socket
    this.#reader = createInterface({ input: socket })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  /**
   * Begins a transaction at the first of `paths` where a daemon listens.
   * @throws NoAnswerError; CodedError if the daemon refuses.
   */
  static async begin(paths: readonly string[]): Promise<RemoteTransaction> {
    for (const path of paths) {
      let socket: Socket
      try {
        socket = await connectTo(path, AbortSignal.timeout(CONNECT_TIMEOUT_MS))
      } catch (error) {
        if (error instanceof NoAnswerError) throw error
        continue
      }
      const transaction = new RemoteTransaction(socket)
      await transaction.#call(requestTo(path, 'transaction', {}), BEGIN_TIMEOUT_MS)
      return transaction
    }
    throw new NoAnswerError('gone', 'the daemon is gone')
  }

  /** Resolves to the transaction's tid. @throws CodedError; then it was rolled back. */
  async commit(message?: string): Promise<string> {
    const { tid } = (await this.#end({ commit: message === undefined ? {} : { message } })) as { tid: string }
    return tid
  }

  async rollBack(): Promise<void> {
    await this.#end({ rollBack: {} })
  }

  async #end(request: TransactionEnd): Promise<unknown> {
    try {
      return await this.#call(JSON.stringify(request))
    } finally {
      this.#reader.close()
      this.#socket.destroy()
    }
  }

  /** @param timeoutMs absent for a commit, which may take as long as the disk needs. */
  async #call(request: string, timeoutMs?: number): Promise<unknown> {
    this.#socket.write(`${request}\n`)
    const late = timeoutMs === undefined ? undefined : setTimeout(() => this.#socket.destroy(), timeoutMs)
    const line = await this.#lines.next().finally(() => clearTimeout(late))
    if (line.done === true) throw new NoAnswerError('gone', 'the daemon ended during the transaction')
    return resultOf(line.value, 'transaction')
  }
}
