/**
 * Finds the differences at and below one path, with work proportional to the trees below it in the two moments, whatever
 * changed elsewhere:
 *
 * 1. all directories below the path in the later moment, the inodes below it that changed (their records' tids tell), and
 *    then its directories in the earlier moment. A directory that did not change has the subdirectories that it had.
 * 2. the name of the path itself, and the entries of the changed directories that differ. Where the other name of a renamed
 *    inode lies outside, the inode's own record of its name leads to it.
 * 3. of the changed inodes that both moments have, attributes and data.
 *
 * An inode with several names is found at those below the path; a name that it does not record is not searched elsewhere.
 */
import { Directory } from '../tree/directory.ts'
import { isDirectory, type Inode } from '../tree/inode.ts'
import { ROOT_PATH, type ShownPath } from '../tree/shown-path.ts'
import type { Oid } from '../../store/ids.ts'
import type { ChangeLookups } from './changed-objects.ts'
import { inodeAt, type Difference, type InodeComparison } from './inode-difference.ts'
import { type MomentView, partsOf } from './moment-view.ts'

/** Entries read at once. */
const BATCH = 128
/**
 * Entries below the path up to which the number of all changes does not matter. It is low because a feed requests each
 * transaction alone, which often changes one object.
 */
const SMALL = 128

interface Subdirectory {
  readonly name: string
  readonly oid: Oid
}

/** A directory below the path in one moment or both. */
interface Found {
  before: ShownPath | undefined
  after: ShownPath | undefined
  readonly hasChanged: boolean
  /** In the later moment if it was found there. */
  readonly subdirectories: readonly Subdirectory[]
}

export class PathComparison {
  readonly #top: string
  readonly #inode: InodeComparison
  readonly #lookups: ChangeLookups
  readonly #directories = new Map<Oid, Found>()
  /** Inodes below the path in the later moment that changed. */
  readonly #changed = new Map<Oid, string>()
  /** Paths that one moment has, by inode. */
  readonly #removed = new Map<Oid, string[]>()
  readonly #added = new Map<Oid, string[]>()
  #read = 0

  private constructor(top: string, inode: InodeComparison, lookups: ChangeLookups) {
    this.#top = top
    this.#inode = inode
    this.#lookups = lookups
  }

