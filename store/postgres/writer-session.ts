/**
 * The session through which a database is written, and the right to do so. A writer has the writers' advisory lock of its
 * session, and an epoch: a row of `writer`. Every change checks that its epoch is not fenced, and every commit that it has the lease.
 *
 * - A writer that is **alone** takes the lock when the previous session has ended, fences every earlier epoch, and takes a larger one,
 *   with the lease.
 * - Writers **beside others** share the lock. They take turns with the lease (lease-session.ts), and fence each other only when a heartbeat
 *   is missing.
 *
 *     open ──▶ connected ──session lost──▶ reconnecting ──lock regained──▶ connected
 *                                              │
 *                                              ├─ another writer has opened it
 *                                              ├─ an administrator has ended the session
 *                                              ├─ the server lost transactions        ──▶ fenced (for good)
 *                                              └─ a COMMIT is in doubt for too long
 *
 * A reconnected session continues where the lost one ended: if another writer had taken the lock in between, the epoch
 * would be fenced. Holding the lock of its epoch proves that the lost session has ended, so a transaction that it has not committed by then
 * will never be committed.
 */
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionState } from '../capabilities.ts'
import { CannotOpenError, StoreError, WriterGoneError, messageOf } from '../errors.ts'
import { formatTid, tid as toTid, TID_NONE, type Tid } from '../ids.ts'
import type { PostgresAddress } from './address.ts'
import { ADMIN_SHUTDOWN, ConnectionLostError, explainQuery, isForbidden } from './postgres-errors.ts'
import { Session } from './session.ts'
import { bigintOf } from './values.ts'
import {
  hasEpochLock,
  hasLock,
  lockWriters,
  NEWEST_WRITER,
  nextEpoch,
  RELEASE_LEASE,
  UNLOCK,
} from './writer-epoch.ts'

/** How long a commit waits for a lost session to reconnect. */
const REGAIN_MS = 60_000
const REGAIN_FIRST_DELAY_MS = 50
const REGAIN_MAX_DELAY_MS = 2000
const HEARTBEAT_MS = 10_000

const OWN_ROW = 'SELECT fenced FROM zblkfs.writer WHERE epoch = $1'
const LAST_TID = 'SELECT max(tid) FROM zblkfs.txn'
const COMMIT_ID = 'SELECT commit_id FROM zblkfs.txn WHERE tid = $1'
const END = 'UPDATE zblkfs.writer SET fenced = true WHERE epoch = $1'

/** A transaction whose COMMIT was sent. */
export interface CommitInDoubt {
  readonly tid: Tid
  readonly commitId: string
}

export interface WriterSessionParts {
  readonly address: PostgresAddress
  /** The database's name, for messages. */
  readonly name: string
  /** The purpose of opening the database, for the message to another writer. */
  readonly purpose: string
  /** The database's id: its name may since refer to another database. */
  readonly id: string
  readonly report: (message: string) => void
  /** Whether it writes beside others, in turns. */
  readonly isShared: boolean
}

export class WriterSession {
  onFenced: ((error: WriterGoneError) => void) | undefined
  readonly #parts: WriterSessionParts
  #epoch: bigint
  #session: Session
  #lastTid: Tid = TID_NONE
  /** Why the last session was lost. */
  #lost: ConnectionLostError | undefined
  #regaining: Promise<void> | undefined
  #state: ConnectionState = { state: 'connected' }
  #fenced: WriterGoneError | undefined
  #isClosed = false
  #isBusy = false
  #heartbeat: NodeJS.Timeout | undefined

