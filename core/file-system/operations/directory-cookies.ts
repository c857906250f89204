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

/** What the open directories of a filesystem remember together. */
const BYTES_MAX = 16 << 20
/** Approximate memory of a name, besides its bytes. */
const NAME_BYTES = 80
/** Names forgotten at once. */
const FORGOTTEN_NAMES = 1 << 10
/**
 * A listing always keeps its last names, as many as fit into a page of entries. The kernel requests entries of its
 * last answer again if they did not fit into its caller's buffer. That answer is at most a page, even if the buffer is larger.
 */
const KEPT_ENTRY_BYTES = 4096
/** Minimum length of an entry without its name. Source: struct fuse_dirent. */
const ENTRY_BYTES = 24
/** Maximum number of names that are kept in any case. */
const KEPT_ENTRIES_MAX = Math.ceil(KEPT_ENTRY_BYTES / ENTRY_BYTES)

/** Bounds what all listings of a filesystem remember: any user can open thousands of directories. */
export class ListingMemory {
  /** The one that was listed longest ago comes first. */
  readonly #listings = new Set<DirectoryListing>()
  readonly #maxBytes: number
  #bytes = 0

  constructor(maxBytes = BYTES_MAX) {
    this.#maxBytes = maxBytes
  }

  /** Approximate memory of the names remembered now. */
  get bytes(): number {
    return this.#bytes
  }

  /** The listing remembers `more` bytes, or as many fewer. */
  add(listing: DirectoryListing, more: number): void {
    this.#bytes += more
    if (more <= 0) return
    this.#listings.delete(listing)
    this.#listings.add(listing)
    for (const oldest of this.#listings) {
      if (this.#bytes <= this.#maxBytes) return
      const forgotten = oldest.forget(FORGOTTEN_NAMES)
      this.#bytes -= forgotten
      if (forgotten === 0) this.#listings.delete(oldest)
    }
  }

  /** The listing has ended. */
  remove(listing: DirectoryListing): void {
    this.#listings.delete(listing)
    this.#bytes -= listing.bytes
  }
}

export class DirectoryListing {
  readonly #memory: ListingMemory
  readonly #names = new Map<number, Name>()
  #next = Number(COOKIE_PARENT) + 1
  #oldest = this.#next
  #bytes = 0

  constructor(memory: ListingMemory) {
    this.#memory = memory
  }

  /** Approximate memory of the names that it remembers. */
  get bytes(): number {
    return this.#bytes
  }

  /** Called when the directory is closed. */
  close(): void {
    this.#memory.remove(this)
  }

  /** Forgets the cookies of up to `count` names, the oldest first, but for one of {@link KEPT_EVERY}. Returns how many bytes that frees. */
  forget(count: number): number {
    const before = this.#bytes
    const wanted = this.#oldest + count
    const end = wanted <= this.#next - KEPT_ENTRIES_MAX ? wanted : Math.min(wanted, this.#firstKept())
    for (; this.#oldest < end; this.#oldest++) {
      if (this.#oldest % KEPT_EVERY === 0) continue
      this.#bytes -= bytesOf(this.#names.get(this.#oldest))
      this.#names.delete(this.#oldest)
    }
    return before - this.#bytes
  }

  /** The first cookie that it keeps in any case. */
  #firstKept(): number {
    let first = this.#next
    for (let bytes = 0; first > this.#oldest && bytes < KEPT_ENTRY_BYTES; first--)
      bytes += ENTRY_BYTES + (this.#names.get(first - 1)?.length ?? 0)
    return first
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
    const added = bytesOf(name)
    this.#bytes += added
    const forgotten = this.#next - this.#oldest > REMEMBERED ? this.forget(1) : 0
    this.#memory.add(this, added - forgotten)
    return BigInt(cookie)
  }
}

const bytesOf = (name: Name | undefined): number => (name === undefined ? 0 : NAME_BYTES + name.length)
