/**
 * The readdir cookies of one open directory.
 *
 * Entries are listed in the order of their names' bytes. A cookie identifies a name: listing continues with the first
 * existing name after it, so an entry that stays is returned exactly once, whatever is added and removed around it.
 * '.' and '..' have cookies 1 and 2; every other name gets the next number when it is first returned, and keeps it
 * when the same range is listed again (seekdir, or an answer that did not fit).
 *
 * The last {@link REMEMBERED} cookies can be resolved, as long as all open directories together remember no more than
 * {@link ListingMemory} allows: then those that were listed longest ago remember fewer. An older cookie continues from the
 * newest remembered name before it, so entries may be returned twice, but none is missed. Only a seekdir that far back meets this,
 * or a listing that is continued after very many others.
 */
import { constants } from 'node:fs'
import { type DirectoryEntry, type Ino, type Name, DOT, DOT_DOT } from '../operations.ts'

/** Number of cookies that a handle remembers: at most 16 MiB of names. */
const REMEMBERED = 1 << 16
/** Beyond that, one in this number of cookies is kept. */
const KEPT_EVERY = 1 << 10

const COOKIE_SELF = 1n
export const COOKIE_PARENT = 2n

/** '.' and '..', the first entries of every directory. */
export function dotEntries(ino: Ino, parent: Ino): DirectoryEntry[] {
  const type = constants.S_IFDIR
  return [
    { name: DOT, ino, type, cookie: COOKIE_SELF },
    { name: DOT_DOT, ino: parent, type, cookie: COOKIE_PARENT },
  ]
}

/** Names that the open directories of a filesystem remember together: at most 35 MiB. */
const NAMES_MAX = 1 << 17
/** Forgotten at once. */
const FORGOTTEN_NAMES = 1 << 10
/** A listing keeps this many in any case: more than the last answer has that did not fit into the reply. */
const KEPT_LAST = 128

/** Bounds what all listings of a filesystem remember: any user can open thousands of directories. */
export class ListingMemory {
  /** The one that was listed longest ago comes first. */
  readonly #listings = new Set<DirectoryListing>()
  readonly #max: number
  #names = 0

  constructor(max = NAMES_MAX) {
    this.#max = max
  }

  /** Names remembered now. */
  get names(): number {
    return this.#names
  }

  /** The listing remembers `more` names, or as many fewer. */
  add(listing: DirectoryListing, more: number): void {
    this.#names += more
    if (more <= 0) return
    this.#listings.delete(listing)
    this.#listings.add(listing)
    for (const oldest of this.#listings) {
      if (this.#names <= this.#max) return
      this.#names -= oldest.forget(FORGOTTEN_NAMES)
      if (oldest.isForgotten) this.#listings.delete(oldest)
    }
  }

  /** The listing has ended. */
  remove(listing: DirectoryListing): void {
    this.#listings.delete(listing)
    this.#names -= listing.names
  }
}

export class DirectoryListing {
  readonly #memory: ListingMemory
  readonly #names = new Map<number, Name>()
  #next = Number(COOKIE_PARENT) + 1
  #oldest = this.#next

  constructor(memory: ListingMemory) {
    this.#memory = memory
  }

  /** Names that it remembers. */
  get names(): number {
    return this.#names.size
  }

  /** Whether it remembers no more than it must. */
  get isForgotten(): boolean {
    return this.#oldest >= this.#next - KEPT_LAST
  }

  /** Called when the directory is closed. */
  close(): void {
    this.#memory.remove(this)
  }

  /** Forgets the cookies of up to `count` names, the oldest first, but for one of {@link KEPT_EVERY}. Returns how many it forgot. */
  forget(count: number): number {
    const before = this.#names.size
    const end = Math.min(this.#oldest + count, this.#next - KEPT_LAST)
    for (; this.#oldest < end; this.#oldest++)
      if (this.#oldest % KEPT_EVERY !== 0) this.#names.delete(this.#oldest)
    return before - this.#names.size
  }

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
    const forgotten = this.#next - this.#oldest > REMEMBERED ? this.forget(1) : 0
    this.#memory.add(this, 1 - forgotten)
    return BigInt(cookie)
  }
}
