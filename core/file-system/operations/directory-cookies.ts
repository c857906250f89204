/**
 * The readdir cookies of one open directory.
 *
 * Entries are listed in the order of their names' bytes. A cookie identifies a name: listing continues with the first
 * existing name after it, so an entry that stays is returned exactly once, whatever is added and removed around it.
 * '.' and '..' have cookies 1 and 2; every other name gets the next number when it is first returned, and keeps it
 * when the same range is listed again (seekdir, or an answer that did not fit).
 *
 * The last {@link REMEMBERED} cookies can be resolved. An older cookie continues from the newest remembered name before
 * it, so entries may be returned twice, but none is missed. This only happens to a seekdir that far back.
 */
import { constants } from 'node:fs'
import { type DirectoryEntry, type Ino, type Name, DOT, DOT_DOT } from '../operations.ts'

/** Number of cookies that a handle remembers: at most 16 MiB of names. */
const REMEMBERED = 1 << 16
/** Beyond that, one in this number of cookies is kept. */
const KEPT_EVERY = 1 << 10

export const COOKIE_SELF = 1n
export const COOKIE_PARENT = 2n

/** '.' and '..', the first entries of every directory. */
export function dotEntries(ino: Ino, parent: Ino): DirectoryEntry[] {
  const type = constants.S_IFDIR
  return [
    { name: DOT, ino, type, cookie: COOKIE_SELF },
    { name: DOT_DOT, ino: parent, type, cookie: COOKIE_PARENT },
  ]
}

export class DirectoryListing {
  readonly #names = new Map<number, Name>()
  #next = Number(COOKIE_PARENT) + 1
  #oldest = this.#next

  /** The name after which a listing continues from a cookie; undefined: from the first. */
  nameAt(cookie: bigint): Name | undefined {
    let at = Number(cookie)
    if (at < this.#oldest) at -= at % KEPT_EVERY
    return this.#names.get(at)
  }

  /** The cookie of the name that is returned next after the entry of `after`. */
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
