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
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { ScratchList, ScratchMap } from '../../store/scratch-list.ts'
import type { Store } from '../../store/store.ts'
import { differences, type Difference } from '../history/difference.ts'
import type { ByteRange } from '../history/file-difference.ts'
import { inodeAt } from '../history/inode-difference.ts'
import { MomentView } from '../history/moment-view.ts'
import { depthOf } from '../history/paths.ts'
import { isDirectory, isRegular, type Inode } from '../tree/inode.ts'
import {
  attributesToMake,
  differingXattrs,
  mergeAttributes,
  mixesPrivileges,
  OWNED,
  takesMtime,
  type FileStates,
} from './merge-attributes.ts'
import { joined, namesIn, placeAt, type NewPlace } from './entries.ts'
import { isSymlink, isSameContent, isSameInode, isSameRange } from './same-content.ts'
import { MergePlan, type MergeConflict } from './merge-step.ts'

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
  const changes = new ScratchList<Difference>()
  try {
    for await (const difference of differences(main, merged.main, now.main))
      await planner.addMainDifference(difference)
    for await (const difference of differences(branch, merged.branch, now.branch))
      changes.add(difference, difference.kind, depthOf(difference.path))
    return await planner.plan(changes)
  } finally {
    changes.close()
    planner.close()
  }
}

class Planner {
  readonly #views: Views
  /** The inodes that the database changed. */
  readonly #ofMain = new PagedBitmap()
  readonly #plan = new MergePlan()
  /** Paths of the database that are removed, or moved away. */
  readonly #left = new ScratchMap<string, true>()
  /** Inodes of the database that are moved, by where the branch has them. */
  readonly #moved = new ScratchMap<Oid, NewPlace>()
  /** Directories of the branch that the database made too. */
  readonly #known = new ScratchMap<Oid, Oid>()
  /** Where inodes of the branch are made. */
  readonly #created = new ScratchMap<Oid, string>()
  /** Renames of the branch that are not merged, by path. */
  readonly #refused = new ScratchMap<string, true>()
  readonly #refusals = new ScratchList<MergeConflict>()
  /** Directories of the branch that are new in the database. */
  readonly #newDirectories = new ScratchMap<Oid, true>()

  constructor(views: Views) {
    this.#views = views
  }

  async addMainDifference(difference: Difference): Promise<void> {
    const { mainBefore, mainNow } = this.#views
    const view = difference.kind === 'removed' ? mainBefore : mainNow
    const inode = await view.find(difference.path)
    if (inode !== undefined) this.#ofMain.add(inode.oid)
  }

