/**
 * The session state of an open store: the moments that it reads, as shared locks of a session, which
 * the server releases however the session ends; and LISTEN. When the session is lost, a new one restores both.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Tid } from '../ids.ts'
import { tid as toTid } from '../ids.ts'
import type { PostgresAddress } from './address.ts'
import { CHANNEL } from './schema.ts'
import { Session } from './session.ts'
import { bigintOf } from './values.ts'

const REOPEN_DELAY_MS = 500

/** The keys of the shared locks of zblkfs sessions: each is a moment that a store reads. */
export const PINNED = `
  SELECT DISTINCT (classid::bigint << 32) | objid::bigint FROM pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

export class Anchor {
  readonly #address: PostgresAddress
  #session: Promise<Session> | undefined
  #moments: readonly Tid[] = []
  readonly #listeners = new Set<() => void>()
  #isClosed = false

  constructor(address: PostgresAddress) {
    this.#address = address
  }

  /**
   * Replaces the moments that are locked. @returns false if other sessions of the primary cannot see it.
   * @throws what the session reports.
   */
  async pin(moments: readonly Tid[]): Promise<boolean> {
    const released = this.#moments.filter(moment => !moments.includes(moment))
    const added = moments.filter(moment => !this.#moments.includes(moment))
    const session = await this.#open()
    this.#moments = moments
    if (session.facts.isStandby) return false
    await Promise.all(
      added.map(moment => session.query('SELECT pg_advisory_lock_shared($1)', [moment], 'pin')),
    )
    await Promise.all(
      released.map(moment => session.query('SELECT pg_advisory_unlock_shared($1)', [moment], 'unpin')),
    )
    return true
  }

  /** Calls `onHint` soon after each commit. @returns a function that unsubscribes. */
  listen(onHint: () => void): () => void {
    this.#listeners.add(onHint)
    this.#open().catch(() => this.#reopen())
    return () => void this.#listeners.delete(onHint)
  }

  /** Resolves when the server has released the session's locks. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#listeners.clear()
    const session = await this.#session?.catch(() => undefined)
    if (session?.isLost === false)
      await session.query('SELECT pg_advisory_unlock_all()').catch(() => undefined)
    session?.close()
  }

  #open(): Promise<Session> {
    this.#session ??= this.#start()
    return this.#session
  }

  async #start(): Promise<Session> {
    try {
      const session = await Session.open(this.#address)
      session.onLost = () => this.#reopen()
      session.onNotification = () => {
        for (const onHint of this.#listeners) onHint()
      }
      if (session.facts.isStandby) return session
      await session.query(`LISTEN ${CHANNEL}`)
      for (const moment of this.#moments)
        await session.query('SELECT pg_advisory_lock_shared($1)', [moment], 'pin')
      return session
    } catch (error) {
      this.#session = undefined
      throw error
    }
  }

  #reopen(): void {
    this.#session = undefined
    if (this.#isClosed) return
    void sleep(REOPEN_DELAY_MS, undefined, { ref: false }).then(() => {
      if (!this.#isClosed) this.#open().catch(() => this.#reopen())
    })
  }
}

/** The moments in rows of {@link PINNED}. */
export const momentsOf = (rows: readonly (readonly (string | null)[])[]): readonly Tid[] =>
  rows
    .map(([key]) => bigintOf(key))
    .filter(key => key >= 0n)
    .map(toTid)
