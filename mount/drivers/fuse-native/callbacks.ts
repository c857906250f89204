/**
 * fuse-native's callbacks as calls of Operations: one method per callback, which takes the callback's parameters and
 * resolves to its answer.
 *
 * - A 64-bit number comes as its low and its high half.
 * - A handle is the filesystem's plus 1, because 0 means "none" to the package.
 * - `buffer`s lie in libfuse's memory and are valid until the answer. A callback with a buffer always answers with its
 *   ArrayBuffer ({@link Answer.buffer}), because the native part detaches it then.
 */
import { constants } from 'node:fs'
import { ErrnoError } from '../../../core/file-system/errno.ts'
import {
  type AttributeChanges,
  type Caller,
  type Fh,
  type Ino,
  type Operations,
  fh as toFh,
} from '../../../core/file-system/operations.ts'
import { hasKnownLayout, modificationTimeMs, setLinkLength } from './binding.ts'
import { HiddenFiles } from './hidden-files.ts'
import { PathWalker, textOf } from './paths.ts'
import { entryStatOf, statfsOf, statOf } from './replies.ts'

/** The answer of a callback that succeeds: a result (0 by default) and further values. */
export interface Answer {
  readonly result?: number
  readonly values?: readonly unknown[]
}

const DONE: Answer = {}
const READDIR_BATCH = 1024
/** An id that chown leaves unchanged. */
const UNCHANGED_ID = 0xffff_ffff

const join = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low)
const fhOf = (handle: number): Fh => toFh(handle - 1)
const handleOf = (fh: Fh): number => fh + 1

function utf8Of(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('utf8')
  if (text.includes('�')) throw new ErrnoError('EILSEQ')
  return text
}

export class Callbacks {
  readonly #operations: Operations
  readonly #caller: Caller
  readonly #walker: PathWalker
  readonly #hidden = new HiddenFiles()
  /** The inode of each open handle, and how many handles an inode has. */
  readonly #inoOf = new Map<Fh, Ino>()
  readonly #handles = new Map<Ino, number>()
  /** Handles that were opened with O_APPEND. */
  readonly #appending = new Set<Fh>()

  constructor(operations: Operations, caller: Caller) {
    this.#operations = operations
    this.#caller = caller
    this.#walker = new PathWalker(operations, caller)
  }

  async getattr(path: string): Promise<Answer> {
    const attributes = await this.#withInode(path, async ino => await this.#operations.getattr(ino))
    return { values: [statOf(attributes)] }
  }

