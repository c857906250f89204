/** Open files and directories by their handles: small integers, the lowest free one first. */
import { processOwner } from '../../process-owner.ts'
import { ErrnoError } from '../errno.ts'
import { type Fh, fh as toFh } from '../operations.ts'
import { type DirectoryListing, ListingMemory } from '../operations/directory-cookies.ts'
import type { Node } from './tree.ts'

/** An open file without positions: what one reads is gone. */
export interface Stream {
  /** The next bytes, at most `len`; waits for them. Empty at the end. */
  read(len: number): Promise<Uint8Array>
  /** Absent if it can only be read. */
  write?(bytes: Uint8Array): void
  /** Waiting reads return. */
  close(): void
}

/** @typeParam N the filesystem's inodes. */
export type Handle<N = Node> =
  | { readonly kind: 'file'; readonly node: N; readonly isMappable: boolean; readonly ignoresAccess: boolean }
  | {
      readonly kind: 'directory'
      readonly node: N
      readonly listing: DirectoryListing
      readonly ignoresAccess: boolean
    }
  /** A generated file, with its content at the time of opening; a generated directory has none. */
  | { readonly kind: 'generated'; readonly content: Uint8Array }
  | { readonly kind: 'stream'; readonly stream: Stream }

/**
 * Maximum memory of one user's open handles, in units of {@link UNIT_BYTES}: a handle of a file or directory is one. Other users must not
 * fill the daemon's memory; its own user and root may open as many as the system allows.
 */
const USER_UNITS_MAX = 1 << 16
/** Approximate memory of a handle with its inode. */
const UNIT_BYTES = 600

export type DirectoryHandle = Extract<Handle, { readonly kind: 'directory' }>

export class Handles<N = Node> {
  readonly #handles: (Handle<N> | undefined)[] = []
  readonly #free: Fh[] = []
  /** The user that each handle counts for, and the units of each user. */
  readonly #users: (number | undefined)[] = []
  readonly #units = new Map<number, number>()
  readonly listingMemory = new ListingMemory()

  add(handle: Handle<N>): Fh {
    const fh = this.#free.pop() ?? toFh(this.#handles.length)
    this.#handles[fh] = handle
    return fh
  }

  /**
   * Opens for a user: reserves the room of one handle while `open` runs, and counts the handle that it adds.
   * @throws ErrnoError ENFILE if the user may not open more.
   */
  async opening<T>(uid: number, open: () => Promise<T>, fhOf: (opened: T) => Fh): Promise<T> {
    if (isTrusted(uid)) return await open()
    if ((this.#units.get(uid) ?? 0) >= USER_UNITS_MAX)
      throw new ErrnoError('ENFILE', `user ${uid} has too many open files`)
    this.#count(uid, 1)
    try {
      const opened = await open()
      const fh = fhOf(opened)
      this.#count(uid, unitsOf(this.get(fh)))
      this.#users[fh] = uid
      return opened
    } finally {
      this.#count(uid, -1)
    }
  }

  /** @throws ErrnoError EBADF */
  get(fh: Fh): Handle<N> {
    const handle = this.#handles[fh]
    if (handle === undefined) throw new ErrnoError('EBADF', `handle ${fh} is not open`)
    return handle
  }

  /** All that are open. */
  get open(): readonly Handle<N>[] {
    return this.#handles.filter(handle => handle !== undefined)
  }

  /** Whether reads through a handle leave the access time (O_NOATIME). */
  ignoresAccess(fh: Fh): boolean {
    const handle = this.#handles[fh]
    return handle !== undefined && 'ignoresAccess' in handle && handle.ignoresAccess
  }

  /** @throws ErrnoError EBADF */
  remove(fh: Fh): Handle<N> {
    const handle = this.get(fh)
    this.#handles[fh] = undefined
    this.#free.push(fh)
    this.#uncount(fh, handle)
    if (handle.kind === 'directory') handle.listing.close()
    else if (handle.kind === 'stream') handle.stream.close()
    return handle
  }

  #uncount(fh: Fh, handle: Handle<N>): void {
    const uid = this.#users[fh]
    if (uid === undefined) return
    this.#users[fh] = undefined
    this.#count(uid, -unitsOf(handle))
  }

  #count(uid: number, change: number): void {
    const units = (this.#units.get(uid) ?? 0) + change
    if (units > 0) this.#units.set(uid, units)
    else this.#units.delete(uid)
  }
}

const OWN_UID = processOwner().uid
const isTrusted = (uid: number): boolean => uid === 0 || uid === OWN_UID

const unitsOf = (handle: Handle<unknown>): number =>
  handle.kind === 'generated' ? Math.ceil((handle.content.length + 1) / UNIT_BYTES) : 1
