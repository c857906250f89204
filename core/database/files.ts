/**
 * The files of a database by path, modelled on node:fs/promises.
 *
 * Every operation has its short method here, so the file is longer than most.
 */
/* oxlint-disable max-lines -- see above */
import { constants } from 'node:fs'
import { Readable, type Writable } from 'node:stream'
import { ErrnoError } from '../file-system/errno.ts'
import {
  name as toName,
  type AttributeChanges,
  type Attributes,
  type Caller,
  type Fh,
  type Ino,
  type Name,
  type Operations,
} from '../file-system/operations.ts'
import { S_ISGID, S_ISUID } from '../file-system/operations/attributes.ts'
import { storedName, textOfStored } from '../stored-names.ts'
import { asFileError, FileError } from './file-error.ts'
import { File, writableTo, type Guard, type ReadStreamOptions } from './file.ts'
import { existing, free, placed, replaceable } from './found.ts'
import { openFlags, type OpenMode } from './open-flags.ts'
import { bytesOf, SLASH, textOf, type Path } from './path.ts'
import { Dirent, Stats } from './stats.ts'
import { makeDirectories, removeTree } from './trees.ts'
import { isType, Walk, type Following, type Found } from './walk.ts'

const { S_IFREG, S_IFDIR, S_IFLNK, O_RDWR, O_CREAT, O_EXCL } = constants
const PERMISSIONS = 0o7777
const FILE_MODE = 0o666
const DIRECTORY_MODE = 0o777
const READDIR_BATCH = 256
/** Maximum bytes copied by one operation. */
const COPY_BYTES = 1n << 30n
const MS_PER_S = 1000
/** How often a path is walked: operations of this process at the same time may each make one of them fail. */
const WALKS_MAX = 20
const NS_PER_MS = 1_000_000n

export interface FilesParts {
  readonly operations: Operations
  readonly caller: Caller
  readonly guard: Guard
  /** Permission bits cleared from the mode of new files and directories. */
  readonly umask: number
  /** The names that lead from the root to the directory where paths begin. */
  readonly base: () => Promise<readonly Name[]>
}

interface Signalled {
  readonly signal?: AbortSignal | undefined
}

/** A time: seconds since 1970, a Date, or nanoseconds since 1970 as a bigint. */
export type Time = number | Date | bigint

/**
 * The files of a database, at its present or at one moment of its past.
 *
 * Paths begin at the root of the tree, with or without a slash; see {@link Path}. Each method is atomic unless it says
 * otherwise, and throws a {@link FileError} with a POSIX code, or a coded error if the database fails. Nothing is durable
 * before {@link File.sync} or `Database.sync`.
 */
export class Files {
  readonly #parts: FilesParts

  constructor(parts: FilesParts) {
    this.#parts = parts
  }