  /** Resolves to the plan, which the caller closes. */
  async plan(changes: ScratchList<Difference>): Promise<MergePlan> {
    try {
      // What is renamed leaves its path to others, so a rename that cannot be merged changes what can be: planned again without it.
      for (let before = -1; before < this.#refusals.length;) {
        before = this.#refusals.length
        this.#begin()
        for (const change of changes.ascending('renamed')) await this.#leave(change)
        for (const change of changes.descending('removed')) await this.#remove(change)
        for (const change of changes.ascending('added')) await this.#meet(change)
        for (const change of changes.ascending('renamed')) await this.#move(change)
      }
      for (const { path, reason } of this.#refusals) this.#conflict(path, reason)
      for (const change of changes.ascending('added')) await this.#add(change)
      for (const kind of ['renamed', 'changed'])
        for (const change of changes.ascending(kind)) await this.#change(change)
      return this.#plan
    } catch (error) {
      this.#plan.close()
      throw error
    }
  }

  close(): void {
    for (const each of [this.#ofMain, this.#left, this.#moved, this.#known, this.#created]) each.close()
    for (const each of [this.#refused, this.#refusals, this.#newDirectories]) each.close()
  }

  #begin(): void {
    this.#plan.clear()
    for (const each of [this.#left, this.#moved, this.#known, this.#newDirectories]) each.clear()
  }

  /** Marks the path that a renamed entry leaves. */
  async #leave({ path, from = '' }: Difference): Promise<void> {
    if (this.#refused.has(path)) return
    const before = await this.#views.branchBefore.find(from)
    const oid = before && (await this.#mainOid(before.oid))
    const present = oid === undefined ? undefined : await this.#presentPath(from, oid)
    if (present !== undefined) this.#left.set(present, true)
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
    if (!(await this.#isWhereItWas(path, inode.oid)))
      return this.#conflict(path, `the branch removed it, the database renamed it to ${place}`)
    this.#left.set(place, true)
    this.#plan.addStep({ kind: 'remove', path: place, isDirectory: isDirectory(inode) })
  }

  async #move({ path, from = '' }: Difference): Promise<void> {
    if (this.#refused.has(path)) return
    const { branchBefore, branchNow } = this.#views
    const refuse = (reason: string): void => {
      this.#refused.set(path, true)
      this.#refusals.add({ path, reason })
    }
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
      if (!(await this.#isWhereItWas(from, oid))) refuse(`both renamed it, the database to ${present}`)
      else if ((await this.#standing(now)) !== undefined)
        refuse('the database has something else with this name')
      else return this.#plan.addStep({ kind: 'move', path: target, from: present })
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
    if (existing === undefined) this.#newDirectories.set(inode.oid, true)
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
      return this.#plan.addStep({ kind: 'link', path: target, from })
    if (!isDirectory(inode) && !isRegular(inode) && !isSymlink(inode))
      return this.#conflict(path, 'it is neither a file, a directory nor a symbolic link: make it by hand')
    const { xattrs, conflicts } = await attributesToMake(inode)
    for (const reason of conflicts) this.#conflict(path, reason)
    this.#created.set(inode.oid, target)
    const made = { path: target, inode: inode.oid, isDirectory: isDirectory(inode), xattrs }
    this.#plan.addStep({ kind: 'create', ...made })
  }

  async #change({ path, ranges, attributes }: Difference): Promise<void> {
    const { branchNow, branchBefore, mainNow, mainBefore } = this.#views
    const inode = await branchNow.find(path)
    const before = inode && (await inodeAt(branchBefore, inode.oid))
    if (inode === undefined || before === undefined || (ranges.length === 0 && attributes.length === 0))
      return
    const oid = await this.#mainOid(inode.oid)
    const present = oid === undefined ? undefined : await inodeAt(mainNow, oid)
    const target = oid === undefined ? undefined : await this.#finalPath(oid)
    if (oid === undefined || present === undefined || target === undefined || present.nlink === 0)
      return this.#conflict(path, 'the branch changed it, the database removed it')
    if ((await inodeAt(mainBefore, oid)) === undefined)
      return this.#conflict(path, 'the two have different files there')
    const states = { inode, before, present }
    const { taken, xattrs, conflicts } = await mergeAttributes(states, attributes)
    for (const reason of conflicts) this.#conflict(path, reason)
    const bytes = await this.#bytes(states, ranges)
    if (bytes === undefined) this.#conflict(path, 'both changed the same bytes, or its size')
    const isResized = bytes !== undefined && inode.size !== before.size && inode.size !== present.size
    const isWritten = isResized || (bytes !== undefined && bytes.length > 0)
    const hasOtherBytes = async (): Promise<boolean> =>
      !(await isSameContent(branchBefore, before, mainNow, present))
    if (await mixesPrivileges(states, { taken, xattrs }, isWritten, hasOtherBytes))
      return this.#conflict(path, 'both changed it, and it is setuid, setgid or has capabilities')
    const owned = [...taken, ...(isResized ? ['size'] : [])]
    if (attributes.includes('mtime') && bytes !== undefined && (await takesMtime(states, isWritten)))
      owned.push('mtime')
    if (!isWritten && owned.length === 0 && xattrs.length === 0) return
    const change = { ranges: bytes ?? [], attributes: owned, xattrs }
    this.#plan.addStep({ kind: 'change', path: target, inode: inode.oid, ...change })
  }

  /** The ranges to be written; undefined if they clash with those of the database. */
  async #bytes(
    { inode, before, present }: FileStates,
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
    if (OWNED.some(name => before[name] !== present[name]) || differingXattrs(before, present).length > 0)
      return true
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

  /** Whether the database has an inode still where the branch had it at the last merge. */
  async #isWhereItWas(path: string, oid: Oid): Promise<boolean> {
    const { branchBefore, mainNow } = this.#views
    const place = await placeAt(branchBefore, path)
    const parent = place && (await this.#mainOid(place.parent))
    return place !== undefined && parent !== undefined && (await mainNow.child(parent, place.name)) === oid
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
    this.#plan.addConflict({ path, reason })
  }
}
