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
  /** Whether a request opens it now. */
  isOpening?: boolean
  /** Its open file or directory. */
  handle?: FidHandle
  /** The value of an extended attribute that is read through it, or is being written. */
  attribute?: Attribute
}

export type FidHandle =
  | { readonly kind: 'file'; readonly fh: Fh; readonly appends: boolean }
  | { readonly kind: 'directory'; readonly fh: Fh }

export type Attribute =
  | { readonly kind: 'read'; readonly value: Uint8Array }
  | { readonly kind: 'write'; readonly name: string; readonly flags: number; readonly value: Buffer }

/** Fids of all connections. A client may keep one for each file that it has seen. */
const FIDS_MAX = 1 << 17
/** Maximum bytes of attributes that are read or written through fids, of all connections. */
const ATTRIBUTES_MAX_BYTES = 8 << 20

/** What the fids of all connections take. */
export interface FidUsage {
  fids: number
  attributeBytes: number
}

export class Fids {
  readonly #operations: Operations
  readonly #usage: FidUsage
  readonly #fids = new Map<number, Fid>()
  /** By inode: the fids that refer to it, and the references to remove with the last of them. */
  readonly #uses = new Map<Ino, { fids: number; lookups: number }>()

  constructor(operations: Operations, usage: FidUsage) {
    this.#operations = operations
    this.#usage = usage
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

  /**
   * Assigns a number, replacing what had it. The use of the inode passes to it, and what it has open.
   * @throws ErrnoError ENFILE, after it was closed.
   */
  async put(number: number, fid: Fid): Promise<void> {
    while (this.#fids.has(number)) await this.clunk(number)
    if (this.#usage.fids >= FIDS_MAX) {
      await this.#close(fid)
      throw new ErrnoError('ENFILE', 'clients have too many fids')
    }
    this.#usage.fids++
    this.#fids.set(number, fid)
  }

  /**
   * Opens a fid with `open`; what that has opened is closed if the fid was removed meanwhile.
   * @throws ErrnoError EBUSY if it is open, EBADF if it was removed.
   */
  async open(number: number, open: (fid: Fid) => Promise<FidHandle>): Promise<void> {
    const fid = this.get(number)
    if (fid.handle !== undefined || fid.isOpening === true) throw new ErrnoError('EBUSY')
    fid.isOpening = true
    try {
      const handle = await open(fid)
      if (this.#fids.get(number) === fid) fid.handle = handle
      else {
        await this.#release(fid.ino, handle)
        throw new ErrnoError('EBADF', `fid ${number} was removed while it was opened`)
      }
    } finally {
      fid.isOpening = false
    }
  }

  /** Sets the attribute that is read or written through a fid. @throws ErrnoError EBADF, ENOMEM */
  setAttribute(number: number, attribute: Attribute): void {
    const fid = this.get(number)
    const more = attribute.value.length - (fid.attribute?.value.length ?? 0)
    if (this.#usage.attributeBytes + more > ATTRIBUTES_MAX_BYTES)
      throw new ErrnoError('ENOMEM', 'clients have too many attributes open')
    this.#usage.attributeBytes += more
    fid.attribute = attribute
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
    this.#usage.fids--
    this.#usage.attributeBytes -= fid.attribute?.value.length ?? 0
    await this.#close(fid)
    return fid
  }

  async #close({ ino, handle }: Fid): Promise<void> {
    try {
      if (handle !== undefined) await this.#release(ino, handle)
    } finally {
      this.letGo(ino)
    }
  }

  async #release(ino: Ino, { kind, fh }: FidHandle): Promise<void> {
    if (kind === 'file') await this.#operations.release(ino, fh)
    else await this.#operations.releasedir(ino, fh)
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