  /**
   * Opens a file.
   * @param flags as node:fs has them (`r`, `r+`, `w`, `wx`, `a` ...), or those of open(2) as a number.
   * @param mode permissions of a file that is made, less the umask.
   */
  async open(path: Path, flags: OpenMode | number = 'r', mode: number = FILE_MODE): Promise<File> {
    const bits = openFlags(flags)
    const { operations, caller, guard } = this.#parts
    // A file is not made behind a link with O_EXCL, nor by a name that a slash follows.
    const isMade = (bits & O_EXCL) !== 0 || ((bits & O_CREAT) !== 0 && bytesOf(path).at(-1) === SLASH[0])
    return await this.#at('open', path, isMade ? 'never' : 'always', async found => {
      const { ino, fh } = await this.#openFound(found, bits, mode)
      return new File({ operations, caller, guard, ino, fh, flags: bits, path: textOf(path) })
    })
  }

  /** The whole file. */
  async readFile(path: Path, options?: Signalled & { readonly encoding?: undefined }): Promise<Buffer>
  async readFile(
    path: Path,
    options: BufferEncoding | (Signalled & { readonly encoding: BufferEncoding }),
  ): Promise<string>
  async readFile(
    path: Path,
    options: BufferEncoding | (Signalled & { readonly encoding?: BufferEncoding | undefined }) = {},
  ): Promise<Buffer | string> {
    const how = typeof options === 'string' ? { encoding: options } : options
    return await this.#opened(path, 'r', undefined, file => file.readFile(how))
  }

  /** Creates or replaces the file. Not atomic: a reader may see a part; {@link Files.replaceFile} is. */
  async writeFile(
    path: Path,
    data: string | Uint8Array | AsyncIterable<Uint8Array>,
    { mode, flag = 'w', signal }: Signalled & { readonly mode?: number; readonly flag?: OpenMode } = {},
  ): Promise<void> {
    await this.#opened(path, flag, mode, async file => {
      if (typeof data === 'string' || data instanceof Uint8Array) await file.writeFile(data, { signal })
      else for await (const piece of data) await file.writeFile(piece, { signal })
    })
  }

  /**
   * Creates or replaces a file in one step, once all of `data` has arrived. Until then, and if it fails, or this process ends,
   * the earlier file is unchanged, and nothing of the new one stays. A symbolic link is replaced itself. The new file has the
   * permissions of the one that it replaces, without setuid and setgid, and its owner, if this process may give files away.
   */
  async replaceFile(
    path: Path,
    data: string | Uint8Array | AsyncIterable<Uint8Array>,
    { mode = FILE_MODE }: { readonly mode?: number } = {},
  ): Promise<void> {
    const { operations, caller, guard } = this.#parts
    const file = await this.#at('open', path, 'never', async found => {
      const { ino, fh } = await this.#openUnnamed(replaceable(found).parent, mode)
      return new File({ operations, caller, guard, ino, fh, flags: O_RDWR, path: textOf(path) })
    })
    try {
      if (typeof data === 'string' || data instanceof Uint8Array) await file.writeFile(data)
      else for await (const piece of data) await file.writeFile(piece)
      const { ino } = file.handle
      await this.#at('link', path, 'never', async found => {
        const { parent, name } = replaceable(found)
        if (found.attributes !== undefined) await this.#copyPermissions(found.attributes, ino)
        await operations.link(ino, parent, name, caller, true)
        operations.forget(ino, 1)
      })
    } finally {
      await file.close()
    }
  }

  async appendFile(
    path: Path,
    data: string | Uint8Array,
    options: { readonly mode?: number } = {},
  ): Promise<void> {
    await this.writeFile(path, data, { ...options, flag: 'a' })
  }

  /** Follows a symbolic link at the end. */
  async stat(path: Path): Promise<Stats> {
    return await this.#at('stat', path, 'always', found => new Stats(existing(found)))
  }

  async lstat(path: Path): Promise<Stats> {
    return await this.#at('lstat', path, 'before a slash', found => new Stats(existing(found)))
  }

  /** Whether the path exists; false for a dangling symbolic link. */
  async exists(path: Path): Promise<boolean> {
    try {
      await this.stat(path)
      return true
    } catch (error) {
      if (error instanceof FileError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return false
      throw error
    }
  }

  /** The names in a directory, in no particular order, without `.` and `..`. For many names use {@link Files.opendir}. */
  async readdir(path: Path, options?: { readonly withFileTypes?: false }): Promise<string[]>
  async readdir(path: Path, options: { readonly withFileTypes: true }): Promise<Dirent[]>
  async readdir(path: Path, { withFileTypes = false } = {}): Promise<string[] | Dirent[]> {
    const entries: Dirent[] = []
    for await (const entry of this.opendir(path)) entries.push(entry)
    return withFileTypes ? entries : entries.map(({ name }) => name)
  }

  /** Iterates over the entries of a directory, in memory independent of their number. */
  async *opendir(path: Path): AsyncGenerator<Dirent> {
    const { operations, caller } = this.#parts
    const { ino, fh } = await this.#at('opendir', path, 'always', async found => {
      const { ino } = existing(found, S_IFDIR)
      return { ino, fh: await operations.opendir(ino, 0, caller) }
    })
    try {
      for (let cookie = 0n; ;) {
        const from = cookie
        const batch = await this.#run('readdir', path, () => operations.readdir(ino, fh, from, READDIR_BATCH))
        if (batch.length === 0) return
        for (const { name, type } of batch)
          if (name !== '.' && name !== '..') yield new Dirent(Buffer.from(name, 'latin1'), textOf(path), type)
        cookie = batch.at(-1)?.cookie ?? cookie
      }
    } finally {
      await operations.releasedir(ino, fh)
    }
  }

  /** Makes a directory; with `recursive` also its parents, and an existing directory is not an error. */
  async mkdir(
    path: Path,
    {
      recursive = false,
      mode = DIRECTORY_MODE,
    }: { readonly recursive?: boolean; readonly mode?: number } = {},
  ): Promise<void> {
    if (recursive) return await makeDirectories(this, path, mode)
    const { operations, caller, umask } = this.#parts
    await this.#at('mkdir', path, 'never', async found => {
      const { parent, name } = free(found, S_IFDIR)
      const { attributes } = await operations.mkdir(parent, name, mode & ~umask & PERMISSIONS, caller)
      operations.forget(attributes.ino, 1)
    })
  }

  async rmdir(path: Path): Promise<void> {
    const { operations, caller } = this.#parts
    await this.#at('rmdir', path, 'never', async found => {
      existing(found, S_IFDIR)
      const { parent, name } = placed(found, found.ending === '..' ? 'ENOTEMPTY' : 'EBUSY')
      await operations.rmdir(parent, name, caller)
    })
  }

  async unlink(path: Path): Promise<void> {
    const { operations, caller } = this.#parts
    await this.#at('unlink', path, 'never', async found => {
      existing(found)
      const { parent, name } = placed(found, 'EISDIR')
      await operations.unlink(parent, name, caller)
    })
  }

  /** Removes a file; with `recursive` a directory and all in it, one by one. `force`: a missing file is not an error. */
  async rm(
    path: Path,
    { recursive = false, force = false }: { readonly recursive?: boolean; readonly force?: boolean } = {},
  ): Promise<void> {
    let stats: Stats
    try {
      stats = await this.lstat(path)
    } catch (error) {
      if (force && error instanceof FileError && error.code === 'ENOENT') return
      throw error
    }
    if (!stats.isDirectory()) return await this.unlink(path)
    if (!recursive) throw new FileError('EISDIR', { syscall: 'rm', path: textOf(path) })
    await removeTree(this, path)
  }

  /**
   * Renames a file, replacing a file that has the new name. With `aside`, a file or directory of the new name is renamed to
   * this name in the same step, in the same directory, instead of being replaced.
   */
  async rename(from: Path, to: Path, { aside }: { readonly aside?: string } = {}): Promise<void> {
    const { operations, caller } = this.#parts
    const flags = aside === undefined ? {} : { aside: toName(storedName(aside)) }
    const work = async (walk: Walk): Promise<void> => {
      const [source, target] = [await walk.find(from, 'never'), await walk.find(to, 'never')]
      const [old, next] = [placed(source, 'EBUSY'), placed(target, 'EBUSY')]
      if (!isType(existing(source), S_IFDIR) && target.ending !== undefined) throw new ErrnoError('ENOTDIR')
      await operations.rename(old.parent, old.name, next.parent, next.name, flags, caller)
    }
    await this.#run('rename', from, () => this.#walking(work), to)
  }

  /** Makes a hard link. */
  async link(existingPath: Path, path: Path): Promise<void> {
    const { operations, caller } = this.#parts
    const work = async (walk: Walk): Promise<void> => {
      const { ino } = existing(await walk.find(existingPath, 'before a slash'))
      const { parent, name } = free(await walk.find(path, 'never'))
      const { attributes } = await operations.link(ino, parent, name, caller)
      operations.forget(attributes.ino, 1)
    }
    await this.#run('link', existingPath, () => this.#walking(work), path)
  }

  async symlink(target: Path, path: Path): Promise<void> {
    const { operations, caller } = this.#parts
    await this.#at('symlink', path, 'never', async found => {
      const { parent, name } = free(found)
      const { attributes } = await operations.symlink(parent, name, Buffer.from(target), caller)
      operations.forget(attributes.ino, 1)
    })
  }

  async readlink(path: Path): Promise<string> {
    const { operations } = this.#parts
    return await this.#at('readlink', path, 'before a slash', async found => {
      const { ino } = existing(found, S_IFLNK)
      return Buffer.from(await operations.readlink(ino)).toString()
    })
  }

  /** Sets the size; an extension reads as zeros and takes no space. */
  async truncate(path: Path, size: number | bigint = 0): Promise<void> {
    const dropsSetuid = this.#parts.caller.uid !== 0
    await this.#setattr('truncate', path, 'always', { size: BigInt(size), dropsSetuid })
  }

  async chmod(path: Path, mode: number): Promise<void> {
    await this.#setattr('chmod', path, 'always', { mode: mode & PERMISSIONS })
  }

  async chown(path: Path, uid: number, gid: number): Promise<void> {
    await this.#setattr('chown', path, 'always', { uid, gid })
  }

  async lchown(path: Path, uid: number, gid: number): Promise<void> {
    await this.#setattr('lchown', path, 'before a slash', { uid, gid })
  }

  async utimes(path: Path, atime: Time, mtime: Time): Promise<void> {
    await this.#setattr('utimes', path, 'always', {
      atimeNs: nanoseconds(atime),
      mtimeNs: nanoseconds(mtime),
    })
  }

  async lutimes(path: Path, atime: Time, mtime: Time): Promise<void> {
    await this.#setattr('lutimes', path, 'before a slash', {
      atimeNs: nanoseconds(atime),
      mtimeNs: nanoseconds(mtime),
    })
  }

  /** The value of an extended attribute, such as `user.comment`. @throws FileError ENODATA if the file does not have it. */
  async getXattr(path: Path, name: string): Promise<Buffer> {
    const { operations } = this.#parts
    return await this.#at('getxattr', path, 'always', async found =>
      Buffer.from(await operations.getxattr(existing(found).ino, storedName(name))),
    )
  }

  async setXattr(path: Path, name: string, value: string | Uint8Array): Promise<void> {
    const { operations, caller } = this.#parts
    await this.#at('setxattr', path, 'always', found =>
      operations.setxattr(existing(found).ino, storedName(name), Buffer.from(value), 0, caller),
    )
  }

  async removeXattr(path: Path, name: string): Promise<void> {
    const { operations, caller } = this.#parts
    await this.#at('removexattr', path, 'always', found =>
      operations.removexattr(existing(found).ino, storedName(name), caller),
    )
  }

  /** The names of the file's extended attributes. */
  async listXattrs(path: Path): Promise<readonly string[]> {
    const { operations, caller } = this.#parts
    return await this.#at('listxattr', path, 'always', async found => {
      const names = await operations.listxattr(existing(found).ino, () => caller.uid === 0)
      return names.map(textOfStored)
    })
  }

  /** Copies a file in this database. The copy shares all stored bytes, so it neither reads nor writes data. */
  async copyFile(from: Path, to: Path): Promise<void> {
    const { operations } = this.#parts
    await this.#opened(from, 'r', undefined, async source => {
      const { mode } = await source.stat()
      await this.#opened(to, 'w', mode, async target => {
        await this.#run('copyfile', from, async () => {
          const [input, output] = [source.handle, target.handle]
          for (let off = 0n; ;) {
            const copied = await operations.copyFileRange({ ...input, off }, { ...output, off }, COPY_BYTES)
            if (copied === 0n) return
            off += copied
          }
        })
      })
    })
  }

  /** A stream of the file's bytes. */
  createReadStream(path: Path, options: ReadStreamOptions = {}): Readable {
    const { encoding, signal } = options
    return Readable.from(this.#pieces(path, options), {
      objectMode: false,
      ...(encoding !== undefined && { encoding }),
      ...(signal !== undefined && { signal }),
    })
  }

  /** A stream whose bytes replace the file's, or are appended with the flag `a`. */
  createWriteStream(
    path: Path,
    {
      flags = 'w',
      mode,
      start,
    }: { readonly flags?: OpenMode; readonly mode?: number; readonly start?: number } = {},
  ): Writable {
    return writableTo(() => this.open(path, flags, mode), start)
  }

  async *#pieces(path: Path, range: ReadStreamOptions): AsyncGenerator<Buffer> {
    const file = await this.open(path)
    try {
      yield* file.pieces(range)
    } finally {
      await file.close()
    }
  }

  /** Runs `work` with an open file and closes it afterwards. */
  async #opened<T>(
    path: Path,
    flags: OpenMode,
    mode: number | undefined,
    work: (file: File) => Promise<T>,
  ): Promise<T> {
    const file = await this.open(path, flags, mode)
    try {
      return await work(file)
    } finally {
      await file.close()
    }
  }

  async #openFound(
    found: Found,
    flags: number,
    mode: number,
  ): Promise<{ readonly ino: Ino; readonly fh: Fh }> {
    const { operations, caller, umask } = this.#parts
    const { attributes, ending } = found
    if (ending === '' && (flags & O_CREAT) !== 0) throw new ErrnoError('EISDIR')
    if (attributes !== undefined) {
      existing(found)
      if ((flags & O_CREAT) !== 0 && (flags & O_EXCL) !== 0) throw new ErrnoError('EEXIST')
      if (isType(attributes, S_IFDIR)) throw new ErrnoError('EISDIR')
      if (!isType(attributes, S_IFREG)) throw new ErrnoError(isType(attributes, S_IFLNK) ? 'ELOOP' : 'ENXIO')
      const { fh } = await operations.open(attributes.ino, flags, caller, () => caller.uid === 0)
      return { ino: attributes.ino, fh }
    }
    if ((flags & O_CREAT) === 0) throw new ErrnoError('ENOENT')
    const { parent, name } = free(found, S_IFREG)
    const made = S_IFREG | (mode & ~umask & PERMISSIONS)
    const { entry, file } = await operations.create(parent, name, made, flags, caller)
    operations.forget(entry.attributes.ino, 1)
    return { ino: entry.attributes.ino, fh: file.fh }
  }

  /** Opens a file without a name, which is dropped with its handle unless it gets one. */
  async #openUnnamed(directory: Ino, mode: number): Promise<{ readonly ino: Ino; readonly fh: Fh }> {
    const { operations, caller, umask } = this.#parts
    if (operations.createUnnamed === undefined) throw new ErrnoError('EOPNOTSUPP')
    const { entry, file } = await operations.createUnnamed(
      directory,
      mode & ~umask & PERMISSIONS,
      O_RDWR,
      caller,
    )
    operations.forget(entry.attributes.ino, 1)
    return { ino: entry.attributes.ino, fh: file.fh }
  }

  /** Copies the permissions of a regular file. Those of other files, such as symbolic links, are not meant for their replacement. */
  async #copyPermissions(from: Attributes, to: Ino): Promise<void> {
    const { operations, caller } = this.#parts
    if (!isType(from, S_IFREG)) return
    const owner = caller.uid === 0 && { uid: from.uid, gid: from.gid }
    // New content must not run with the rights of the content that it replaces.
    await operations.setattr(to, { ...owner, mode: from.mode & PERMISSIONS & ~(S_ISUID | S_ISGID) }, caller)
  }

  async #setattr(
    syscall: string,
    path: Path,
    following: Following,
    changes: AttributeChanges,
  ): Promise<void> {
    const { operations, caller } = this.#parts
    await this.#at(syscall, path, following, found =>
      operations.setattr(existing(found).ino, changes, caller),
    )
  }

  /** Resolves a path and runs `work` with the result. */
  async #at<T>(
    syscall: string,
    path: Path,
    following: Following,
    work: (found: Found) => T | Promise<T>,
  ): Promise<T> {
    return await this.#run(syscall, path, () =>
      againIfStale(() => this.#walking(async walk => await work(await walk.find(path, following)))),
    )
  }

  async #walking<T>(work: (walk: Walk) => Promise<T>): Promise<T> {
    const { operations, caller, base } = this.#parts
    const walk = new Walk(operations, caller, await base())
    try {
      return await work(walk)
    } finally {
      walk.end()
    }
  }

  async #run<T>(syscall: string, path: Path, work: () => Promise<T>, dest?: Path): Promise<T> {
    try {
      return await this.#parts.guard(work)
    } catch (error) {
      throw asFileError(error, {
        syscall,
        path: textOf(path),
        ...(dest !== undefined && { dest: textOf(dest) }),
      })
    }
  }
}

function nanoseconds(time: Time): bigint {
  if (typeof time === 'bigint') return time
  const ms = typeof time === 'number' ? time * MS_PER_S : time.getTime()
  return BigInt(Math.floor(ms)) * NS_PER_MS + BigInt(Math.round((ms - Math.floor(ms)) * Number(NS_PER_MS)))
}

/** Walks a path again, as the kernel does, if another machine has replaced its target meanwhile. */
async function againIfStale<T>(walk: () => Promise<T>): Promise<T> {
  for (let walks = 1; ; walks++) {
    try {
      return await walk()
    } catch (error) {
      if (!(error instanceof ErrnoError) || error.code !== 'ESTALE' || walks === WALKS_MAX) throw error
    }
  }
}
