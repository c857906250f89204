/** A FileSystem used by paths, as the kernel uses it: looks names up one by one and returns every reference. */
import { constants } from 'node:fs'
import { ErrnoError } from '../../core/file-system/errno.ts'
import type { FileSystem } from '../../core/file-system/file-system.ts'
import {
  ROOT_INO,
  type Attributes,
  type Caller,
  type Entry,
  type Fh,
  type Ino,
  type Name,
  type RenameFlags,
  name as toName,
} from '../../core/file-system/operations.ts'

export const ROOT_CALLER: Caller = { uid: 0, gid: 0, pid: 1 }

export interface OpenedFile {
  readonly ino: Ino
  readonly fh: Fh
}

export class Paths {
  readonly fs: FileSystem
  readonly caller: Caller

  constructor(fs: FileSystem, caller: Caller = ROOT_CALLER) {
    this.fs = fs
    this.caller = caller
  }

  /** Runs `use` with a path's inode, referred to meanwhile. */
  async at<T>(path: string, use: (ino: Ino, entry: Entry | undefined) => Promise<T>): Promise<T> {
    let ino = ROOT_INO
    let entry: Entry | undefined
    const held: Ino[] = []
    try {
      for (const name of path.split('/').filter(part => part !== '')) {
        entry = await this.fs.lookup(ino, toName(name))
        ino = entry.attributes.ino
        held.push(ino)
      }
      return await use(ino, entry)
    } finally {
      for (const ino of held) this.fs.forget(ino, 1)
    }
  }

  /** Runs `use` with the directory that a path's last name is in, and that name. */
  async inParent<T>(path: string, use: (parent: Ino, name: Name) => Promise<T>): Promise<T> {
    const cut = path.lastIndexOf('/')
    return await this.at(path.slice(0, Math.max(0, cut)), parent => use(parent, toName(path.slice(cut + 1))))
  }

  stat(path: string): Promise<Attributes> {
    return this.at(path, async ino => await this.fs.getattr(ino))
  }

  async mkdir(path: string, mode = 0o755): Promise<void> {
    await this.inParent(path, async (parent, name) =>
      this.#drop(await this.fs.mkdir(parent, name, mode, this.caller)),
    )
  }

  async mknod(path: string, mode: number, rdev = 0): Promise<void> {
    await this.inParent(path, async (parent, name) =>
      this.#drop(await this.fs.mknod(parent, name, mode, rdev, this.caller)),
    )
  }

  async symlink(target: string, path: string): Promise<void> {
    await this.inParent(path, async (parent, name) =>
      this.#drop(await this.fs.symlink(parent, name, Buffer.from(target), this.caller)),
    )
  }

  async link(from: string, to: string): Promise<void> {
    await this.at(from, ino =>
      this.inParent(to, async (parent, name) => this.#drop(await this.fs.link(ino, parent, name))),
    )
  }

  unlink(path: string): Promise<void> {
    return this.inParent(path, (parent, name) => this.fs.unlink(parent, name))
  }

  rmdir(path: string): Promise<void> {
    return this.inParent(path, (parent, name) => this.fs.rmdir(parent, name))
  }

  rename(from: string, to: string, flags: RenameFlags = {}): Promise<void> {
    return this.inParent(from, (parent, name) =>
      this.inParent(to, (newParent, newName) =>
        this.fs.rename(parent, name, newParent, newName, flags, this.caller),
      ),
    )
  }

  truncate(path: string, size: bigint): Promise<Attributes> {
    return this.at(path, ino => this.fs.setattr(ino, { size }))
  }

  /** Opens an existing file, without keeping references of the kernel's. */
  open(path: string, flags: number = constants.O_RDWR): Promise<OpenedFile> {
    return this.at(path, async ino => ({ ino, fh: (await this.fs.open(ino, flags)).fh }))
  }

  async create(path: string, mode = 0o644, flags: number = constants.O_RDWR): Promise<OpenedFile> {
    return await this.inParent(path, async (parent, name) => {
      const { entry, file } = await this.fs.create(parent, name, mode, flags, this.caller)
      this.#drop(entry)
      return { ino: entry.attributes.ino, fh: file.fh }
    })
  }

  async close({ ino, fh }: OpenedFile): Promise<void> {
    await this.fs.release(ino, fh)
  }

  /** Writes bytes at an offset; creates the file if it does not exist. */
  async write(path: string, data: Uint8Array | string, off = 0n): Promise<void> {
    const file = await this.create(path)
    try {
      await this.fs.write(file.ino, file.fh, off, Buffer.from(data))
    } finally {
      await this.close(file)
    }
  }

  /** All bytes of a file. */
  async read(path: string): Promise<Buffer> {
    const file = await this.open(path, constants.O_RDONLY)
    try {
      return await this.readAt(file, 0n, 1 << 30)
    } finally {
      await this.close(file)
    }
  }

  async readAt({ ino, fh }: OpenedFile, off: bigint, len: number): Promise<Buffer> {
    return Buffer.concat(await this.fs.read(ino, fh, off, len))
  }

  async readlink(path: string): Promise<string> {
    return Buffer.from(await this.at(path, ino => this.fs.readlink(ino))).toString()
  }

  /** The names in a directory, in its order, without '.' and '..'. */
  async list(path: string, limit = 100): Promise<string[]> {
    return await this.at(path, async ino => {
      const fh = await this.fs.opendir(ino)
      const names: string[] = []
      try {
        for (let cookie = 0n; ;) {
          const batch = await this.fs.readdir(ino, fh, cookie, limit)
          const last = batch.at(-1)
          if (last === undefined) return names.filter(name => name !== '.' && name !== '..')
          for (const { name } of batch) names.push(name)
          cookie = last.cookie
        }
      } finally {
        await this.fs.releasedir(ino, fh)
      }
    })
  }

  #drop(entry: Entry): void {
    this.fs.forget(entry.attributes.ino, 1)
  }
}

/** The code that something fails with; 'nothing' where it does not. */
export async function codeOf(doing: Promise<unknown> | (() => Promise<unknown>)): Promise<string> {
  try {
    await (typeof doing === 'function' ? doing() : doing)
    return 'nothing'
  } catch (error) {
    if (error instanceof ErrnoError) return error.code
    return error instanceof Error ? error.name : String(error)
  }
}
