/**
 * A filesystem without storage, to measure a driver alone.
 *
 * It has one directory with two files: `big`, which reads as one buffer repeated, and `sink`, which discards writes.
 */
import { constants } from 'node:fs'
import { ErrnoError } from '../../core/file-system/errno.ts'
import { dotEntries } from '../../core/file-system/operations/directory-cookies.ts'
import {
  type Attributes,
  type DirectoryEntry,
  type Entry,
  type Fh,
  type Ino,
  type Name,
  type OpenFile,
  type Operations,
  ROOT_INO,
  fh as toFh,
  ino as toIno,
  name as toName,
} from '../../core/file-system/operations.ts'

const { S_IFDIR, S_IFREG } = constants
const BIG = toIno(2)
const SINK = toIno(3)
/** The highest handle; the next one is 1 again. */
const FH_MAX = 2 ** 31 - 1
const BUFFER_BYTES = 1 << 20

/** Size of `big` in bytes: more than a benchmark reads. */
const NO_OP_FILE_BYTES = 1n << 40n

const FILES: readonly DirectoryEntry[] = [
  ...dotEntries(ROOT_INO, ROOT_INO),
  { name: toName('big'), ino: BIG, type: S_IFREG, cookie: 3n },
  { name: toName('sink'), ino: SINK, type: S_IFREG, cookie: 4n },
]

export class NoOpFileSystem implements Operations {
  readonly #buffer = Buffer.alloc(BUFFER_BYTES, 'zblkfs ')
  #sinkSize = 0n
  #lastFh = 0

  async lookup(parent: Ino, name: Name): Promise<Entry> {
    const file = parent === ROOT_INO ? FILES.find(entry => entry.name === name) : undefined
    if (!file) throw new ErrnoError('ENOENT')
    return {
      attributes: this.#attributes(file.ino),
      generation: 0,
      nameValidity: 'forever',
    }
  }
  forget(): void {
    // Inodes are never dropped.
  }
  async getattr(ino: Ino): Promise<Attributes> {
    return this.#attributes(ino)
  }
  async setattr(ino: Ino, changes: { readonly size?: bigint }): Promise<Attributes> {
    if (ino === SINK && changes.size !== undefined) this.#sinkSize = changes.size
    return this.#attributes(ino)
  }

  async open(ino: Ino, flags: number): Promise<OpenFile> {
    if (ino === SINK && flags & constants.O_TRUNC) this.#sinkSize = 0n
    return { fh: this.#newFh(), pages: 'keep' }
  }
  read(_ino: Ino, _fh: Fh, off: bigint, len: number): readonly Uint8Array[] {
    const start = Number(off % BigInt(BUFFER_BYTES))
    const first = this.#buffer.subarray(start, start + len)
    return first.length === len ? [first] : [first, this.#buffer.subarray(0, len - first.length)]
  }
  async write(ino: Ino, _fh: Fh, off: bigint, data: Uint8Array): Promise<number> {
    const end = off + BigInt(data.length)
    if (ino === SINK && end > this.#sinkSize) this.#sinkSize = end
    return data.length
  }
  async append(ino: Ino, fh: Fh, data: Uint8Array): Promise<bigint> {
    await this.write(ino, fh, this.#sinkSize, data)
    return this.#sinkSize
  }
  async release(): Promise<void> {}
  async fsync(): Promise<void> {}

  async opendir(): Promise<Fh> {
    return this.#newFh()
  }
  async readdir(_ino: Ino, _fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    return FILES.slice(Number(cookie), Number(cookie) + limit)
  }
  async releasedir(): Promise<void> {}
  async fsyncdir(): Promise<void> {}
  async statfs() {
    const blocks = Number(NO_OP_FILE_BYTES / 4096n)
    return {
      blockSize: 4096,
      blocks,
      blocksFree: blocks,
      blocksAvailable: blocks,
      files: 2,
      filesFree: 0,
      nameMax: 255,
    }
  }
  attach(): void {
    // Nothing changes without the kernel's knowledge.
  }

  readonly readlink = unsupported
  readonly symlink = unsupported
  readonly mknod = unsupported
  readonly mkdir = unsupported
  readonly link = unsupported
  readonly unlink = unsupported
  readonly rmdir = unsupported
  readonly rename = unsupported
  readonly create = unsupported
  readonly allocate = unsupported
  readonly seek = unsupported
  readonly copyFileRange = unsupported
  readonly getxattr = unsupported
  readonly setxattr = unsupported
  readonly listxattr = unsupported
  readonly removexattr = unsupported

  #newFh(): Fh {
    this.#lastFh = (this.#lastFh % FH_MAX) + 1
    return toFh(this.#lastFh)
  }

  #attributes(ino: Ino): Attributes {
    const size = ino === BIG ? NO_OP_FILE_BYTES : ino === SINK ? this.#sinkSize : 0n
    return {
      ino,
      mode: ino === ROOT_INO ? S_IFDIR | 0o755 : S_IFREG | 0o666,
      nlink: ino === ROOT_INO ? 2 : 1,
      uid: 0,
      gid: 0,
      rdev: 0,
      size,
      blocks: Number(size / 512n),
      blksize: BUFFER_BYTES,
      atimeNs: 0n,
      mtimeNs: 0n,
      ctimeNs: 0n,
      birthtimeNs: 0n,
      validity: 'forever',
    }
  }
}

async function unsupported(): Promise<never> {
  throw new ErrnoError('EOPNOTSUPP')
}
