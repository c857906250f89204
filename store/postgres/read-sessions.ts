/**
 * The sessions through which a store is read. A statement goes to the session with the fewest unanswered ones, so that a long answer
 * delays few others. If the session is lost, the statement is sent again through another one, because it only reads.
 */
import { messageOf } from '../errors.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionState } from '../capabilities.ts'
import type { PostgresAddress } from './address.ts'
import { ConnectionLostError, isPassing } from './postgres-errors.ts'
import type { Queries } from './postgres-index.ts'
import { Session, type Cells, type Value } from './session.ts'

const SESSIONS = 2
/** How long a statement is retried while the server does not answer. */
const READ_RETRY_MS = 30_000
const RETRY_FIRST_DELAY_MS = 50
const RETRY_MAX_DELAY_MS = 2000

interface Slot {
  session: Session | undefined
  opening: Promise<Session> | undefined
  underway: number
}

export class ReadSessions implements Queries {
  readonly #address: PostgresAddress
  readonly #report: (message: string) => void
  readonly #slots: readonly Slot[]
  #state: ConnectionState = { state: 'connected' }
  #isClosed = false

  /** @param first an open session, if one exists. @param report receives a sentence when the connection is lost or restored. */
  constructor(address: PostgresAddress, first: Session | undefined, report: (message: string) => void) {
    this.#address = address
    this.#report = report
    this.#slots = Array.from({ length: SESSIONS }, () => ({
      session: undefined,
      opening: undefined,
      underway: 0,
    }))
    if (this.#slots[0] !== undefined) this.#slots[0].session = first
  }

  get state(): ConnectionState {
    return this.#state
  }

  async query(text: string, values: readonly Value[] = [], name?: string): Promise<readonly Cells[]> {
    const start = performance.now()
    for (let delayMs = RETRY_FIRST_DELAY_MS; ;) {
      try {
        return await this.#once(text, values, name)
      } catch (error) {
        if (!(error instanceof ConnectionLostError) || this.#isClosed) throw error
        this.#lose(error)
        if (performance.now() - start > READ_RETRY_MS) throw error
      }
      await sleep(delayMs)
      delayMs = Math.min(RETRY_MAX_DELAY_MS, delayMs * 2)
    }
  }

  close(): void {
    this.#isClosed = true
    for (const { session } of this.#slots) session?.close()
  }

  async #once(text: string, values: readonly Value[], name: string | undefined): Promise<readonly Cells[]> {
    const slot = this.#leastBusy()
    slot.underway++
    try {
      const session = slot.session?.isLost === false ? slot.session : await this.#open(slot)
      return await session.query(text, values, name)
    } finally {
      slot.underway--
    }
  }

  /** An idle open session, else the one with the fewest statements; sessions are opened on demand. */
  #leastBusy(): Slot {
    const [first, ...others] = this.#slots
    if (first === undefined) throw new RangeError('there are no sessions')
    return others.reduce((least, slot) => (slot.underway < least.underway ? slot : least), first)
  }

  #open(slot: Slot): Promise<Session> {
    slot.opening ??= this.#connect(slot).finally(() => (slot.opening = undefined))
    return slot.opening
  }

  async #connect(slot: Slot): Promise<Session> {
    try {
      const session = await Session.open(this.#address)
      if (this.#isClosed) session.close()
      slot.session = session
      if (this.#state.state !== 'connected') {
        this.#state = { state: 'connected' }
        this.#report('the server answers again')
      }
      return session
    } catch (error) {
      if (error instanceof ConnectionLostError || !isPassing(error)) throw error
      throw new ConnectionLostError(messageOf(error), error)
    }
  }

  #lose({ message }: ConnectionLostError): void {
    if (this.#state.state === 'connected')
      this.#report(`the server does not answer (${message}): trying again`)
    this.#state = { state: 'reconnecting', reason: message }
  }
}
