/**
 * The statements of one transaction of the server, sent without waiting for their answers: the transaction costs one round trip.
 * After an error the server ignores later statements, and its COMMIT rolls back.
 */
import type { Awaitable } from '../awaitable.ts'
import type { Cells, Session, Value } from './session.ts'

/** Maximum bytes of unanswered statements. */
const UNDERWAY_BYTES = 8 << 20

export class Pipeline {
  readonly #session: Session
  #isBegun = false
  /** Answers to the sent statements, oldest first. They never reject; the first error is kept. */
  #answers: { readonly settled: Promise<void>; readonly bytes: number }[] = []
  #underwayBytes = 0
  #failure: { readonly error: unknown } | undefined

  constructor(session: Session) {
    this.#session = session
  }

  /** Whether a statement was sent. */
  get isBegun(): boolean {
    return this.#isBegun
  }

  /** Sends a statement as a part of the transaction, which begins with the first one. */
  send(text: string, values: readonly Value[], name: string): void {
    this.#begin()
    let bytes = 0
    for (const value of values) if (value instanceof Uint8Array) bytes += value.length
    this.#follow(this.#session.query(text, values, name), bytes)
  }

  /** As {@link Pipeline.send}; resolves to its rows. */
  async ask(text: string, values: readonly Value[], name: string): Promise<readonly Cells[]> {
    this.#begin()
    const answer = this.#session.query(text, values, name)
    this.#follow(answer, 0)
    return await answer
  }

  /** Waits while too many bytes are unanswered. @throws the first error of a statement. */
  flow(): Awaitable<void> {
    if (this.#failure !== undefined) throw this.#failure.error
    if (this.#underwayBytes > UNDERWAY_BYTES) return this.#untilLess()
  }

  /**
   * Sends the last statement, and commits; resolves to its rows. @throws the first error of a statement: unless it is a ConnectionLostError, nothing was
   * committed.
   */
  async commit(text: string, values: readonly Value[], name: string): Promise<readonly Cells[]> {
    // One statement is a transaction by itself.
    if (!this.#isBegun) return await this.#session.query(text, values, name)
    const answer = this.#session.query(text, values, name)
    this.#follow(answer, 0)
    const isCommitted = this.#session.commit()
    this.#follow(isCommitted, 0)
    await this.#settle()
    if (this.#failure !== undefined) throw this.#failure.error
    if (!(await isCommitted)) throw new Error('the server rolled the transaction back')
    return await answer
  }

  /** Ends the transaction if {@link Pipeline.commit} was not called. Never throws. */
  async rollback(): Promise<void> {
    if (this.#isBegun && !this.#session.isLost) this.#follow(this.#session.query('ROLLBACK'), 0)
    await this.#settle()
  }

  #begin(): void {
    if (this.#isBegun) return
    this.#isBegun = true
    this.#follow(this.#session.query('BEGIN'), 0)
  }

  #follow(answer: Promise<unknown>, bytes: number): void {
    this.#underwayBytes += bytes
    const settled = answer.then(
      () => undefined,
      (error: unknown) => {
        this.#failure ??= { error }
      },
    )
    this.#answers.push({ settled, bytes })
  }

  async #untilLess(): Promise<void> {
    while (this.#underwayBytes > UNDERWAY_BYTES / 2) {
      const oldest = this.#answers.shift()
      if (oldest === undefined) break
      await oldest.settled
      this.#underwayBytes -= oldest.bytes
    }
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async #settle(): Promise<void> {
    for (const { settled } of this.#answers.splice(0)) await settled
    this.#underwayBytes = 0
  }
}
