/**
 * The operations of a mount that writes beside others (sharing.ts): those that change something take the lease first; open and opendir
 * first move to a moment that has everything done before on other mounts (close-to-open), unless the mount shows its own moment.
 *
 * The kernel acts on names and attributes that it has cached, which another mount may have changed meanwhile:
 *
 * | the kernel                                    | the operation                                                          |
 * |-----------------------------------------------|------------------------------------------------------------------------|
 * | opens an inode by a name that it had before   | ESTALE if the name leads elsewhere now: the kernel looks the path up again (retried-walks.ts) |
 * | knows that a name does not exist              | it is never told so; the lookup of an absent name moves first          |
 * | appends at the end that it knows              | the data goes to the end; such handles bypass the kernel's pages       |
 * | keeps pages and attributes at open            | those of a changed inode are dropped before open returns               |
 */
import { constants } from 'node:fs'
import type { Logger } from 'pino'
import type { FileLocking } from '../../../store/file-locking.ts'
import type { Tid } from '../../../store/ids.ts'
import { Directory } from '../../tree/directory.ts'
import { isDirectory } from '../../tree/inode.ts'
import { besideKernel } from '../beside-kernel.ts'
import type { Context } from '../context.ts'
import { ErrnoError, NAME_ABSENT } from '../errno.ts'
import { READING } from '../following.ts'
import { isPresent, type Node } from '../inodes/tree.ts'
import { mayFillHoles } from '../operations/attributes.ts'
import type { Caller, Entry, Ino, Name, OpenFile, Operations } from '../operations.ts'
import { overridden } from '../../overridden.ts'
import type { HistoryOperations } from '../served-file-system.ts'
import type { SharedLocks } from './locks.ts'
import { RetriedWalks } from './retried-walks.ts'
import type { Sharing } from './sharing.ts'

const { O_TRUNC, O_APPEND } = constants

/** As {@link NAME_ABSENT}, but not to be cached. */
const ABSENT_NOW = new ErrnoError('ENOENT', 'there is no such name now')

/** The operations that change something and need no more than the lease. */
const CHANGING = [
  'symlink',
  'mknod',
  'mkdir',
  'setattr',
  'setxattr',
  'removexattr',
  'createUnnamed',
  'write',
  'append',
  'allocate',
] as const satisfies readonly (keyof Operations)[]

/** Within this time after a move, the kernel may open an inode by a name that it has followed before. */
const WALK_MS = 1000

type Method = (...parameters: unknown[]) => unknown
/** A change of an inode. */
type ChangeOf = (ino: Ino, ...parameters: unknown[]) => unknown

export interface SharingOptions {
  readonly log: Logger
  /** Whether open shows everything that was done before on other mounts. */
  readonly isFresh: boolean
  /** For locks of files among all mounts; undefined: they are kept among the programs of this machine. */
  readonly locking: FileLocking | undefined
}

export interface SharedParts<T extends Operations> {
  readonly fileSystem: T & {
    readonly history?: HistoryOperations | undefined
    sync(message?: string): Promise<unknown>
  }
  readonly context: Context
  readonly sharing: Sharing
  /** Undefined: locks of files are kept by the kernel, among the programs of this machine. */
  readonly locks: SharedLocks | undefined
  /** Whether open and lookups see everything that was done before on other mounts. */
  readonly isFresh: boolean
}

export function sharedOperations<T extends Operations>(parts: SharedParts<T>): T {
  return new SharedOperations(parts).serve()
}

class SharedOperations<T extends Operations> {
  readonly #parts: SharedParts<T>
  /** The inodes whose names were found to lead to them, since the last move. */
  #verified = new WeakSet<Node>()
  #verifiedAtMove = 0
  #movedAtMs = -Infinity
  readonly #retriedWalks = new RetriedWalks()

  constructor(parts: SharedParts<T>) {
    this.#parts = parts
  }

