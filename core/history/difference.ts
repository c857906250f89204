/**
 * Finds the differences between two moments. Those at and below a path are found from the trees below it
 * (path-difference.ts) unless these are larger than all that changed; otherwise with work proportional to the changes in
 * between:
 *
 * 1. the objects they changed; the inodes among them. A change of data or entries always changes the inode as well.
 * 2. of directories among these, the entries that differ: added and removed names. A removed and an added name of the
 *    same inode are a rename.
 * 3. of the other inodes that both moments have, attributes and data.
 */
import { LRUCache } from 'lru-cache'
import type { Place } from '../tree/shown-path.ts'
import type { Progress } from '../../store/capabilities.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { type ChangedObjects, ChangeLookups, mappingsAmong } from './changed-objects.ts'
import { DifferingNames } from './differing-names.ts'
import { inodeAt, InodeComparison, type Difference } from './inode-difference.ts'
import { MomentView, partsOf } from './moment-view.ts'
import { PathComparison } from './path-difference.ts'

export type { Difference } from './inode-difference.ts'

export interface DifferenceOptions {
  /** Limits the result to this path and those below it, in either moment. */
  readonly path?: string
  /** Is called often, with what is being done and how much of how much is done. */
  readonly progress?: Progress
}

/** Directories in memory of which it is known whether they have the same path in both moments. */
const SAME_MAX = 4096

/** Everything that differs: names first, in no particular order. @throws CannotOpenError, StoreError */
export async function* differences(
  store: Store,
  before: Tid,
  after: Tid,
  options: DifferenceOptions = {},
): AsyncGenerator<Difference> {
  if (before > after) {
    for await (const difference of differences(store, after, before, options)) yield reverse(difference)
    return
  }
  const views = [await MomentView.open(store, before), await MomentView.open(store, after)] as const
  yield* differencesOfViews(store, views, options)
}

/** As {@link differences}, of moments that were opened: the earlier one and the later one. */
export async function* differencesOfViews(
  store: Store,
  views: readonly [MomentView, MomentView],
  { path = '', progress }: DifferenceOptions = {},
): AsyncGenerator<Difference> {
  const top = partsOf(path).join('/')
  const lookups = new ChangeLookups(store, views[0].at, views[1].at, progress)
  try {
    const below =
      top === ''
        ? undefined
        : await PathComparison.below(top, new InodeComparison(...views, lookups, progress), lookups)
    if (below !== undefined) yield* below.differences()
    else {
      const changed = await lookups.scanned()
      const comparison = new Comparison(
        store,
        new InodeComparison(...views, changed, progress),
        changed,
        progress,
      )
      try {
        yield* comparison.run(at => isWithin(at, top))
      } finally {
        comparison.close()
      }
    }
  } finally {
    lookups.close()
  }
}

class Comparison {
  readonly #store: Store
  readonly #before: MomentView
  readonly #after: MomentView
  readonly #inode: InodeComparison
  readonly #changed: ChangedObjects
  readonly #progress: Progress
  readonly #names = new DifferingNames()
  readonly #same = new LRUCache<Oid, { readonly answer: boolean }>({ max: SAME_MAX })

  constructor(store: Store, inode: InodeComparison, changed: ChangedObjects, progress: Progress = () => {}) {
    this.#progress = progress
    this.#store = store
    this.#before = inode.before
    this.#after = inode.after
    this.#inode = inode
    this.#changed = changed
  }

  close(): void {
    this.#names.close()
  }

