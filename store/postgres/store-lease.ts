/**
 * The lease of a store that writes beside others: the grant by which the store commits. A request and a release may overlap, and both may
 * overlap with a fence and a rejoin, so a grant counts only while the session still has it.
 *
 *     none ──acquire: granted, others' commits read──▶ grant ──release, fence, rejoin──▶ none
 */
import type { Grant, LeaseSession } from './lease-session.ts'

export interface StoreLeaseParts {
  readonly session: LeaseSession
  /** By which the store was opened. */
  readonly grant: Grant | undefined
  /** Runs work after all commits requested so far. */
  readonly queue: <T>(work: () => Promise<T>) => Promise<T>
  /** Reads what others have committed. */
  readonly resume: () => Promise<void>
}

export class StoreLease {
  readonly session: LeaseSession
  readonly #parts: StoreLeaseParts
  #grant: Grant | undefined
  /** How often the lease had changed when this store freed it, if it had used it until then. */
  #freedAt: number | undefined
  /** Settles when all releases requested so far have been answered. */
  #released: Promise<unknown> = Promise.resolve()

  constructor(parts: StoreLeaseParts) {
    this.session = parts.session
    this.#parts = parts
    this.#grant = parts.grant
  }

  /** Whether the store may commit, as far as it knows. */
  get isHeld(): boolean {
    return this.#grant !== undefined && this.session.has(this.#grant)
  }

  /** As Leasing.acquire. */
  async acquire(): Promise<void> {
    for (let isHeld = false; !isHeld;) {
      // A release that is sent after the request would free the lease that it grants.
      await this.#released
      const grant = await this.session.take()
      isHeld = await this.#parts.queue(() => this.#use(grant))
    }
  }

  /** Frees the lease, or hands it on, after all commits requested so far. */
  release(): Promise<void> {
    const released = this.#parts.queue(async () => {
      const wasHeld = this.isHeld
      this.forget()
      const freedAt = await this.session.release()
      // Before a grant that was not used, others may have committed.
      if (wasHeld) this.#freedAt = freedAt
    })
    this.#released = released.catch(() => undefined)
    return released
  }

  /** Forgets every grant so far. */
  forget(): void {
    this.#grant = undefined
    this.#freedAt = undefined
  }

  /** Begins to commit by a grant. @returns false if it was released or lost since. */
  async #use(grant: Grant | undefined): Promise<boolean> {
    if (grant === undefined || !this.session.has(grant)) return false
    // Others may have committed, unless the store has this grant already, or the lease was only freed, and taken again.
    const isUnchanged = grant === this.#grant || grant.grants - 1 === this.#freedAt
    if (!isUnchanged) await this.#parts.resume()
    if (!this.session.has(grant)) return false
    this.#grant = grant
    return true
  }
}
