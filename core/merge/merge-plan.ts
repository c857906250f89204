/**
 * Plans a merge of a branch into its database, by comparing what each changed since they were last equal: the base of the branch, or the
 * last merge.
 *
 * A file of the branch is the file of the database with the same inode number if that is in the base, as inode numbers stay; otherwise the
 * one with its path at the last merge. So renames on either side do not matter. The changes of the branch are taken
 * in this order, as later ones depend on what earlier ones leave: removals, renames, new entries, changes of bytes and attributes.
 *
 * What the database changed too, in a way that the two cannot both stay, is a conflict, unless both made the same change. Conflicts
 * are left out; everything else is merged. The state that both come from is that of the branch at the last merge: the branch never
 * got what the database had changed by then.
 */
import type { Oid, Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { differences, type Difference } from '../history/difference.ts'
import type { ByteRange } from '../history/file-difference.ts'
import { inodeAt } from '../history/inode-difference.ts'
import { MomentView } from '../history/moment-view.ts'
import { depthOf } from '../history/paths.ts'
import { Directory } from '../tree/directory.ts'
import { isDirectory, isRegular, type Inode } from '../tree/inode.ts'
import { isSymlink, isSameContent, isSameInode, isSameRange } from './same-content.ts'
import type { MergeConflict, MergePlan, MergeStep } from './merge-step.ts'

export interface MergeSides {
  readonly main: Store
  readonly branch: Store
  /** The beginning of the branch. */
  readonly base: Tid
  /** When the two were last merged: a moment of each; the base if they never were. */
  readonly merged: { readonly main: Tid; readonly branch: Tid }
  /** The moments to be merged. */
  readonly now: { readonly main: Tid; readonly branch: Tid }
}

interface Views {
  readonly base: MomentView
  readonly mainBefore: MomentView
  readonly mainNow: MomentView
  readonly branchBefore: MomentView
  readonly branchNow: MomentView
}

/** A place that an entry gets. */
interface NewPlace {
  readonly parent: Oid
  readonly name: string
}

/** Names read together. */
const BATCH = 256

/** Attributes that are merged one by one. */
const OWNED = ['mode', 'uid', 'gid'] as const

/** @throws CannotOpenError, StoreError, CorruptRecordError */
export async function planMerge(sides: MergeSides): Promise<MergePlan> {
  const { main, branch, base, merged, now } = sides
  const views: Views = {
    base: await MomentView.open(branch, base),
    mainBefore: await MomentView.open(main, merged.main),
    mainNow: await MomentView.open(main, now.main),
    branchBefore: await MomentView.open(branch, merged.branch),
    branchNow: await MomentView.open(branch, now.branch),
  }
  const planner = new Planner(views)
  for await (const difference of differences(main, merged.main, now.main))
    await planner.addMainDifference(difference)
  const changes: Difference[] = []
  for await (const difference of differences(branch, merged.branch, now.branch)) changes.push(difference)
  return await planner.plan(changes)
}

class Planner {
  readonly #views: Views
  /** What the database changed, by inode. */
  readonly #ofMain = new Map<Oid, Difference[]>()
  readonly #steps: MergeStep[] = []
  readonly #conflicts: MergeConflict[] = []
  /** Paths of the database that are removed, or moved away. */
  readonly #left = new Set<string>()
  /** Inodes of the database that are moved, by where the branch has them. */
  readonly #moved = new Map<Oid, NewPlace>()
  /** Directories of the branch that the database made too. */
  readonly #known = new Map<Oid, Oid>()
  /** Where inodes of the branch are made. */
  readonly #created = new Map<Oid, string>()
  /** Renames of the branch that are not merged, and why, by path. */
  readonly #refused = new Map<string, string>()
  /** Directories of the branch that are new in the database. */
  readonly #newDirectories = new Set<Oid>()

  constructor(views: Views) {
    this.#views = views
  }

  async addMainDifference(difference: Difference): Promise<void> {
    const { mainBefore, mainNow } = this.#views
    const view = difference.kind === 'removed' ? mainBefore : mainNow
    const inode = await view.find(difference.path)
    if (inode === undefined) return
    this.#ofMain.set(inode.oid, [...(this.#ofMain.get(inode.oid) ?? []), difference])
  }

  async plan(changes: readonly Difference[]): Promise<MergePlan> {
    const of = (...kinds: Difference['kind'][]): Difference[] =>
      changes.filter(({ kind }) => kinds.includes(kind))
    const [removed, moved, added] = [
      of('removed').sort((a, b) => depthOf(b.path) - depthOf(a.path)),
      of('renamed').sort((a, b) => depthOf(a.path) - depthOf(b.path)),
      of('added').sort((a, b) => depthOf(a.path) - depthOf(b.path)),
    ]
    // What is renamed leaves its path to others, so a rename that cannot be merged changes what can be: planned again without it.
    for (let before = -1; before < this.#refused.size;) {
      before = this.#refused.size
      this.#begin()
      for (const change of moved) await this.#leave(change)
      for (const change of removed) await this.#remove(change)
      for (const change of added) await this.#meet(change)
      for (const change of moved) await this.#move(change)
    }
    for (const [path, reason] of this.#refused) this.#conflict(path, reason)
    for (const change of added) await this.#add(change)
    for (const change of of('renamed', 'changed')) await this.#change(change)
    return { steps: this.#steps, conflicts: this.#conflicts }
  }

  #begin(): void {
    this.#steps.length = 0
    this.#conflicts.length = 0
    this.#left.clear()
    this.#moved.clear()
    this.#known.clear()
    this.#newDirectories.clear()
  }

  /** Marks the path that a renamed entry leaves. */
  async #leave({ path, from = '' }: Difference): Promise<void> {
    if (this.#refused.has(path)) return
    const before = await this.#views.branchBefore.find(from)
    const oid = before && (await this.#mainOid(before.oid))
    const present = oid === undefined ? undefined : await this.#presentPath(from, oid)
    if (present !== undefined) this.#left.add(present)
  }

  async #remove({ path }: Difference): Promise<void> {
    const { branchBefore, mainNow } = this.#views
    const before = await branchBefore.find(path)
    const oid = before && (await this.#mainOid(before.oid))
    const inode = oid === undefined ? undefined : await inodeAt(mainNow, oid)
    const place = before && inode && (await this.#presentPath(path, inode.oid))
    // Both removed it.
    if (before === undefined || inode === undefined || place === undefined) return
    if (isDirectory(inode)) {
      for await (const name of namesIn(mainNow, inode))
        if (!this.#left.has(joined(place, name)))
          return this.#conflict(path, 'the branch removed this directory, in which the database has more')
    } else if (this.#ofMain.has(inode.oid) || (await this.#differs(before, inode)))
      return this.#conflict(path, 'the branch removed it, the database changed it')
    this.#left.add(place)
    this.#steps.push({ kind: 'remove', path: place, isDirectory: isDirectory(inode) })
  }

  async #move({ path, from = '' }: Difference): Promise<void> {
    if (this.#refused.has(path)) return
    const { branchBefore, branchNow } = this.#views
    const refuse = (reason: string): void => void this.#refused.set(path, reason)
    const [before, now] = [await branchBefore.find(from), await placeAt(branchNow, path)]
    const oid = before && (await this.#mainOid(before.oid))
    if (before === undefined || now === undefined) return refuse('its path is too long')
    const present = oid === undefined ? undefined : await this.#presentPath(from, oid)
    if (oid === undefined || present === undefined)
      return refuse('the branch renamed it, the database removed it')
    // A cycle of directories, which the two made together, has no path.
    this.#moved.set(oid, now)
    const target = await this.#target(now)
    if (target === undefined)
      refuse('the branch renamed it into a directory that the database removed, or moved into this one')
    else if (target !== present) {
      if (this.#ofMain.get(oid)?.some(({ kind }) => kind === 'renamed') === true)
        refuse(`both renamed it, the database to ${present}`)
      else if ((await this.#standing(now)) !== undefined)
        refuse('the database has something else with this name')
      else return void this.#steps.push({ kind: 'move', path: target, from: present })
    }
    this.#moved.delete(oid)
  }

  /** Finds out which new directories of the branch the database has too. */
  async #meet({ path, mode }: Difference): Promise<void> {
    if (!isDirectory({ mode })) return
    const { branchNow } = this.#views
    const [place, inode] = [await placeAt(branchNow, path), await branchNow.find(path)]
    if (place === undefined || inode === undefined) return
    if (!this.#newDirectories.has(place.parent) && (await this.#mainOid(place.parent)) === undefined) return
    const existing = await this.#standing(place)
    if (existing === undefined) this.#newDirectories.add(inode.oid)
    else if (isDirectory(existing)) this.#known.set(inode.oid, existing.oid)
  }

  async #add({ path }: Difference): Promise<void> {
    const { branchNow, branchBefore, mainNow } = this.#views
    const place = await placeAt(branchNow, path)
    const inode = place && (await branchNow.find(path))
    if (place === undefined || inode === undefined) return this.#conflict(path, 'its path is too long')
    const target = await this.#target(place)
    if (target === undefined) return this.#conflict(path, 'its directory was removed, or is in conflict')
    if (this.#known.has(inode.oid)) return
    const existing = await this.#standing(place)
    if (existing !== undefined) {
      if (await isSameInode(branchNow, inode, mainNow, existing)) return
      return this.#conflict(path, 'both made it, with different contents')
    }
    const known = (await inodeAt(branchBefore, inode.oid)) && (await this.#mainOid(inode.oid))
    const from = known === undefined ? this.#created.get(inode.oid) : await this.#finalPath(known)
    if (from !== undefined && !isDirectory(inode))
      return void this.#steps.push({ kind: 'link', path: target, from })
    if (!isDirectory(inode) && !isRegular(inode) && !isSymlink(inode))
      return this.#conflict(path, 'it is neither a file, a directory nor a symbolic link: make it by hand')
    if (inode.hasXattrs) this.#conflict(path, 'its extended attributes are not merged: set them by hand')
    this.#created.set(inode.oid, target)
    this.#steps.push({ kind: 'create', path: target, inode: inode.oid, isDirectory: isDirectory(inode) })
  }

  async #change({ path, ranges, attributes }: Difference): Promise<void> {
    const { branchNow, branchBefore, mainNow, mainBefore } = this.#views
    const inode = await branchNow.find(path)
    const before = inode && (await inodeAt(branchBefore, inode.oid))
    const wanted = attributes.filter(name => name !== 'mtime' || ranges.length > 0)
    if (inode === undefined || before === undefined || (ranges.length === 0 && wanted.length === 0)) return
    const oid = await this.#mainOid(inode.oid)
    const present = oid === undefined ? undefined : await inodeAt(mainNow, oid)
    const target = oid === undefined ? undefined : await this.#finalPath(oid)
    if (oid === undefined || present === undefined || target === undefined || present.nlink === 0)
      return this.#conflict(path, 'the branch changed it, the database removed it')
    if ((await inodeAt(mainBefore, oid)) === undefined)
      return this.#conflict(path, 'the two have different files there')
    const taken: string[] = ranges.length > 0 || wanted.includes('size') ? ['mtime'] : []
    for (const name of OWNED)
      if (wanted.includes(name) && present[name] !== inode[name]) {
        if (present[name] !== before[name]) this.#conflict(path, `both changed its ${name}`)
        else taken.push(name)
      }
    for (const name of ['target', 'rdev', 'xattrs'])
      if (wanted.includes(name)) this.#conflict(path, `the branch changed its ${name}: change it by hand`)
    const bytes = await this.#bytes({ inode, before, present }, ranges)
    if (bytes === undefined) this.#conflict(path, 'both changed the same bytes, or its size')
    else if (inode.size !== before.size && inode.size !== present.size) taken.push('size')
    const toWrite = bytes ?? []
    const owned = bytes === undefined ? taken.filter(name => name !== 'mtime' && name !== 'size') : taken
    if (toWrite.length === 0 && owned.every(name => name === 'mtime')) return
    this.#steps.push({ kind: 'change', path: target, inode: inode.oid, ranges: toWrite, attributes: owned })
  }

  /** The ranges to be written; undefined if they clash with those of the database. */
  async #bytes(
    { inode, before, present }: { readonly inode: Inode; readonly before: Inode; readonly present: Inode },
    ranges: readonly ByteRange[],
  ): Promise<readonly ByteRange[] | undefined> {
    const { branchNow, branchBefore, mainNow } = this.#views
    const isUnchanged = (range: ByteRange): Promise<boolean> =>
      isSameRange([branchBefore, before], [mainNow, present], range)
    if (!isRegular(inode)) return []
    if (await isSameContent(branchNow, inode, mainNow, present)) return []
    const [isResized, wasResized] = [inode.size !== before.size, present.size !== before.size]
    if (isResized && wasResized && inode.size !== present.size) return undefined
    // A side that cuts the file loses what the other one changed behind its end.
    const cut = { lo: inode.size, hi: before.size }
    if (cut.lo < cut.hi && !(await isUnchanged(cut))) return undefined
    if (wasResized && ranges.some(({ hi }) => hi > present.size && present.size < before.size))
      return undefined
    const toWrite: ByteRange[] = []
    for (const range of ranges) {
      // Both may have made the same change: by an earlier merge that had conflicts elsewhere, for example.
      if (await isSameRange([branchNow, inode], [mainNow, present], range)) continue
      if (!(await isUnchanged(range))) return undefined
      toWrite.push(range)
    }
    return toWrite
  }

  /** Whether the database has changed a file before the last merge, of which the branch knows nothing. */
  async #differs(before: Inode, present: Inode): Promise<boolean> {
    const { base, branchBefore, mainNow } = this.#views
    if (branchBefore.at === base.at || !(isRegular(before) || isSymlink(before))) return false
    if (OWNED.some(name => before[name] !== present[name])) return true
    return !(await isSameInode(branchBefore, before, mainNow, present))
  }

  /** The inode of the database that is the same as one of the branch; undefined if there is none. */
  async #mainOid(oid: Oid): Promise<Oid | undefined> {
    const { base, branchBefore, mainBefore } = this.#views
    const known = this.#known.get(oid)
    if (known !== undefined) return known
    if ((await inodeAt(base, oid)) !== undefined) return oid
    const place = await branchBefore.placeOf(oid)
    const parent = place && (await this.#mainOid(place.parent))
    return parent === undefined || place === undefined
      ? undefined
      : await mainBefore.child(parent, place.name)
  }

  /** The present path of an inode of the database that the branch had at a path, preferably under that name. */
  async #presentPath(path: string, oid: Oid): Promise<string | undefined> {
    const { branchBefore, mainNow } = this.#views
    const place = await placeAt(branchBefore, path)
    const parent = place && (await this.#mainOid(place.parent))
    if (place !== undefined && parent !== undefined && (await mainNow.child(parent, place.name)) === oid) {
      const directory = await mainNow.pathOf(parent)
      if (directory !== undefined) return joined(directory.text, place.name)
    }
    return (await mainNow.pathOf(oid))?.text
  }

  /** Where a place of the branch is in the database after the merge; undefined if its directory is not there. */
  async #target({ parent, name }: NewPlace, seen = new Set<Oid>()): Promise<string | undefined> {
    let directory: string | undefined
    if (this.#newDirectories.has(parent)) {
      const place = await this.#views.branchNow.placeOf(parent)
      directory = place && (await this.#target(place, seen))
    } else {
      const oid = await this.#mainOid(parent)
      directory = oid === undefined ? undefined : await this.#finalPath(oid, seen)
    }
    return directory === undefined ? undefined : joined(directory, name)
  }

  /** The path of an inode of the database after the merge; undefined if it is not there. `seen`: what leads to it. */
  async #finalPath(oid: Oid, seen = new Set<Oid>()): Promise<string | undefined> {
    const { mainNow } = this.#views
    if (oid === mainNow.rootOid) return ''
    if (seen.has(oid)) return undefined
    seen.add(oid)
    const moved = this.#moved.get(oid)
    if (moved !== undefined) return await this.#target(moved, seen)
    const place = await mainNow.placeOf(oid)
    const parent = place && (await this.#finalPath(place.parent, seen))
    if (place === undefined || parent === undefined) return undefined
    return joined(parent, place.name)
  }

  /** What the database has at a place of the branch, and keeps; undefined if there is nothing. */
  async #standing({ parent, name }: NewPlace): Promise<Inode | undefined> {
    const { mainNow } = this.#views
    const directory = this.#newDirectories.has(parent) ? undefined : await this.#mainOid(parent)
    const oid = directory === undefined ? undefined : await mainNow.child(directory, name)
    if (directory === undefined || oid === undefined) return undefined
    const path = await mainNow.pathOf(directory)
    return path === undefined || this.#left.has(joined(path.text, name))
      ? undefined
      : await inodeAt(mainNow, oid)
  }

  #conflict(path: string, reason: string): void {
    this.#conflicts.push({ path, reason })
  }
}

/** The directory and the name of a path; undefined if there is none, as of a shortened path. */
async function placeAt(view: MomentView, path: string): Promise<NewPlace | undefined> {
  const parts = path.split('/')
  const name = parts.pop()
  const parent = await view.find(parts.join('/'))
  return parent === undefined || name === undefined || name === '' ? undefined : { parent: parent.oid, name }
}

async function* namesIn({ connection }: MomentView, directory: Inode): AsyncGenerator<string> {
  for (let after: string | undefined; ;) {
    await directory.activate()
    const entries = await Directory.of(connection, directory).after(after, BATCH)
    if (entries.length === 0) return
    for (const { name } of entries) yield (after = name)
  }
}

const joined = (directory: string, name: string): string => (directory === '' ? name : `${directory}/${name}`)
