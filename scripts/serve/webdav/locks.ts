/**
 * Write locks (RFC 4918, 6): exclusive, on a path and all below it, in memory. They are advice to other WebDAV clients: programs on a mount
 * do not see them.
 */
import { randomUUID } from 'node:crypto'

const TIMEOUT_MAX_S = 3600

export interface Lock {
  readonly token: string
  readonly href: string
  readonly owner: string
  readonly timeoutSeconds: number
}

interface Held extends Lock {
  readonly expiresMs: number
}

export class Locks {
  readonly #byToken = new Map<string, Held>()

  /** Locks a path; undefined if a lock is in the way. */
  take(href: string, owner: string, seconds: number): Lock | undefined {
    if (this.#inTheWay(href, []).length > 0) return undefined
    return this.#hold({ token: `urn:uuid:${randomUUID()}`, href, owner, timeoutSeconds: seconds })
  }

  /** Extends a lock; undefined if there is none with one of the tokens. */
  refresh(href: string, tokens: readonly string[], seconds: number): Lock | undefined {
    const held = tokens.map(token => this.#byToken.get(token)).find(lock => lock && covers(lock.href, href))
    return held && this.#hold({ ...held, timeoutSeconds: seconds })
  }

  /** Returns whether there was one. */
  release(token: string): boolean {
    return this.#byToken.delete(token)
  }

  /** Whether a path and all below it may be changed with these tokens. */
  allows(href: string, tokens: readonly string[]): boolean {
    return this.#inTheWay(href, tokens).length === 0
  }

  /** The lock of a path. */
  of(href: string): Lock | undefined {
    this.#expire()
    return [...this.#byToken.values()].find(lock => covers(lock.href, href))
  }

  /** Removes the locks on a path and below it, which is gone. */
  forget(href: string): void {
    for (const lock of this.#byToken.values()) if (covers(href, lock.href)) this.#byToken.delete(lock.token)
  }

  #hold(lock: Lock): Lock {
    const timeoutSeconds = Math.min(Math.max(lock.timeoutSeconds, 1), TIMEOUT_MAX_S)
    const held = { ...lock, timeoutSeconds, expiresMs: Date.now() + timeoutSeconds * 1000 }
    this.#byToken.set(lock.token, held)
    return held
  }

  #inTheWay(href: string, tokens: readonly string[]): readonly Lock[] {
    this.#expire()
    return [...this.#byToken.values()].filter(
      lock => !tokens.includes(lock.token) && (covers(lock.href, href) || covers(href, lock.href)),
    )
  }

  #expire(): void {
    for (const lock of this.#byToken.values())
      if (lock.expiresMs < Date.now()) this.#byToken.delete(lock.token)
  }
}

/** Whether `path` is `directory` or lies below it. */
const covers = (directory: string, path: string): boolean =>
  `${path.replace(/\/$/, '')}/`.startsWith(`${directory.replace(/\/$/, '')}/`)
