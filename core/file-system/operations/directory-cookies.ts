/**
 * One open directory's cookies.
 *
 * Entries are listed in the order of their names' bytes. A cookie stands for a name: listing goes on with the first
 * name after it that is there by then, so an entry that stays is given once, whatever comes and goes around it. '.'
 * and '..' have cookies 1 and 2; every other name gets the next number when it is first given out, and keeps it
 * when the same stretch is listed again (seekdir, or an answer of which the kernel had no room for all).
 *
 * The last {@link REMEMBERED} cookies can be resolved; a cookie further back goes on from the newest name known to
 * stand before it, so that entries may be given twice there, but none is missed. (Nobody but a seekdir that far
 * back meets this.)
 */
import type { Name } from '../operations.ts'

/** How many cookies a handle remembers: at most 16 MiB of names. */
const REMEMBERED = 1 << 16
/** Every so many cookies one is kept beyond that. */
const KEPT_EVERY = 1 << 10

export const COOKIE_SELF = 1n
export const COOKIE_PARENT = 2n

export class DirectoryListing {
  readonly #names = new Map<number, Name>()
  #next = Number(COOKIE_PARENT) + 1
  #oldest = this.#next

  /** The name after which a listing goes on from a cookie; undefined: from the first. */
  nameAt(cookie: bigint): Name | undefined {
    let at = Number(cookie)
    if (at < this.#oldest) at -= at % KEPT_EVERY
    return this.#names.get(at)
  }

  /** The cookie of a name that is given out next after the entry of `after`. */
  cookieOf(name: Name, after: bigint): bigint {
    const following = Number(after <= COOKIE_PARENT ? COOKIE_PARENT : after) + 1
    if (this.#names.get(following) === name) return BigInt(following)
    const cookie = this.#next++
    this.#names.set(cookie, name)
    this.#forgetOldest()
    return BigInt(cookie)
  }

  #forgetOldest(): void {
    if (this.#next - this.#oldest <= REMEMBERED) return
    if (this.#oldest % KEPT_EVERY !== 0) this.#names.delete(this.#oldest)
    this.#oldest++
  }
}
