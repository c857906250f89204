/**
 * Makes files and directories of the present what they were at a moment, by the steps of core/history/restore-plan.ts. The caller
 * has opened a transaction, so nothing of it is visible in the history before all of it is.
 *
 * 1. What is to be moved goes to a directory of its own, those in depth first: two files may have exchanged their names.
 * 2. What was not there then is removed, those in depth first, also from directories that wait. A file, or a directory, in whose place
 *    another one was keeps its inode.
 * 3. What was there is created or moved back, directories before their content.
 * 4. Data and attributes are restored: data is shared with the moment (graft.ts), so the work is one row per record.
 * 5. Directories get the times that they had.
 */
import { randomBytes } from 'node:crypto'
import { StoreError } from '../../../store/errors.ts'
import type { Oid } from '../../../store/ids.ts'
import { MomentView, partsOf } from '../../history/moment-view.ts'
import { depthOf, movedPath } from '../../history/paths.ts'
import { insideOf, type RestoreStep } from '../../history/restore-plan.ts'
import { printablePath } from '../../printable.ts'
import { isDirectory, isRegular, typeOf, type Inode } from '../../tree/inode.ts'
import type { Context } from '../context.ts'
import { name as toName, type Caller } from '../operations.ts'
import { setTimes } from '../operations/attributes.ts'
import { mkdir } from '../operations/create.ts'
import { link } from '../operations/link.ts'
import { forget } from '../operations/lookup.ts'
import { rmdir, unlink } from '../operations/remove.ts'
import { rename } from '../operations/rename.ts'
import { copyAttributes, Graft } from './graft.ts'
import { enterCopy, replaceByCopy, type Place } from './placing.ts'

const PRIVATE_MODE = 0o700

const deepestFirst = (a: string, b: string): number => depthOf(b) - depthOf(a)

export class TreeRestore {
  readonly #context: Context
  readonly #then: MomentView
  readonly #caller: Caller
  /** Files that were created, by the inode that they had then: further names of the same file. */
  readonly #created = new Map<Oid, Oid>()
  /** Where what is moved waits. */
  #waiting: string | undefined

  readonly #isInside: (path: string) => boolean

  /** @param paths the paths that are restored. */
  constructor(context: Context, then: MomentView, paths: readonly string[], caller: Caller) {
    this.#context = context
    this.#then = then
    this.#isInside = insideOf(paths)
    this.#caller = caller
  }

  /** @throws ErrnoError, StoreError */
  async apply(steps: readonly RestoreStep[]): Promise<void> {
    const moves = steps.filter(({ kind }) => kind === 'move')
    const created = steps.filter(({ kind }) => kind === 'create')
    const removals = steps.filter(({ kind }) => kind === 'remove').map(({ path }) => path)
    const held = new Map<string, string>()
    for (const move of moves.toSorted((a, b) => deepestFirst(a.from ?? '', b.from ?? ''))) {
      const { from = '' } = move
      const path = `${await this.#waitingRoom()}/${held.size}`
      await this.#rename(from, path)
      held.set(from, path)
    }
    const replaced = replacedPaths(removals, created, held)
    for (const path of removals.toSorted(deepestFirst))
      if (!replaced.has(path)) await this.#remove(movedPath(path, held) ?? path)
    for (const step of [...created, ...moves].toSorted((a, b) => depthOf(a.path) - depthOf(b.path))) {
      const from = step.kind === 'move' ? held.get(step.from ?? '') : undefined
      if (from === undefined) await this.#create(step.path, step.isWhole ?? false)
      else await this.#rename(from, step.path)
    }
    for (const { path, kind, difference } of steps)
      if (kind === 'change' || (kind === 'move' && hasChanged(difference)))
        await this.#content(path, difference.ranges.length > 0 || difference.attributes.includes('size'))
    if (this.#waiting !== undefined) await this.#remove(this.#waiting)
    await this.#directoryTimes(steps)
  }

  async #waitingRoom(): Promise<string> {
    if (this.#waiting === undefined) {
      const path = `.zblkfs-restore-${randomBytes(8).toString('hex')}`
      await this.#mkdir(path, PRIVATE_MODE)
      this.#waiting = path
    }
    return this.#waiting
  }

  async #rename(from: string, to: string): Promise<void> {
    const [source, target] = [await this.#place(from), await this.#place(to)]
    const { live } = this.#context
    const [parent, newParent] = [live.inoOf(source.directory), live.inoOf(target.directory)]
    await rename(
      this.#context,
      { parent, name: toName(source.name) },
      { parent: newParent, name: toName(target.name) },
      { noReplace: true },
      this.#caller,
    )
  }

  async #remove(path: string): Promise<void> {
    const found = await this.#find(path)
    if (found === undefined) return
    const { directory, name } = await this.#place(path)
    const parent = this.#context.live.inoOf(directory)
    await (isDirectory(found) ? rmdir : unlink)(this.#context, parent, toName(name))
  }