  async *run(isWanted: (path: string) => boolean): AsyncGenerator<Difference> {
    for await (const oid of this.#inodes('names compared')) await this.#compareNames(oid)
    for (const { oid, removed, added } of this.#names)
      for (const [index, place] of removed.entries()) {
        const from = await pathOf(this.#before, place)
        const to = added[index]
        const path = to && (await pathOf(this.#after, to))
        if (!(from !== undefined && isWanted(from)) && !(path !== undefined && isWanted(path))) continue
        if (from !== undefined && path !== undefined)
          yield await this.#inode.content(oid, { kind: 'renamed', path, from })
        else if (from !== undefined) yield await this.#inode.nameOnly('removed', oid, from)
        else if (path !== undefined) yield await this.#inode.nameOnly('added', oid, path)
      }
    for (const { oid, removed, added } of this.#names)
      for (const place of added.slice(removed.length)) {
        const path = await pathOf(this.#after, place)
        if (path !== undefined && isWanted(path)) yield await this.#inode.nameOnly('added', oid, path)
      }
    for await (const oid of this.#inodes('files compared')) {
      const path = await this.#commonPath(oid)
      if (path === undefined || !isWanted(path)) continue
      const difference = await this.#inode.content(oid, { kind: 'changed', path })
      if (difference.attributes.length > 0 || difference.ranges.length > 0) yield difference
    }
  }

  /** The inodes among the changed objects, each of which is reported as done. */
  #inodes(what: string): AsyncGenerator<Oid> {
    return mappingsAmong(this.#store, this.#oids(what), this.#after.at)
  }

  *#oids(what: string): Generator<Oid> {
    let done = 0
    for (const oid of this.#changed.oids()) {
      this.#progress(what, done++, this.#changed.size)
      yield oid
    }
  }

  /** A path of an inode in both moments; undefined if the inode was already reported as added, removed or renamed. */
  async #commonPath(oid: Oid): Promise<string | undefined> {
    const [old, now] = [await inodeAt(this.#before, oid), await inodeAt(this.#after, oid)]
    if (old === undefined || now === undefined || old.nlink === 0 || now.nlink === 0) return undefined
    if (this.#names.isRenamed(oid)) return undefined
    const view = (await this.#hasSamePath(oid)) ? this.#before : this.#after
    return (await view.pathOf(oid))?.text
  }

  /** Whether the path that an inode had leads to it still. */
  async #hasSamePath(oid: Oid): Promise<boolean> {
    const climbed = new Set<Oid>()
    let answer: boolean | undefined
    for (let at = oid; answer === undefined;) {
      climbed.add(at)
      const place = await this.#before.placeOf(at)
      if (at === this.#before.rootOid) answer = at === this.#after.rootOid
      else if (place === undefined || climbed.has(place.parent)) answer = false
      else if ((await this.#after.child(place.parent, place.name)) !== at) answer = false
      else {
        at = place.parent
        answer = this.#same.get(at)?.answer
      }
    }
    climbed.delete(oid)
    for (const directory of climbed) this.#same.set(directory, { answer })
    return answer
  }

  async #compareNames(oid: Oid): Promise<void> {
    for await (const { name, before, after } of this.#inode.names(oid)) {
      if (before !== undefined) this.#names.add('removed', before, { parent: oid, name })
      if (after !== undefined) this.#names.add('added', after, { parent: oid, name })
    }
  }
}

/** The path of a name; undefined if its directory has none. */
async function pathOf(view: MomentView, { parent, name }: Place): Promise<string | undefined> {
  return (await view.pathOf(parent))?.child(name).text
}

/** Whether a path is `top` or below it; the root is above everything. */
export const isWithin = (path: string, top: string): boolean =>
  top === '' || path === top || path.startsWith(`${top}/`)

/** The same difference, from the later moment to the earlier. */
function reverse(difference: Difference): Difference {
  const { kind, path, from, sizeBefore, sizeAfter, ...rest } = difference
  const sizes = {
    ...(sizeAfter !== undefined && { sizeBefore: sizeAfter }),
    ...(sizeBefore !== undefined && { sizeAfter: sizeBefore }),
  }
  if (kind === 'added') return { kind: 'removed', path, ...sizes, ...rest }
  if (kind === 'removed') return { kind: 'added', path, ...sizes, ...rest }
  return from === undefined
    ? { kind, path, ...sizes, ...rest }
    : { kind, path: from, from: path, ...sizes, ...rest }
}
