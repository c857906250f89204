/** The client's side of a transaction on a mount (transaction-session.ts). */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface, type Interface } from 'node:readline'
import { NoAnswerError, resultOf, type ControlResponse } from './control-protocol.ts'
import type { TransactionEnd } from './transaction-session.ts'

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
   * @throws NoAnswerError; CodedError where the daemon refuses.
   */
  static async begin(paths: readonly string[]): Promise<RemoteTransaction> {
    for (const path of paths) {
      const socket = connect(path)
      try {
        await once(socket, 'connect')
      } catch {
        socket.destroy()
        continue
      }
      const transaction = new RemoteTransaction(socket)
      await transaction.#call({ call: 'transaction', parameters: {} })
      return transaction
    }
    throw new NoAnswerError('gone', 'the daemon is gone')
  }

  /** Resolves to the transaction's tid. @throws CodedError; then it was taken back. */
  async commit(message?: string): Promise<string> {
    const { tid } = (await this.#end({ commit: message === undefined ? {} : { message } })) as { tid: string }
    return tid
  }

  async rollBack(): Promise<void> {
    await this.#end({ rollBack: {} })
  }

  async #end(request: TransactionEnd): Promise<unknown> {
    try {
      return await this.#call(request)
    } finally {
      this.#reader.close()
      this.#socket.destroy()
    }
  }

  async #call(request: unknown): Promise<unknown> {
    this.#socket.write(`${JSON.stringify(request)}\n`)
    const line = await this.#lines.next()
    if (line.done === true) throw new NoAnswerError('gone', 'the daemon ended during the transaction')
    return resultOf(JSON.parse(line.value) as ControlResponse)
  }
}
