/** Open files and directories by their handles: small integers, the lowest free one first. */
import { ErrnoError } from '../errno.ts'
import type { AccessLogReader } from '../access-log.ts'
import { type Fh, fh as toFh } from '../operations.ts'
import { type DirectoryListing, ListingMemory } from '../operations/directory-cookies.ts'
import type { Node } from './tree.ts'

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
  | { readonly kind: 'access log'; readonly reader: AccessLogReader }

export type DirectoryHandle = Extract<Handle, { readonly kind: 'directory' }>

export class Handles<N = Node> {
  readonly #handles: (Handle<N> | undefined)[] = []
  readonly #free: Fh[] = []
  readonly listingMemory = new ListingMemory()

  add(handle: Handle<N>): Fh {
    const fh = this.#free.pop() ?? toFh(this.#handles.length)
    this.#handles[fh] = handle
    return fh
  }

  /** @throws ErrnoError EBADF */
  get(fh: Fh): Handle<N> {
    const handle = this.#handles[fh]
    if (handle === undefined) throw new ErrnoError('EBADF', `handle ${fh} is not open`)
    return handle
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
    if (handle.kind === 'directory') handle.listing.close()
    else if (handle.kind === 'access log') handle.reader.close()
    return handle
  }
}
