/**
 * The session through which a writer beside others sends its heartbeats and takes its turns: it waits for the lease, is notified when another
 * writer asks for it, and passes it on. The functions in schema.ts decide; notifications only save time, as everything is asked again
 * every {@link POLL_MS}.
 *
 *     none ──take_lease──▶ waiting ──handed on, or free──▶ held ──recalled: release_lease──▶ none
 *
 * The notification of a grant is enough for the writer that gets the lease; those that continue to wait send no query then.
 *
 * The session is replaced when it is lost. The lease outlives it, unless another writer finds this one gone and fences it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../errors.ts'
import { tid as toTid, type Tid } from '../ids.ts'
import type { PostgresAddress } from './address.ts'
import { ConnectionLostError, sqlStateOf } from './postgres-errors.ts'
import { FENCED, LEASE_CHANNEL } from './schema.ts'
import { Session, type Cells, type Value } from './session.ts'
import { bigintOf, numberOf } from './values.ts'
import type { WriterSession } from './writer-session.ts'

const HEARTBEAT_MS = 1000
/** How long after it has sent a heartbeat no other writer fences this one (GONE_WITHOUT_SESSION_MS in schema.ts), less a margin. */
const CONFIRMED_MS = 2500
/** Maximum delay after a notification was lost. */
const POLL_MS = 500
const RECONNECT_DELAY_MS = 250
/** How long the lease is waited for: longer than it takes to find out that its holder is gone. */
const WAIT_MS = 60_000

const TAKE = 'SELECT r_holder, r_grants, r_is_wanted FROM zblkfs.take_lease($1)'
const RECALL = 'SELECT r_holder, r_grants, r_last FROM zblkfs.recall_lease($1)'
const GRANTS = 'SELECT grants FROM zblkfs.lease WHERE epoch = $1'
/**
 * Releases one grant of the lease, by the writer's epoch ($1) and the number of the grant ($2). The server may execute a statement whose connection was lost after it has executed its repetition: it
 * must not release a grant that came in between.
 */
export const RELEASE = `
  WITH held AS MATERIALIZED (SELECT epoch FROM zblkfs.lease WHERE epoch = $1 AND grants = $2 FOR UPDATE)
  SELECT zblkfs.release_lease(epoch) FROM held`
const GIVE_UP = 'DELETE FROM zblkfs.lease_waiter WHERE epoch = $1'
const BEAT =
  'UPDATE zblkfs.writer SET heartbeat = clock_timestamp() WHERE epoch = $1 AND NOT fenced ' +
  'RETURNING EXISTS (SELECT FROM zblkfs.lease WHERE lease.epoch = $1)'
const OTHERS = 'SELECT FROM zblkfs.writer WHERE epoch <> $1 AND NOT zblkfs.is_gone(epoch) LIMIT 1'

export interface LeaseParts {
  readonly address: PostgresAddress
  /** The database's name, for messages. */
  readonly name: string
  readonly writer: WriterSession
}

/** A wait for a notification: that this writer may have the lease, or that anything has changed. */
interface Sleeper {
  readonly wanted: 'granted' | 'changed'
  readonly wake: () => void
}

/** Which writer has the lease. */
export interface Grant {
  readonly epoch: bigint
  /** The number of changes of the lease, this one included. */
  readonly grants: number
  /** Whether another writer waits for it already. */
  readonly isWanted: boolean
}

const CUT_OFF = 'it was cut off from its server for too long while others wrote'

export class LeaseSession {
  /** Called when another writer requests the lease that this one holds. */
  onRecall: () => void = () => undefined
  readonly #parts: LeaseParts
  #session: Promise<Session> | undefined
  readonly #heartbeat: NodeJS.Timeout
  readonly #sleepers = new Set<Sleeper>()
  /** The grant by which this writer has the lease; undefined without it. */
  #held: Grant | undefined
  /** Releases begun so far. */
  #releases = 0
  /** The last grant to this writer that was notified since it last asked. */
  #granted: Grant | undefined
  #isClosed = false
  #isBeating = false
  /** When the last heartbeat that was answered had been sent: by the clock that stands still in a suspended machine, and by that which can be set. */
  #sent = { monotonicMs: Number.NEGATIVE_INFINITY, wallMs: 0 }

