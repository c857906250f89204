/**
 * Finds the differences between two moments, with work proportional to the changes in between:
 *
 * 1. the objects they changed; the inodes among them. A change of data or entries always changes the inode as well.
 * 2. of directories among these, the entries that differ: added and removed names. A removed and an added name of the
 *    same inode are a rename.
 * 3. of the other inodes that both moments have, attributes and data.
 */
import { LRUCache } from 'lru-cache'
import { OOBTree } from '../btree/tree.ts'
import { isDirectory, type Inode } from '../tree/inode.ts'
import type { Place } from '../tree/shown-path.ts'
import { ByteString, Ref } from '../objects/pickle/value.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { ChangedObjects, mappingsAmong } from './changed-objects.ts'
import { changedRanges, type ByteRange } from './file-difference.ts'
import { MomentView } from './moment-view.ts'
import { differingEntries } from './tree-difference.ts'

/** A difference at a path. Paths are relative to the root, one character per byte; long ones are shortened (core/tree/shown-path.ts). */
export interface Difference {
  readonly kind: 'added' | 'removed' | 'renamed' | 'changed'
  /** In the later moment; for a removal, in the earlier. */
  readonly path: string
  /** The path before a rename. */
  readonly from?: string
  /** st_mode in the later moment; for a removal, in the earlier. */
  readonly mode: number
  readonly sizeBefore?: bigint
  readonly sizeAfter?: bigint
  /** The changed attributes: mode, uid, gid, size, rdev, target, xattrs, mtime. */
  readonly attributes: readonly string[]
  /** The changed bytes of a file that exists in both moments, in whole chunks. */
  readonly ranges: readonly ByteRange[]
}

export interface DifferenceOptions {
  /** Limits the result to this path and those below it, in either moment. */
  readonly path?: string
}

/** Maximum number of ranges per file; the last one covers the rest. */
const RANGES_MAX = 65_536

type Views = { readonly before: MomentView; readonly after: MomentView }

/** Directories in memory of which it is known whether they have the same path in both moments. */
const SAME_MAX = 4096

/** Everything that differs: names first, in no particular order. @throws CannotOpenError, StoreError */
export async function* differences(
  store: Store,
  before: Tid,
  after: Tid,
  { path = '' }: DifferenceOptions = {},
): AsyncGenerator<Difference> {
  if (before > after) {
    for await (const difference of differences(store, after, before, { path })) yield reverse(difference)
    return
  }
  const views = { before: await MomentView.open(store, before), after: await MomentView.open(store, after) }
  const changed = await ChangedObjects.between(store, before, after)
  try {
    const comparison = new Comparison(store, views, changed)
    for await (const difference of comparison.run(at => isWithin(at, path))) yield difference
  } finally {
    changed.close()
  }
}

class Comparison {
  readonly #store: Store
  readonly #before: MomentView
  readonly #after: MomentView
  readonly #changed: ChangedObjects
  /** Names that one moment has, by inode. */
  readonly #removed = new Map<Oid, Place[]>()
  readonly #added = new Map<Oid, Place[]>()
  readonly #same = new LRUCache<Oid, { readonly answer: boolean }>({ max: SAME_MAX })

  constructor(store: Store, { before, after }: Views, changed: ChangedObjects) {
    this.#store = store
    this.#before = before
    this.#after = after
    this.#changed = changed
  }