  serve(): T {
    const { fileSystem, sharing, context } = this.#parts
    const replaced: Record<string, unknown> = {}
    for (const name of READING) replaced[name] = this.#wrap(name, work => sharing.read(work))
    for (const name of CHANGING) replaced[name] = this.#changing(name)
    Object.assign(replaced, this.#names(), this.#files(), this.#collecting())
    replaced['locks'] = this.#parts.locks
    const { history } = fileSystem
    if (history !== undefined) replaced['history'] = this.#history(history)
    const { dropped } = sharing
    replaced['sync'] = (message?: string) =>
      dropped.sync(() =>
        message === undefined ? fileSystem.sync() : this.#collected(() => fileSystem.sync(message)),
      )
    const served = overridden<Operations, T>(fileSystem, replaced)
    replaced['besideKernel'] = besideKernel(served, context.caches)
    return served
  }

  #wrap(name: keyof Operations, run: (work: () => unknown) => Promise<unknown>): Method {
    const { fileSystem } = this.#parts
    const method = Reflect.get<Operations, keyof Operations>(fileSystem, name) as Method
    return (...parameters) => run(() => method.apply(fileSystem, parameters))
  }

  /** A change, whose first parameter is an inode. */
  #changing(name: (typeof CHANGING)[number]): ChangeOf {
    const { fileSystem, sharing, locks } = this.#parts
    const method = Reflect.get<Operations, keyof Operations>(fileSystem, name) as ChangeOf
    return (ino, ...parameters) =>
      sharing.change(() => {
        locks?.assertKept(ino)
        return method.call(fileSystem, ino, ...parameters)
      })
  }

  /** Operations on names. */
  #names(): Partial<Operations> {
    const { fileSystem } = this.#parts
    return {
      lookup: async (parent, name, caller) => {
        try {
          const entry = await this.#lookup(parent, name, caller)
          this.#retriedWalks.found(caller.pid, entry.attributes.ino)
          return entry
        } catch (error) {
          this.#retriedWalks.found(caller.pid, undefined)
          throw error
        }
      },
      link: (ino, parent, name, caller, replaces) =>
        this.#naming([[parent, name]], () => fileSystem.link(ino, parent, name, caller, replaces)),
      unlink: (parent, name, caller) =>
        this.#naming([[parent, name]], () => fileSystem.unlink(parent, name, caller)),
      rmdir: (parent, name, caller) =>
        this.#naming([[parent, name]], () => fileSystem.rmdir(parent, name, caller)),
      rename: (parent, name, newParent, newName, flags, caller) => {
        const names: readonly (readonly [Ino, Name])[] = [
          [parent, name],
          [newParent, newName],
          ...(flags.aside === undefined ? [] : [[newParent, flags.aside] as const]),
        ]
        return this.#naming(names, () => fileSystem.rename(parent, name, newParent, newName, flags, caller))
      },
    }
  }

  async #lookup(parent: Ino, name: Name, caller: Caller): Promise<Entry> {
    const { fileSystem, sharing, isFresh } = this.#parts
    const find = (): ReturnType<Operations['lookup']> =>
      sharing.read(() => fileSystem.lookup(parent, name, caller))
    if (!isFresh || !isPresent(parent)) return await find()
    try {
      return await find()
    } catch (error) {
      if (error !== NAME_ABSENT) throw error
    }
    try {
      await sharing.settle()
      return await find()
    } catch (error) {
      throw error === NAME_ABSENT ? ABSENT_NOW : error
    }
  }

  /** A change of names. If the mount has moved for it, the kernel may keep another inode under a name than the one that has it now. */
  async #naming<R>(names: readonly (readonly [Ino, Name])[], work: () => Promise<R>): Promise<R> {
    const { sharing, context } = this.#parts
    const { moves } = sharing
    const result = await sharing.change(work)
    if (sharing.moves !== moves)
      for (const [parent, name] of names) context.caches.invalidateChangedName(parent, name)
    return result
  }

  /** Opening and closing. */
  #files(): Partial<Operations> {
    const { fileSystem, sharing, isFresh } = this.#parts
    return {
      open: async (ino, flags, caller, keeps) => {
        const isRetried = this.#retriedWalks.end(caller.pid, ino)
        const open = async (): Promise<OpenFile> => {
          if (isRetried !== true) await this.#assertNamed(ino, caller, isRetried === undefined)
          return await fileSystem.open(ino, flags, caller, keeps)
        }
        if (!isPresent(ino)) return await sharing.read(() => fileSystem.open(ino, flags, caller, keeps))
        if (flags & O_TRUNC) return await this.#opened(ino, flags, await sharing.change(open))
        if (isFresh) await sharing.settle()
        return await this.#opened(ino, flags, await sharing.read(open))
      },
      create: async (parent, name, mode, flags, caller, keeps) => {
        const made = await sharing.change(() => fileSystem.create(parent, name, mode, flags, caller, keeps))
        return { ...made, file: await this.#opened(made.entry.attributes.ino, flags, made.file) }
      },
      opendir: async (ino, flags, caller) => {
        if (!isPresent(ino)) return await sharing.read(() => fileSystem.opendir(ino, flags, caller))
        const isRetried = this.#retriedWalks.end(caller.pid, ino)
        if (isFresh) await sharing.settle()
        const fh = await sharing.read(async () => {
          if (isRetried !== true) await this.#assertNamed(ino, caller, isRetried === undefined)
          return await fileSystem.opendir(ino, flags, caller)
        })
        await this.#refresh(ino)
        return fh
      },
      fsync: (ino, fh, dataOnly) =>
        sharing.dropped.fsync(() => fileSystem.fsync(ino, fh, dataOnly), isPresent(ino) ? fh : undefined),
      fsyncdir: (ino, fh) =>
        sharing.dropped.fsync(() => fileSystem.fsyncdir(ino, fh), isPresent(ino) ? fh : undefined),
      release: async (ino, fh) => await sharing.read(() => fileSystem.release(ino, fh)),
      releasedir: async (ino, fh) => await sharing.read(() => fileSystem.releasedir(ino, fh)),
    }
  }

  /** Operations that have the kernel write back mapped pages. */
  #collecting(): Partial<Operations> {
    const { fileSystem, sharing, context } = this.#parts
    return {
      getattr: async (ino, fh) => {
        const node = isPresent(ino) ? context.live.knownOf(ino) : undefined
        if (node !== undefined && node.mappableHandles > 0) {
          const isSparse = await sharing.read(() => context.look(ino, () => mayFillHoles(node)))
          if (isSparse) await context.mappedPages.collectFor(node, 'stat')
        }
        return await sharing.read(() => this.#withoutPages(async () => await fileSystem.getattr(ino, fh)))
      },
      seek: async (ino, fh, off, whence) => {
        await context.mappedPages.collect()
        return await sharing.read(() => this.#withoutPages(() => fileSystem.seek(ino, fh, off, whence)))
      },
      copyFileRange: (from, to, len, keeps) =>
        this.#collected(() => fileSystem.copyFileRange(from, to, len, keeps)),
    }
  }

  /** A change that reads what the kernel has not written back yet. */
  async #collected<R>(work: () => Promise<R>): Promise<R> {
    const { sharing, context } = this.#parts
    await context.mappedPages.collect()
    return await sharing.change(() => this.#withoutPages(work))
  }

  /** Inside the turnstile no pages are collected: their writes may have to wait for the lease. */
  async #withoutPages<R>(work: () => Promise<R>): Promise<R> {
    const { mappedPages } = this.#parts.context
    mappedPages.suspend()
    try {
      return await work()
    } finally {
      mappedPages.resume()
    }
  }

  #history(history: HistoryOperations): HistoryOperations {
    const { sharing } = this.#parts
    return {
      tag: (...parameters) => this.#collected(() => history.tag(...parameters)),
      untag: (...parameters) => this.#collected(() => history.untag(...parameters)),
      undo: (...parameters) => this.#collected(() => history.undo(...parameters)),
      restore: (...parameters) => this.#collected(() => history.restore(...parameters)),
      restoreAs: (...parameters) => this.#collected(() => history.restoreAs(...parameters)),
      clone: (...parameters) => this.#collected(() => history.clone(...parameters)),
      begin: async () => {
        await this.#parts.context.mappedPages.collect()
        await sharing.beginTransaction(
          () => this.#withoutPages(() => history.begin()),
          () => history.rollBack(),
        )
      },
      commit: async message => {
        await this.#parts.context.mappedPages.collect()
        let isEnding = false
        const end = async (): Promise<Tid> => {
          isEnding = true
          return await this.#withoutPages(() => history.commit(message))
        }
        try {
          return await sharing.endTransaction(end)
        } catch (error) {
          // Later, the transaction that is open may be another one.
          if (!isEnding) await sharing.rollBackTransaction(() => history.rollBack())
          throw error
        }
      },
      rollBack: () => sharing.rollBackTransaction(() => history.rollBack()),
    }
  }

  /**
   * @param isFirst whether the kernel repeats the walk if this fails.
   * @throws ErrnoError ESTALE if the name by which the kernel knows an inode leads elsewhere now.
   */
  async #assertNamed(ino: Ino, { pid }: Caller, isFirst: boolean): Promise<void> {
    const { sharing, context } = this.#parts
    if (sharing.moves !== this.#verifiedAtMove) {
      this.#verified = new WeakSet()
      this.#verifiedAtMove = sharing.moves
      this.#movedAtMs = performance.now()
    }
    if (sharing.moves === 0) return
    await context.look(ino, async node => {
      if (this.#verified.has(node)) return
      // Of several names, only the one that was looked up last is known.
      const isSure = !node.hadSeveralNames || performance.now() - this.#movedAtMs > WALK_MS
      if (isSure && (await isNamed(node))) {
        this.#verified.add(node)
        return
      }
      // Otherwise the program sees the error, and its next open is another one.
      if (isFirst) this.#retriedWalks.begin(pid, ino)
      throw new ErrnoError('ESTALE', 'its name leads elsewhere')
    })
  }

  /**
   * Handles for appends bypass the kernel's pages, because the kernel may have an old end. So do those of a file that another mount changed a
   * moment ago: the kernel rejects the attributes that it requests while it is told to drop them, and then cuts reads at the last size that it
   * had, or at the end of an append of its own that was stored elsewhere.
   */
  async #opened(ino: Ino, flags: number, file: OpenFile): Promise<OpenFile> {
    const isStale = await this.#refresh(ino)
    if (flags & O_APPEND || this.#mayCutReads(ino)) return { ...file, pages: 'bypass' }
    return isStale ? { ...file, pages: 'drop' } : file
  }

  /** Not on earlier versions of Linux (before 6.6), which cannot map a handle that bypasses pages. */
  #mayCutReads(ino: Ino): boolean {
    const { sharing, context } = this.#parts
    const node = context.live.knownOf(ino)
    return node !== undefined && context.caches.areNamesInvalidated && sharing.moved.hasJustChanged(node)
  }

  /** Has the kernel drop the attributes of an inode that a move has changed. @returns whether one has. */
  async #refresh(ino: Ino): Promise<boolean> {
    const { sharing, context } = this.#parts
    const node = context.live.knownOf(ino)
    if (node === undefined || !sharing.moved.isStale(node)) return false
    await context.caches.invalidateAttributes(node)
    return true
  }
}

/** Whether the name of an inode, and those of the directories above, still lead to it. */
async function isNamed(node: Node): Promise<boolean> {
  const { tree } = node
  for (let at = node; at.oid !== tree.rootOid && at.name !== undefined;) {
    const { parent, name } = at.name
    const directory = tree.node(parent)
    directory.users++
    try {
      await directory.inode.activate()
      const found = isDirectory(directory.inode)
        ? await Directory.of(tree.connection, directory.inode).get(name)
        : undefined
      if (found !== at.oid) return false
    } finally {
      directory.users--
      if (directory !== tree.root) tree.dropUnused(directory)
    }
    at = directory
  }
  return true
}