  /** Reads the trees below a path; resolves to undefined if they have more entries than all objects that changed. */
  static async below(
    top: string,
    inode: InodeComparison,
    lookups: ChangeLookups,
  ): Promise<PathComparison | undefined> {
    const comparison = new PathComparison(top, inode, lookups)
    const path = partsOf(top).reduce((path, name) => path.child(name), ROOT_PATH)
    const isWhole = (await comparison.#findAfter(path)) && (await comparison.#findBefore(path))
    return isWhole ? comparison : undefined
  }

  async *differences(): AsyncGenerator<Difference> {
    const { before, after } = this.#inode
    await this.#compareTop(before, after, this.#removed)
    await this.#compareTop(after, before, this.#added)
    for (const [oid, found] of this.#directories)
      if (found.hasChanged)
        for await (const name of this.#inode.names(oid)) {
          note(this.#removed, name.before, found.before?.child(name.name))
          note(this.#added, name.after, found.after?.child(name.name))
        }
    const renamed = new Set<Oid>()
    for (const [oid, { from, path }] of await this.#pairs()) {
      if (from !== undefined && path !== undefined) {
        renamed.add(oid)
        yield await this.#inode.content(oid, { kind: 'renamed', path, from })
      } else if (from !== undefined) yield await this.#inode.nameOnly('removed', oid, from)
      else if (path !== undefined) yield await this.#inode.nameOnly('added', oid, path)
    }
    for (const [oid, path] of this.#changed) {
      if (renamed.has(oid)) continue
      const [old, now] = [await inodeAt(before, oid), await inodeAt(after, oid)]
      if (old === undefined || now === undefined || old.nlink === 0 || now.nlink === 0) continue
      const difference = await this.#inode.content(oid, { kind: 'changed', path })
      if (difference.attributes.length > 0 || difference.ranges.length > 0) yield difference
    }
  }

  /** Finds the directories and the changed inodes below the path in the later moment; resolves to false if there are too many. */
  async #findAfter(top: ShownPath): Promise<boolean> {
    const view = this.#inode.after
    const inode = await view.find(this.#top)
    if (inode === undefined) return true
    const isOld = (inode: Inode): boolean => inode.object.tid <= this.#inode.before.at
    if (!isOld(inode)) this.#changed.set(inode.oid, top.text)
    const waiting = isDirectory(inode) ? [{ oid: inode.oid, path: top }] : []
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { oid, path } = next
      if (this.#directories.has(oid)) continue
      const directory = await view.inode(oid)
      const subdirectories: Subdirectory[] = []
      const hasChanged = directory !== undefined && !isOld(directory)
      this.#directories.set(oid, { before: undefined, after: path, hasChanged, subdirectories })
      for await (const children of this.#childrenOf(view, oid)) {
        if (await this.#isTooMuch(children.length)) return false
        const names = new Map(children.map(child => [child.oid, child.name]))
        for (const child of await view.inodes([...names.keys()])) {
          const name = names.get(child.oid) ?? ''
          if (!isOld(child)) this.#changed.set(child.oid, path.child(name).text)
          if (!isDirectory(child)) continue
          subdirectories.push({ name, oid: child.oid })
          waiting.push({ oid: child.oid, path: path.child(name) })
        }
      }
    }
    return true
  }

  /** Finds the directories below the path in the earlier moment, after those in the later. */
  async #findBefore(top: ShownPath): Promise<boolean> {
    const view = this.#inode.before
    const inode = await view.find(this.#top)
    const waiting = inode !== undefined && isDirectory(inode) ? [{ oid: inode.oid, path: top }] : []
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { oid, path } = next
      const known = this.#directories.get(oid)
      if (known?.before !== undefined) continue
      let subdirectories = known?.hasChanged === false ? known.subdirectories : undefined
      if (subdirectories === undefined) {
        const found: Subdirectory[] = []
        for await (const children of this.#childrenOf(view, oid)) {
          if (await this.#isTooMuch(children.length)) return false
          const names = new Map(children.map(child => [child.oid, child.name]))
          for (const child of await view.inodes([...names.keys()]))
            if (isDirectory(child)) found.push({ name: names.get(child.oid) ?? '', oid: child.oid })
        }
        subdirectories = found
      }
      if (known !== undefined) known.before = path
      else {
        const hasChanged = (await this.#inode.changes.among([oid])).has(oid)
        this.#directories.set(oid, { before: path, after: undefined, hasChanged, subdirectories })
      }
      for (const { name, oid } of subdirectories) waiting.push({ oid, path: path.child(name) })
    }
    return true
  }

  async *#childrenOf(view: MomentView, oid: Oid): AsyncGenerator<readonly Subdirectory[]> {
    for (let after: string | undefined; ;) {
      const directory = await view.inode(oid)
      if (directory === undefined || !isDirectory(directory)) return
      const entries = await Directory.of(view.connection, directory).after(after, BATCH)
      if (entries.length === 0) return
      yield entries
      after = entries.at(-1)?.name
    }
  }

  /** Counts entries read; resolves to whether it would have been less work to look at all that changed. */
  async #isTooMuch(entries: number): Promise<boolean> {
    this.#read += entries
    return this.#read > SMALL && this.#read > (await this.#lookups.scanned()).size
  }

  /** Notes the path itself as a name that `view` has if the same directory has another inode by that name in `other`. */
  async #compareTop(view: MomentView, other: MomentView, names: Map<Oid, string[]>): Promise<void> {
    const parts = partsOf(this.#top)
    const parent = await view.find(parts.slice(0, -1).join('/'))
    const name = parts.at(-1)
    if (parent === undefined || name === undefined) return
    const oid = await view.child(parent.oid, name)
    if (oid === undefined || (await other.child(parent.oid, name)) === oid) return
    names.set(oid, [this.#top, ...(names.get(oid) ?? [])])
  }

  /** The removed and added paths, those of the same inode together. */
  async #pairs(): Promise<[Oid, { from: string | undefined; path: string | undefined }][]> {
    const { before, after } = this.#inode
    const pairs: [Oid, { from: string | undefined; path: string | undefined }][] = []
    for (const oid of new Set([...this.#removed.keys(), ...this.#added.keys()])) {
      const removed = this.#removed.get(oid) ?? []
      const added = this.#added.get(oid) ?? []
      if (removed.length > added.length) added.push(...(await this.#placeOutside(after, before, oid)))
      else if (added.length > removed.length) removed.push(...(await this.#placeOutside(before, after, oid)))
      for (let i = 0; i < Math.max(removed.length, added.length); i++)
        pairs.push([oid, { from: removed[i], path: added[i] }])
    }
    return pairs
  }

  /** The path outside that an inode records as its name in `view`, if it was not there in the other moment. */
  async #placeOutside(view: MomentView, other: MomentView, oid: Oid): Promise<readonly string[]> {
    const place = await view.recordedPlaceOf(oid)
    if (place === undefined || (await other.child(place.parent, place.name)) === oid) return []
    const path = (await view.pathOf(place.parent))?.child(place.name).text
    return path === undefined || path === this.#top || path.startsWith(`${this.#top}/`) ? [] : [path]
  }
}

function note(names: Map<Oid, string[]>, oid: Oid | undefined, path: ShownPath | undefined): void {
  if (oid === undefined || path === undefined) return
  const paths = names.get(oid)
  if (paths === undefined) names.set(oid, [path.text])
  else paths.push(path.text)
}