  /** Creates what had the path; of a directory only itself unless `isWhole`. */
  async #create(path: string, isWhole: boolean): Promise<void> {
    const source = await this.#then.find(path)
    if (source === undefined) throw tooLong(path)
    const linked = isWhole ? undefined : await this.#linkable(source)
    const existing = await this.#find(path)
    await source.activate()
    if (existing !== undefined) {
      // Other data is not put into a file that has another name.
      const isPlace = isRegular(source) ? existing.nlink === 1 && linked === undefined : isDirectory(source)
      if (isPlace && typeOf(existing) === typeOf(source)) return await this.#content(path, true)
      await this.#remove(path)
    }
    if (linked !== undefined) return await this.#link(linked, path)
    if (isDirectory(source) && !isWhole) {
      await this.#mkdir(path, source.mode)
      return await this.#content(path, false)
    }
    const copy = await new Graft(this.#context, this.#then).copy(source)
    try {
      await enterCopy(this.#context, copy, await this.#place(path))
      this.#created.set(source.oid, copy.node.oid)
    } finally {
      this.#context.leave(copy.node)
    }
  }

  /** The oid of a file that has another name already, below the restored paths: a missing name of it is a link. */
  async #linkable({ oid, mode }: Inode): Promise<Oid | undefined> {
    if (isDirectory({ mode })) return undefined
    const created = this.#created.get(oid)
    if (created !== undefined) return created
    const view = await MomentView.of(this.#context.live.connection)
    const inode = await view.inode(oid)
    if (inode === undefined || inode.nlink === 0) return undefined
    const path = await view.pathOf(oid)
    return path !== undefined && this.#isInside(path.text) ? oid : undefined
  }

  async #link(oid: Oid, path: string): Promise<void> {
    const { directory, name } = await this.#place(path)
    const { live } = this.#context
    const entry = await link(this.#context, live.inoOf(oid), live.inoOf(directory), toName(name))
    forget(this.#context, entry.attributes.ino, 1)
  }

  async #mkdir(path: string, mode: number): Promise<void> {
    const { directory, name } = await this.#place(path)
    const parent = this.#context.live.inoOf(directory)
    const entry = await mkdir(this.#context, parent, toName(name), mode, this.#caller)
    forget(this.#context, entry.attributes.ino, 1)
  }

  /** Gives a path the attributes that it had, and the data. */
  async #content(path: string, withData: boolean): Promise<void> {
    const [source, target] = [await this.#then.find(path), await this.#find(path)]
    if (source === undefined || target === undefined) throw tooLong(path)
    await source.activate()
    if (withData && isRegular(source)) {
      const copy = await new Graft(this.#context, this.#then).copy(source)
      try {
        await replaceByCopy(this.#context, target.oid, copy)
      } finally {
        this.#context.leave(copy.node)
      }
    } else await this.#attributes(target.oid, source)
  }

  async #attributes(oid: Oid, source: Inode): Promise<void> {
    const context = this.#context
    await context.change(context.live.inoOf(oid), 0, async (node, inode) => {
      await source.activate()
      await inode.activate()
      copyAttributes(source, inode)
      setTimes(inode, context.nowNs(), 'ctime')
      context.changed(node)
    })
  }

  /** Entries that were made and removed have set the times of their directories. */
  async #directoryTimes(steps: readonly RestoreStep[]): Promise<void> {
    const paths = new Set<string>()
    for (const { kind, path, from } of steps) {
      if (kind !== 'change') for (const each of [path, from ?? path]) paths.add(parentOf(each))
      paths.add(path)
    }
    const { live } = this.#context
    for (const path of [...paths].toSorted(deepestFirst)) {
      const [source, target] = [await this.#then.find(path), await this.#find(path)]
      if (source === undefined || target === undefined) continue
      await source.activate()
      if (!isDirectory(source) || !isDirectory(target)) continue
      const times = (['atime', 'mtime'] as const).map(key => [key, source.time(key)] as const)
      await this.#context.change(live.inoOf(target.oid), 0, async (node, inode) => {
        await inode.activate()
        for (const [key, time] of times) setTimes(inode, time, key)
        this.#context.changed(node)
      })
    }
  }

  /** The inode of a path at present. */
  async #find(path: string): Promise<Inode | undefined> {
    return await (await MomentView.of(this.#context.live.connection)).find(path)
  }

  /** @throws StoreError without a parent directory */
  async #place(path: string): Promise<Place> {
    const parent = await this.#find(parentOf(path))
    const name = partsOf(path).at(-1)
    if (name === undefined || parent === undefined || !isDirectory(parent))
      throw new StoreError(`${printablePath(path)} has no parent directory: create it first`, {
        code: 'no-path',
      })
    return { directory: parent.oid, name }
  }
}

const parentOf = (path: string): string => partsOf(path).slice(0, -1).join('/')

/** The paths to be removed whose inodes stay for what had these paths then: their directories stay too. */
function replacedPaths(
  removals: readonly string[],
  created: readonly RestoreStep[],
  held: ReadonlyMap<string, string>,
): ReadonlySet<string> {
  const wanted = new Set(created.map(({ path }) => path))
  const removed = new Set(removals)
  const replaced = new Set<string>()
  for (const path of removals.toSorted((a, b) => deepestFirst(b, a))) {
    const above = parentOf(path)
    const stays = !removed.has(above) || replaced.has(above)
    if (wanted.has(path) && stays && movedPath(path, held) === undefined) replaced.add(path)
  }
  return replaced
}

const hasChanged = ({ attributes, ranges }: RestoreStep['difference']): boolean =>
  attributes.length > 0 || ranges.length > 0

const tooLong = (path: string): StoreError =>
  new StoreError(
    `${printablePath(path)} cannot be restored: its path is too long, or it has changed meanwhile`,
    { code: 'no-path' },
  )
