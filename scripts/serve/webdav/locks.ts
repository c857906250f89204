/**
 * Write locks (RFC 4918, 6): exclusive, on a path and all below it, in memory. They are advice to other WebDAV clients: programs on a mount
 * do not see them.
 */
import { randomUUID } from 'node:crypto'

const TIMEOUT_MAX_S = 3600
const LOCKS_MAX = 1024
/** What is kept of the name that a client gives to a lock's owner. */
const OWNER_MAX = 256

export interface Lock {
  readonly token: string
  readonly href: string
  readonly owner: string
  readonly timeoutSeconds: number
}

interface Held extends Lock {
  readonly expiresMs: number
  /** {@link directoryOf} its path. */
  readonly directory: string
}

export class Locks {
  readonly #byToken = new Map<string, Held>()

  /** Locks a path; 'taken' if a lock is in the way. */
  take(href: string, owner: string, seconds: number): Lock | 'taken' | 'too many' {
    if (this.#inTheWay(href, []).length > 0) return 'taken'
    if (this.#byToken.size >= LOCKS_MAX) return 'too many'
    const token = `urn:uuid:${randomUUID()}`
    return this.#hold({ token, href, owner: owner.slice(0, OWNER_MAX), timeoutSeconds: seconds })
  }

  /** Extends a lock; undefined if there is none with one of the tokens. */
  refresh(href: string, tokens: readonly string[], seconds: number): Lock | undefined {
    const path = directoryOf(href)
    const held = tokens
      .map(token => this.#byToken.get(token))
      .find(lock => lock && path.startsWith(lock.directory))
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
    const path = directoryOf(href)
    for (const lock of this.#byToken.values()) if (path.startsWith(lock.directory)) return lock
    return undefined
  }

  /** Removes the locks on a path and below it, which is gone. */
  forget(href: string): void {
    const path = directoryOf(href)
    for (const lock of this.#byToken.values())
      if (lock.directory.startsWith(path)) this.#byToken.delete(lock.token)
  }

  #hold(lock: Lock): Lock {
    const timeoutSeconds = Math.min(Math.max(lock.timeoutSeconds, 1), TIMEOUT_MAX_S)
    const expiresMs = Date.now() + timeoutSeconds * 1000
    const held = { ...lock, timeoutSeconds, expiresMs, directory: directoryOf(lock.href) }
    this.#byToken.set(lock.token, held)
    return held
  }

  #inTheWay(href: string, tokens: readonly string[]): readonly Lock[] {
    this.#expire()
    const path = directoryOf(href)
    return [...this.#byToken.values()].filter(
      ({ token, directory }) =>
        (path.startsWith(directory) || directory.startsWith(path)) && !tokens.includes(token),
    )
  }

  #expire(): void {
    for (const lock of this.#byToken.values())
      if (lock.expiresMs < Date.now()) this.#byToken.delete(lock.token)
  }
}

/** A path with a slash at its end, so that it begins all paths below it, and no other one. */
const directoryOf = (href: string): string => `${href.replace(/\/$/, '')}/`
