/**
 * The fids of a connection: numbers that the client gives to files. A fid holds a reference to its inode; the references that lookups
 * added to an inode are removed with its last fid.
 */
import { ErrnoError } from '../../../core/file-system/errno.ts'
import type { Entry, Fh, Ino, Operations } from '../../../core/file-system/operations.ts'

export interface Fid {
  readonly ino: Ino
  /** The root of the tree that it was attached to, which `..` does not leave. */
  readonly rootIno: Ino
  readonly uid: number
  /** Its open file or directory. */
  handle?: { readonly kind: 'file' | 'directory'; readonly fh: Fh }
  /** The value of an extended attribute that is read through it, or is being written. */
  attribute?: Attribute
}

export type Attribute =
  | { readonly kind: 'read'; readonly value: Uint8Array }
  | { readonly kind: 'write'; readonly name: string; readonly flags: number; readonly value: Buffer }

export class Fids {
  readonly #operations: Operations
  readonly #fids = new Map<number, Fid>()
  /** By inode: the fids that refer to it, and the references to remove with the last of them. */
  readonly #uses = new Map<Ino, { fids: number; lookups: number }>()

  constructor(operations: Operations) {
    this.#operations = operations
  }

  /** @throws ErrnoError EBADF */
  get(number: number): Fid {
    const fid = this.#fids.get(number)
    if (fid === undefined) throw new ErrnoError('EBADF', `there is no fid ${number}`)
    return fid
  }

  /** An inode that a lookup has returned stays referenced until {@link Fids.letGo}. */
  entered({ attributes: { ino } }: Entry): Ino {
    const uses = this.#usesOf(ino)
    uses.fids++
    uses.lookups++
    return ino
  }

  /** Ends one use of an inode. */
  letGo(ino: Ino): void {
    const uses = this.#usesOf(ino)
    if (--uses.fids > 0) return
    this.#uses.delete(ino)
    if (uses.lookups > 0) this.#operations.forget(ino, uses.lookups)
  }

  /** Assigns a number, replacing what had it. The use of the inode passes to it. */
  async put(number: number, fid: Fid): Promise<void> {
    if (this.#fids.has(number)) await this.clunk(number)
    this.#fids.set(number, fid)
  }

  /** A second fid of the same inode. */
  async copy(number: number, { ino, rootIno, uid }: Fid): Promise<void> {
    this.#usesOf(ino).fids++
    await this.put(number, { ino, rootIno, uid })
  }

  /** Removes a fid and closes what it has open. @throws ErrnoError EBADF */
  async clunk(number: number): Promise<Fid> {
    const fid = this.get(number)
    this.#fids.delete(number)
    const { ino, handle } = fid
    try {
      if (handle?.kind === 'file') await this.#operations.release(ino, handle.fh)
      else if (handle?.kind === 'directory') await this.#operations.releasedir(ino, handle.fh)
    } finally {
      this.letGo(ino)
    }
    return fid
  }

  async clunkAll(): Promise<void> {
    for (const number of this.#fids.keys()) await this.clunk(number).catch(() => undefined)
  }

  #usesOf(ino: Ino): { fids: number; lookups: number } {
    let uses = this.#uses.get(ino)
    if (uses === undefined) {
      uses = { fids: 0, lookups: 0 }
      this.#uses.set(ino, uses)
    }
    return uses
  }
}