  constructor(parts: LeaseParts) {
    this.#parts = parts
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS)
    this.#heartbeat.unref()
  }

  /**
   * Waits for the lease. @returns its grant, which {@link LeaseSession.has} until it is released or lost; undefined if it was released since
   * it was requested.
   * @throws WriterGoneError; StoreError if its holder does not release it.
   */
  async take(): Promise<Grant | undefined> {
    const releases = this.#releases
    let granted: Grant | undefined
    for (const start = performance.now(); ;) {
      granted ??= await this.#ask()
      // The answer may be older than the release.
      if (this.#releases !== releases) return undefined
      if (granted.epoch === this.#parts.writer.epoch) {
        const { isWanted } = granted
        // The same grant stays the same object.
        if (this.#held?.epoch !== granted.epoch || this.#held.grants !== granted.grants) this.#held = granted
        if (isWanted) this.onRecall()
        return this.#held
      }
      if (performance.now() - start > WAIT_MS) {
        await this.ask(GIVE_UP, 'give_up')
        await this.release()
        throw new StoreError(
          `${this.#parts.name}: another writer has kept the right to write for ${WAIT_MS / 1000} s`,
          { code: 'lease-kept' },
        )
      }
      // The notification may have been faster than the answer.
      if (this.#grantAfter(granted) === undefined) await this.untilNotified('granted')
      granted = this.#grantAfter(granted)
    }
  }

  /** Whether this writer has the lease by this grant: it has not released it since, and does not know of having lost it. */
  has(grant: Grant): boolean {
    const { writer } = this.#parts
    return grant === this.#held && grant.epoch === writer.epoch && writer.state.state !== 'fenced'
  }

  /** Takes the lease, or queues for it. @returns its holder. */
  async #ask(): Promise<Grant> {
    // After a failover to a server that lost changes of the lease, an earlier one may have a larger number.
    this.#granted = undefined
    const [holder, grants, isWanted] = await this.ask(TAKE, 'take_lease')
    return { epoch: bigintOf(holder), grants: numberOf(grants), isWanted: isWanted === 't' }
  }

  /** The notified grant to this writer, if it is later than another state of the lease: an earlier one may have ended since. */
  #grantAfter({ grants }: Grant): Grant | undefined {
    const granted = this.#granted
    return granted?.epoch === this.#parts.writer.epoch && granted.grants > grants ? granted : undefined
  }

  /** Frees the lease, or hands it on. @returns the number of its changes if it is free now. */
  async release(): Promise<number | undefined> {
    this.#releases++
    const held = this.#held
    this.#held = undefined
    const isKnown = held?.epoch === this.#parts.writer.epoch
    // It is unknown if the answer to a request was lost.
    const [last] = isKnown ? [String(held.grants)] : await this.ask(GRANTS, 'grants')
    if (last == null) return undefined
    const [grants] = await this.ask(RELEASE, 'release_grant', [last])
    return grants == null ? undefined : numberOf(grants)
  }

  /**
   * Waits until what other writers had done before the call is stored. @returns a transaction that has all of it, and whether this writer
   * holds the lease now, because there is no other.
   */
  async settle(): Promise<{ readonly tid: Tid; readonly isHeld: boolean }> {
    let first: string | null | undefined
    for (const start = performance.now(); ;) {
      const [holder, grants, last] = await this.ask(RECALL, 'recall_lease')
      const isHeld = holder != null && bigintOf(holder) === this.#parts.writer.epoch
      first ??= grants
      if (holder == null || isHeld || grants !== first) return { tid: toTid(bigintOf(last)), isHeld }
      if (performance.now() - start > WAIT_MS)
        throw new StoreError(
          `${this.#parts.name}: another writer has not stored its changes for ${WAIT_MS / 1000} s`,
          { code: 'lease-kept' },
        )
      await this.untilNotified('changed')
    }
  }

  /** Whether this writer cannot have been fenced. */
  get isConfirmed(): boolean {
    const { monotonicMs, wallMs } = this.#sent
    const passedMs = Date.now() - wallMs
    return performance.now() - monotonicMs < CONFIRMED_MS && passedMs >= 0 && passedMs < CONFIRMED_MS
  }

  /** Sends a heartbeat. @throws WriterGoneError if this writer was fenced; StoreError */
  async confirm(): Promise<void> {
    const sent = { monotonicMs: performance.now(), wallMs: Date.now() }
    const { writer } = this.#parts
    const { epoch } = writer
    const held = this.#held
    const rows = await this.#query(BEAT, 'beat')
    // After a rejoin the answer is about the former epoch.
    if (writer.epoch !== epoch) return
    const [hasLease] = rows[0] ?? []
    const isLost = held?.epoch === epoch && held === this.#held && hasLease === 'f'
    if (rows.length === 0 || isLost) throw writer.fence(CUT_OFF, epoch)
    this.#sent = sent
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Whether there is no other writer. */
  async isAlone(): Promise<boolean> {
    return (await this.#query(OTHERS, 'others')).length === 0
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#heartbeat)
    const session = await this.#session?.catch(() => undefined)
    session?.close()
    this.#wake()
  }

  /**
   * The first row of a statement's result. The statement is repeated until the server answers, for a bounded time, so it must be idempotent.
   * $1 is the writer's epoch, `values` begin with $2. @throws WriterGoneError, StoreError
   */
  async ask(text: string, name: string, values: readonly Value[] = []): Promise<Cells> {
    return (await this.#query(text, name, values))[0] ?? []
  }

  async #query(text: string, name: string, values: readonly Value[] = []): Promise<readonly Cells[]> {
    const { writer } = this.#parts
    for (const start = performance.now(); ;) {
      let { epoch } = writer
      try {
        const session = await this.#open()
        ;({ epoch } = writer)
        return await session.query(text, [epoch, ...values], name)
      } catch (error) {
        if (sqlStateOf(error) === FENCED && writer.epoch !== epoch) continue
        if (sqlStateOf(error) === FENCED) throw writer.fence(CUT_OFF, epoch)
        const isPassing = error instanceof ConnectionLostError || sqlStateOf(error) === undefined
        if (this.#isClosed || !isPassing || performance.now() - start > WAIT_MS) throw error
        await sleep(RECONNECT_DELAY_MS)
      }
    }
  }

  #open(): Promise<Session> {
    this.#session ??= this.#start()
    return this.#session
  }

  async #start(): Promise<Session> {
    try {
      const session = await Session.open(this.#parts.address)
      session.onLost = () => (this.#session = undefined)
      session.onNotification = payload => this.#hear(payload)
      await session.query(`LISTEN ${LEASE_CHANNEL}`)
      if (this.#isClosed) session.close()
      return session
    } catch (error) {
      this.#session = undefined
      throw error
    }
  }

  #hear(payload: string): void {
    const [what, epoch, grants, isWanted] = payload.split(' ')
    const own = this.#parts.writer.epoch
    const isOwn = epoch === String(own)
    if (what === 'recall' && isOwn) this.onRecall()
    if (what === 'free' && isOwn && grants !== undefined)
      this.#granted = { epoch: own, grants: Number(grants), isWanted: isWanted === 't' }
    if (what === 'free') this.#wake(isOwn || epoch === '0' ? undefined : 'changed')
    if (what === 'unlocked') this.#wake('changed')
  }

  async #beat(): Promise<void> {
    if (this.#isBeating || this.#isClosed) return
    this.#isBeating = true
    // A failure is reported by the writer's session.
    await this.confirm().catch(() => undefined)
    this.#isBeating = false
  }

  /** Waits for the next notification, or a while. @param wanted 'granted': only for one that this writer may have the lease. */
  async untilNotified(wanted: Sleeper['wanted'], aborted?: AbortSignal): Promise<void> {
    const timer = new AbortController()
    const signal = aborted === undefined ? timer.signal : AbortSignal.any([timer.signal, aborted])
    const { promise, resolve: wake } = Promise.withResolvers<void>()
    const sleeper = { wanted, wake }
    this.#sleepers.add(sleeper)
    await Promise.race([promise, sleep(POLL_MS, undefined, { signal }).catch(() => undefined)])
    this.#sleepers.delete(sleeper)
    timer.abort()
  }

  /** @param wanted undefined: all. */
  #wake(wanted?: Sleeper['wanted']): void {
    for (const sleeper of this.#sleepers)
      if (wanted === undefined || sleeper.wanted === wanted) sleeper.wake()
  }
}