  /** For lseek(2) and reads at the end, which need the size: fstat(2) is a getattr. */
  async fgetattr(_path: string, handle: number): Promise<Answer> {
    const fh = fhOf(handle)
    return { values: [statOf(await this.#operations.getattr(this.#ino(fh), fh, false))] }
  }

  async statfs(): Promise<Answer> {
    const statistics = await this.#walker.withInode('/', ino => this.#operations.statfs(ino))
    return { values: [statfsOf(statistics)] }
  }

  async readdir(path: string): Promise<Answer> {
    const names: string[] = []
    const stats: Uint32Array[] = []
    await this.#withInode(path, async ino => {
      const fh = await this.#operations.opendir(ino, constants.O_RDONLY, this.#caller)
      try {
        let cookie = 0n
        for (;;) {
          const batch = await this.#operations.readdir(ino, fh, cookie, READDIR_BATCH)
          const last = batch.at(-1)
          if (last === undefined) break
          for (const entry of batch) {
            names.push(textOf(entry.name))
            stats.push(entryStatOf(entry))
          }
          cookie = last.cookie
        }
      } finally {
        await this.#operations.releasedir(ino, fh)
      }
    })
    return { values: [names, stats] }
  }

  async readlink(locals: Buffer, path: string): Promise<Answer> {
    if (!hasKnownLayout(locals)) throw new ErrnoError('ENOSYS')
    setLinkLength(locals)
    return { values: [utf8Of(await this.#withInode(path, ino => this.#operations.readlink(ino)))] }
  }

  async open(path: string, flags: number): Promise<Answer> {
    return await this.#withInode(path, async ino => {
      const { fh } = await this.#operations.open(ino, flags, this.#caller)
      if (flags & constants.O_APPEND) this.#appending.add(fh)
      return this.#opened(ino, fh)
    })
  }

  /** The package does not pass the flags: the kernel handles O_EXCL and the access mode. */
  async create(path: string, mode: number): Promise<Answer> {
    return await this.#walker.withParent(path, async (parent, name) => {
      const { entry, file } = await this.#operations.create(
        parent,
        name,
        mode,
        constants.O_RDWR | constants.O_CREAT,
        this.#caller,
      )
      this.#operations.forget(entry.attributes.ino, 1)
      return this.#opened(entry.attributes.ino, file.fh)
    })
  }

  async read(handle: number, buffer: Buffer, len: number, low: number, high: number): Promise<Answer> {
    const fh = fhOf(handle)
    const pieces = await this.#operations.read(this.#ino(fh), fh, join(low, high), len)
    let length = 0
    for (const piece of pieces) {
      buffer.set(piece, length)
      length += piece.length
    }
    return { result: length, values: [length] }
  }

  async write(handle: number, buffer: Buffer, len: number, low: number, high: number): Promise<Answer> {
    const fh = fhOf(handle)
    const data = buffer.subarray(0, len)
    const [ino, off] = [this.#ino(fh), join(low, high)]
    if (this.#appending.has(fh)) await this.#operations.append(ino, fh, data, undefined, off)
    else await this.#operations.write(ino, fh, off, data)
    return { result: len, values: [len] }
  }

  async release(_path: string, handle: number): Promise<Answer> {
    const fh = fhOf(handle)
    const ino = this.#ino(fh)
    this.#inoOf.delete(fh)
    this.#appending.delete(fh)
    const others = (this.#handles.get(ino) ?? 1) - 1
    if (others > 0) this.#handles.set(ino, others)
    else this.#handles.delete(ino)
    await this.#operations.release(ino, fh)
    return DONE
  }

  async fsync(_path: string, dataOnly: number, handle: number): Promise<Answer> {
    const fh = fhOf(handle)
    await this.#operations.fsync(this.#ino(fh), fh, dataOnly !== 0)
    return DONE
  }

  async fsyncdir(path: string): Promise<Answer> {
    await this.#withInode(path, ino => this.#operations.fsyncdir(ino, undefined))
    return DONE
  }

  async truncate(path: string, low: number, high: number): Promise<Answer> {
    return await this.#setattr(path, { size: join(low, high) })
  }

  async ftruncate(_path: string, handle: number, low: number, high: number): Promise<Answer> {
    const fh = fhOf(handle)
    await this.#operations.setattr(this.#ino(fh), { size: join(low, high), fh }, this.#caller)
    return DONE
  }

  async chmod(path: string, mode: number): Promise<Answer> {
    return await this.#setattr(path, { mode })
  }

  async chown(path: string, uid: number, gid: number): Promise<Answer> {
    return await this.#setattr(path, {
      ...(uid !== UNCHANGED_ID && { uid }),
      ...(gid !== UNCHANGED_ID && { gid }),
    })
  }

  async utimens(locals: Buffer, path: string, low: number, high: number): Promise<Answer> {
    const atimeMs = join(low, high)
    const mtimeMs = modificationTimeMs(locals, atimeMs)
    return await this.#setattr(path, { atimeNs: atimeMs * 1_000_000n, mtimeNs: mtimeMs * 1_000_000n })
  }

  async mknod(path: string, mode: number, rdev: number): Promise<Answer> {
    return await this.#walker.withParent(path, async (parent, name) => {
      const entry = await this.#operations.mknod(parent, name, mode, rdev, this.#caller)
      this.#operations.forget(entry.attributes.ino, 1)
      return DONE
    })
  }

  async mkdir(path: string, mode: number): Promise<Answer> {
    return await this.#walker.withParent(path, async (parent, name) => {
      const entry = await this.#operations.mkdir(parent, name, mode, this.#caller)
      this.#operations.forget(entry.attributes.ino, 1)
      return DONE
    })
  }

  async symlink(target: string, path: string): Promise<Answer> {
    return await this.#walker.withParent(path, async (parent, name) => {
      const entry = await this.#operations.symlink(parent, name, Buffer.from(target), this.#caller)
      this.#operations.forget(entry.attributes.ino, 1)
      return DONE
    })
  }

  async link(path: string, newPath: string): Promise<Answer> {
    return await this.#withInode(path, ino =>
      this.#walker.withParent(newPath, async (parent, name) => {
        const entry = await this.#operations.link(ino, parent, name, this.#caller)
        this.#operations.forget(entry.attributes.ino, 1)
        return DONE
      }),
    )
  }

  async unlink(path: string): Promise<Answer> {
    const hidden = this.#hidden.take(path)
    if (hidden !== undefined) this.#operations.forget(hidden, 1)
    else
      await this.#walker.withParent(path, (parent, name) =>
        this.#operations.unlink(parent, name, this.#caller),
      )
    return DONE
  }

  async rmdir(path: string): Promise<Answer> {
    await this.#refuseHiddenIn(path)
    await this.#walker.withParent(path, (parent, name) => this.#operations.rmdir(parent, name, this.#caller))
    return DONE
  }

  async rename(path: string, newPath: string): Promise<Answer> {
    if (HiddenFiles.isHidden(newPath) && (await this.#hide(path, newPath))) return DONE
    await this.#refuseHiddenIn(newPath)
    await this.#walker.withParent(path, (parent, name) =>
      this.#walker.withParent(newPath, (newParent, newName) =>
        this.#operations.rename(parent, name, newParent, newName, {}, this.#caller),
      ),
    )
    return DONE
  }

  async getxattr(path: string, name: string, buffer: Buffer): Promise<Answer> {
    const value = await this.#withInode(path, async ino => await this.#operations.getxattr(ino, name))
    return this.#filled(buffer, value)
  }

  async setxattr(
    path: string,
    name: string,
    value: Buffer,
    _position: number,
    flags: number,
  ): Promise<Answer> {
    await this.#withInode(path, ino => this.#operations.setxattr(ino, name, value, flags, this.#caller))
    return DONE
  }

  async listxattr(path: string, buffer: Buffer): Promise<Answer> {
    const names = await this.#withInode(path, ino => this.#operations.listxattr(ino))
    return this.#filled(buffer, Buffer.from(names.map(name => `${name}\0`).join('')))
  }

  async removexattr(path: string, name: string): Promise<Answer> {
    await this.#withInode(path, ino => this.#operations.removexattr(ino, name, this.#caller))
    return DONE
  }

  /** Copies a value into a caller's buffer; an empty buffer requests only the length. */
  #filled(buffer: Buffer, value: Uint8Array): Answer {
    if (buffer.length > 0) {
      if (value.length > buffer.length) throw new ErrnoError('ERANGE')
      buffer.set(value)
    }
    return { result: value.length }
  }

  async #setattr(path: string, changes: AttributeChanges): Promise<Answer> {
    await this.#withInode(path, ino => this.#operations.setattr(ino, changes, this.#caller))
    return DONE
  }

  /** Unlinks an open file that libfuse renames to hide it; false if the file is not open. */
  async #hide(path: string, hiddenPath: string): Promise<boolean> {
    return await this.#walker.withParent(path, async (parent, name) => {
      const { attributes } = await this.#operations.lookup(parent, name, this.#caller)
      const { ino } = attributes
      let kept = false
      try {
        if (!this.#handles.has(ino)) return false
        await this.#operations.unlink(parent, name, this.#caller)
        this.#hidden.add(hiddenPath, ino, parent)
        kept = true
      } finally {
        if (!kept) this.#operations.forget(ino, 1)
      }
      return true
    })
  }

  /** @throws ErrnoError ENOTEMPTY if `path` is a directory from which open files were unlinked. */
  async #refuseHiddenIn(path: string): Promise<void> {
    if (this.#hidden.isEmpty) return
    const isIn = await this.#walker.withInode(path, async ino => this.#hidden.isIn(ino)).catch(() => false) // The path does not exist: the caller's next step fails.
    if (isIn) throw new ErrnoError('ENOTEMPTY')
  }

  async #withInode<T>(path: string, use: (ino: Ino) => Promise<T>): Promise<T> {
    const hidden = this.#hidden.get(path)
    return hidden === undefined ? await this.#walker.withInode(path, use) : await use(hidden)
  }

  #opened(ino: Ino, fh: Fh): Answer {
    this.#inoOf.set(fh, ino)
    this.#handles.set(ino, (this.#handles.get(ino) ?? 0) + 1)
    return { values: [handleOf(fh)] }
  }

  #ino(fh: Fh): Ino {
    const ino = this.#inoOf.get(fh)
    if (ino === undefined) throw new ErrnoError('EBADF')
    return ino
  }
}