  async *run(isWanted: (path: string) => boolean): AsyncGenerator<Difference> {
    for await (const oid of this.#inodes()) await this.#compareNames(oid)
    for (const [oid, places] of this.#removed) {
      const added = this.#added.get(oid) ?? []
      for (const place of places) {
        const from = await pathOf(this.#before, place)
        const to = added.shift()
        const path = to && (await pathOf(this.#after, to))
        if (!(from !== undefined && isWanted(from)) && !(path !== undefined && isWanted(path))) continue
        if (from !== undefined && path !== undefined)
          yield await this.#content(oid, { kind: 'renamed', path, from })
        else if (from !== undefined) yield await this.#nameOnly('removed', oid, from)
        else if (path !== undefined) yield await this.#nameOnly('added', oid, path)
      }
    }
    for (const [oid, places] of this.#added)
      for (const place of places) {
        const path = await pathOf(this.#after, place)
        if (path !== undefined && isWanted(path)) yield await this.#nameOnly('added', oid, path)
      }
    for await (const oid of this.#inodes()) {
      const path = await this.#commonPath(oid)
      if (path === undefined || !isWanted(path)) continue
      const difference = await this.#content(oid, { kind: 'changed', path })
      if (difference.attributes.length > 0 || difference.ranges.length > 0) yield difference
    }
  }

  #inodes(): AsyncGenerator<Oid> {
    return mappingsAmong(this.#store, this.#changed.oids(), this.#after.at)
  }

  /** A path of an inode in both moments; undefined if the inode was already reported as added, removed or renamed. */
  async #commonPath(oid: Oid): Promise<string | undefined> {
    const [old, now] = [await inodeAt(this.#before, oid), await inodeAt(this.#after, oid)]
    if (old === undefined || now === undefined || old.nlink === 0 || now.nlink === 0) return undefined
    if (this.#removed.has(oid) && this.#added.has(oid)) return undefined
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
    const [old, now] = [await inodeAt(this.#before, oid), await inodeAt(this.#after, oid)]
    const [before, after] = [entriesOf(this.#before, old), entriesOf(this.#after, now)]
    if (before === undefined && after === undefined) return
    const hasChanged = (oid: Oid): boolean => this.#changed.has(oid)
    for await (const { key, before: from, after: to } of differingEntries({ before, after, hasChanged })) {
      if (!(key instanceof ByteString)) continue
      if (old !== undefined) note(this.#removed, from, { parent: oid, name: key.latin1 })
      if (now !== undefined) note(this.#added, to, { parent: oid, name: key.latin1 })
    }
  }

  async #nameOnly(kind: 'added' | 'removed', oid: Oid, path: string): Promise<Difference> {
    const inode = await inodeAt(kind === 'added' ? this.#after : this.#before, oid)
    if (inode === undefined) throw this.#after.connection.corrupt(oid, 'a name leads to a missing object')
    const size = kind === 'added' ? { sizeAfter: inode.size } : { sizeBefore: inode.size }
    return { kind, path, mode: inode.mode, ...size, attributes: [], ranges: [] }
  }

  /** Compares an inode that both moments have. */
  async #content(
    oid: Oid,
    about: { readonly kind: 'renamed' | 'changed'; readonly path: string; readonly from?: string },
  ): Promise<Difference> {
    const [old, now] = [await inodeAt(this.#before, oid), await inodeAt(this.#after, oid)]
    if (old === undefined || now === undefined)
      throw this.#after.connection.corrupt(oid, 'a name leads to a missing object')
    await old.activate()
    const state = { mode: now.mode, sizeBefore: old.size, sizeAfter: now.size }
    const attributes = changedAttributes(old, now)
    const ranges: ByteRange[] = []
    const states = [
      { connection: this.#before.connection, data: old.data, size: old.size },
      { connection: this.#after.connection, data: now.data, size: now.size },
    ] as const
    for await (const range of changedRanges(...states, oid => this.#changed.has(oid))) {
      const last = ranges.length === RANGES_MAX ? ranges.pop() : undefined
      ranges.push(last === undefined ? range : { lo: last.lo, hi: range.hi })
    }
    return { ...about, ...state, attributes, ranges }
  }
}

function changedAttributes(old: Inode, now: Inode): string[] {
  const pairs: Readonly<Record<string, readonly [unknown, unknown]>> = {
    mode: [old.mode, now.mode],
    uid: [old.uid, now.uid],
    gid: [old.gid, now.gid],
    size: [old.size, now.size],
    rdev: [old.rdev, now.rdev],
    target: [latin1(old.target), latin1(now.target)],
    xattrs: [xattrsOf(old), xattrsOf(now)],
    // A directory's mtime changes with its entries, which are reported separately.
    ...(!isDirectory(now) && { mtime: [old.time('mtime'), now.time('mtime')] }),
  }
  return Object.entries(pairs)
    .filter(([, [before, after]]) => before !== after)
    .map(([name]) => name)
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const xattrsOf = (inode: Inode): string =>
  [...inode.xattrs]
    .map(([name, value]) => JSON.stringify([name, latin1(value)]))
    .sort()
    .join()

/** An inode by its oid, activated; undefined for other mappings (the root, the superblock). */
async function inodeAt(view: MomentView, oid: Oid): Promise<Inode | undefined> {
  const inode = await view.inode(oid)
  return inode?.object.has('nlink') === true ? inode : undefined
}

function entriesOf({ connection }: MomentView, inode: Inode | undefined): OOBTree | undefined {
  const ref = inode?.entries
  const tree = ref === undefined ? undefined : connection.resolve(ref)
  return tree instanceof OOBTree ? tree : undefined
}

function note(names: Map<Oid, Place[]>, value: unknown, place: Place): void {
  if (!(value instanceof Ref)) return
  const places = names.get(value.oid)
  if (places === undefined) names.set(value.oid, [place])
  else places.push(place)
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