  private constructor(parts: WriterSessionParts, session: Session, epoch: bigint) {
    this.#parts = parts
    this.#session = session
    this.#epoch = epoch
    this.#follow(session)
    // Beside others, lease-session.ts sends the heartbeats: not even a long commit may delay them.
    if (parts.isShared) return
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS)
    this.#heartbeat.unref()
  }

  /**
   * Takes the right to write. The session is the new object's, also if this rejects.
   * @param after an epoch that must not be used again; undefined: that of the last writer is the last.
   * @throws LockedError if another writer has it; CannotOpenError if the user may not write.
   */
  static async take(parts: WriterSessionParts, session: Session, after?: number): Promise<WriterSession> {
    const { name, purpose, address } = parts
    if (session.facts.isStandby)
      throw new CannotOpenError(`${name} is on a standby server, which can only be read`, {
        code: 'server-standby',
        path: name,
      })
    await lockWriters(session, name, parts.isShared)
    try {
      const about = { purpose: `process ${process.pid} on ${hostname()} (${purpose})`, after: after ?? 0 }
      const epoch = await nextEpoch(session, about, parts.isShared)
      await hasEpochLock(session, epoch)
      return new WriterSession(parts, session, epoch)
    } catch (error) {
      if (!isForbidden(error)) throw error
      throw new CannotOpenError(
        `the user ${address.user} may only read ${name}: grant it INSERT, UPDATE and DELETE on all tables in the schema zblkfs`,
        { code: 'server-read-only', path: name, cause: error },
      )
    }
  }

  /** Whether it writes beside others, in turns. */
  get isShared(): boolean {
    return this.#parts.isShared
  }

  get epoch(): bigint {
    return this.#epoch
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** Records the server's last transaction. */
  noteLast(tid: Tid): void {
    this.#lastTid = tid
  }

  /**
   * The session, once it is connected.
   * @throws WriterGoneError if the writer is fenced; StoreError if it does not reconnect in time.
   */
  async ready(): Promise<Session> {
    if (this.#fenced !== undefined) throw this.#fenced
    if (this.#session.isLost) await this.#regained()
    if (this.#fenced !== undefined) throw this.#fenced
    return this.#session
  }

  /** As {@link WriterSession.ready}; no heartbeat is sent before {@link WriterSession.release}. */
  async hold(): Promise<Session> {
    const session = await this.ready()
    this.#isBusy = true
    return session
  }

  release(): void {
    this.#isBusy = false
  }

  /**
   * After the connection was lost during a COMMIT: whether the transaction was stored. If not, it never will be.
   * @throws WriterGoneError if that cannot be determined.
   */
  async isCommitted({ tid, commitId }: CommitInDoubt): Promise<boolean> {
    try {
      const session = await this.ready()
      const [[id] = []] = await session.query(COMMIT_ID, [tid])
      return id === commitId
    } catch (error) {
      if (error instanceof WriterGoneError) throw error
      throw this.fence(
        `whether transaction ${formatTid(tid)} was stored cannot be found out (${messageOf(error)})`,
      )
    }
  }

  /**
   * Refuses every later change.
   * @param epoch of the request that failed. If it is not the present one, because of a rejoin, only the error is returned.
   */
  fence(reason: string, epoch: bigint = this.#epoch): WriterGoneError {
    const { name, report } = this.#parts
    const error = new WriterGoneError(`${name} cannot be written here any more: ${reason}`, {
      code: 'fenced',
    })
    if (epoch !== this.#epoch) return error
    if (this.#fenced === undefined) {
      this.#fenced = error
      this.#state = { state: 'fenced', reason }
      report(this.#fenced.message)
      clearInterval(this.#heartbeat)
      this.onFenced?.(this.#fenced)
    }
    return this.#fenced
  }

  /** Takes a new epoch after this one was fenced, beside others. @throws as {@link WriterSession.take} */
  async rejoin(): Promise<void> {
    if (this.#fenced === undefined) return
    const session = await Session.open(this.#parts.address)
    try {
      const taken = await WriterSession.take(this.#parts, session)
      if (this.#isClosed) {
        await taken.close()
        throw new StoreError(`${this.#parts.name} was closed meanwhile`)
      }
      this.#session.onLost = undefined
      this.#session.close()
      this.#session = session
      this.#epoch = taken.#epoch
    } catch (error) {
      session.close()
      throw error
    }
    this.#follow(session)
    this.#fenced = undefined
    this.#state = { state: 'connected' }
    this.#parts.report(`${this.#parts.name} can be written here again`)
  }

  /** Resolves when the server has ended the session, so that the next writer need not wait. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#heartbeat)
    if (!this.#session.isLost) {
      const epoch = [this.#epoch]
      await Promise.all([
        this.#session.query(END, epoch),
        this.#session.query(RELEASE_LEASE, epoch),
        this.#session.query(UNLOCK),
      ]).catch(() => undefined)
    }
    this.#session.close()
  }

  #follow(session: Session): void {
    session.onLost = reason => this.#lose(reason)
  }

  #lose(lost: ConnectionLostError): void {
    if (this.#isClosed || this.#fenced !== undefined) return
    const { name, report } = this.#parts
    this.#state = { state: 'reconnecting', reason: lost.message }
    report(`the connection to ${name} is lost (${lost.message}): connecting again`)
    this.#lost = lost
    this.#regaining ??= this.#regain().finally(() => (this.#regaining = undefined))
  }

  async #regained(): Promise<void> {
    const late = new AbortController()
    const isLate = sleep(REGAIN_MS, true, { signal: late.signal, ref: false }).catch(() => false)
    try {
      if (await Promise.race([this.#regaining?.then(() => false) ?? false, isLate])) {
        const { name } = this.#parts
        throw new StoreError(`the server of ${name} has not answered for ${REGAIN_MS / 1000} s`, {
          code: 'server-gone',
        })
      }
    } finally {
      late.abort()
    }
  }

  /**
   * Retries until there is a session that holds the lock, which may be one of {@link WriterSession.rejoin}, or this writer is fenced or
   * closed. Never rejects.
   */
  async #regain(): Promise<void> {
    for (let delayMs = REGAIN_FIRST_DELAY_MS; this.#isLost;) {
      try {
        if (await this.#tryToRegain()) return
      } catch {
        // The server is not reachable yet.
      }
      await sleep(delayMs, undefined, { ref: false })
      delayMs = Math.min(REGAIN_MAX_DELAY_MS, delayMs * 2)
    }
  }

  get #isLost(): boolean {
    return this.#session.isLost && !this.#isClosed && this.#fenced === undefined
  }

  async #tryToRegain(): Promise<boolean> {
    const { address, name, report } = this.#parts
    const before = this.#session.facts.started
    const epoch = this.#epoch
    const session = await Session.open(address)
    let isTaken = false
    try {
      if (session.facts.isStandby || !this.#isLost) return false
      if (this.#lost?.sqlState === ADMIN_SHUTDOWN && session.facts.started === before) {
        this.fence('an administrator ended its session')
        return false
      }
      if (!(await this.#mayContinue(session))) return false
      if (!(await hasLock(session, this.#parts.isShared))) return false
      if (!(await hasEpochLock(session, epoch))) return false
      // Another writer may have held the lock and released it in between.
      if (!(await this.#mayContinue(session))) return false
      isTaken = true
      this.#session = session
      this.#follow(session)
      this.#state = { state: 'connected' }
      report(`connected to ${name} again`)
      return true
    } finally {
      if (!isTaken) session.close()
    }
  }

  /** Whether a new session can continue what the lost one began. Fences this writer if not. */
  async #mayContinue(session: Session): Promise<boolean> {
    const reason = await this.#whyNot(session)
    // Meanwhile it may have been fenced, and may have rejoined with another session and epoch.
    if (!this.#isLost) return false
    if (reason !== undefined) this.fence(reason)
    return reason === undefined
  }

  /** Why this epoch cannot continue; undefined if it can. */
  async #whyNot(session: Session): Promise<string | undefined> {
    const [[id] = []] = await session.query("SELECT value FROM zblkfs.meta WHERE name = 'id'")
    if (id !== this.#parts.id) return 'another database has taken its name'
    const [[isFenced] = []] = await session.query(OWN_ROW, [this.#epoch])
    if (isFenced !== 'f') {
      if (this.#parts.isShared) return 'it was cut off from its server for too long while others wrote'
      const [[, purpose] = []] = await session.query(NEWEST_WRITER)
      return `it was opened by another writer: ${purpose}`
    }
    const [[last] = []] = await session.query(LAST_TID)
    const found = last == null ? TID_NONE : toTid(bigintOf(last))
    return found < this.#lastTid
      ? `its server has lost transactions: the last one is ${formatTid(found)}, and was ${formatTid(this.#lastTid)}`
      : undefined
  }

  async #beat(): Promise<void> {
    if (this.#isBusy || this.#regaining !== undefined || this.#isClosed) return
    try {
      const rows = await this.#session.query(
        'UPDATE zblkfs.writer SET heartbeat = now() WHERE epoch = $1 AND NOT fenced RETURNING 1',
        [this.#epoch],
        'beat',
      )
      if (rows.length === 0) this.fence('another writer has taken its place')
    } catch (error) {
      if (!(error instanceof ConnectionLostError))
        this.#parts.report(
          `the heartbeat of ${this.#parts.name} failed: ${messageOf(explainQuery(error, this.#parts.name))}`,
        )
    }
  }
}
