/** The differences of one inode between two moments: its attributes, its data, and the names in it. */
import { OOBTree } from '../btree/tree.ts'
import { ByteString, Ref } from '../objects/pickle/value.ts'
import { isDirectory, type Inode } from '../tree/inode.ts'
import type { Progress } from '../../store/capabilities.ts'
import type { Oid } from '../../store/ids.ts'
import type { ObjectChanges } from './changed-objects.ts'
import { changedRanges, type ByteRange } from './file-difference.ts'
import type { MomentView } from './moment-view.ts'
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

/** Maximum number of ranges per file; the last one covers the rest. */
const RANGES_MAX = 65_536

/** A name of a directory that leads to different inodes in the two moments. */
export interface DifferingName {
  readonly name: string
  /** The inode in the earlier moment; undefined if the name did not exist. */
  readonly before: Oid | undefined
  readonly after: Oid | undefined
}

export class InodeComparison {
  readonly before: MomentView
  readonly after: MomentView
  readonly changes: ObjectChanges
  readonly #progress: Progress
  #blocks = 0

  constructor(before: MomentView, after: MomentView, changes: ObjectChanges, progress: Progress = () => {}) {
    this.#progress = progress
    this.before = before
    this.after = after
    this.changes = changes
  }

  /** The names of a directory that differ; none for other inodes. */
  async *names(directory: Oid): AsyncGenerator<DifferingName> {
    const before = entriesOf(this.before, await inodeAt(this.before, directory))
    const after = entriesOf(this.after, await inodeAt(this.after, directory))
    if (before === undefined && after === undefined) return
    for await (const entry of differingEntries({ before, after, changes: this.changes }))
      if (entry.key instanceof ByteString)
        yield { name: entry.key.latin1, before: oidOf(entry.before), after: oidOf(entry.after) }
  }

  async nameOnly(kind: 'added' | 'removed', oid: Oid, path: string): Promise<Difference> {
    const inode = await inodeAt(kind === 'added' ? this.after : this.before, oid)
    if (inode === undefined) throw this.after.connection.corrupt(oid, 'a name leads to a missing object')
    const size = kind === 'added' ? { sizeAfter: inode.size } : { sizeBefore: inode.size }
    return { kind, path, mode: inode.mode, ...size, attributes: [], ranges: [] }
  }

  /** Compares an inode that both moments have. */
  async content(
    oid: Oid,
    about: { readonly kind: 'renamed' | 'changed'; readonly path: string; readonly from?: string },
  ): Promise<Difference> {
    const [old, now] = [await inodeAt(this.before, oid), await inodeAt(this.after, oid)]
    if (old === undefined || now === undefined)
      throw this.after.connection.corrupt(oid, 'a name leads to a missing object')
    return await contentDifference(
      { view: this.before, inode: old },
      { view: this.after, inode: now },
      about,
      this.changes,
      () => this.#progress('blocks compared', ++this.#blocks, 0),
    )
  }
}

/** An inode at a moment. */
export interface InodeState {
  readonly view: MomentView
  readonly inode: Inode
}

/** The differences of attributes and data of two inodes. @param onBlock is called before each block. */
export async function contentDifference(
  { view: before, inode: old }: InodeState,
  { view: after, inode: now }: InodeState,
  about: Pick<Difference, 'kind' | 'path' | 'from'>,
  changes: Pick<ObjectChanges, 'among'>,
  onBlock?: () => void,
): Promise<Difference> {
  await now.activate()
  await old.activate()
  const state = { mode: now.mode, sizeBefore: old.size, sizeAfter: now.size }
  const attributes = changedAttributes(old, now)
  const ranges: ByteRange[] = []
  const states = [
    { connection: before.connection, data: old.fileData, size: old.size },
    { connection: after.connection, data: now.fileData, size: now.size },
  ] as const
  for await (const range of changedRanges(...states, changes, onBlock)) {
    const last = ranges.length === RANGES_MAX ? ranges.pop() : undefined
    ranges.push(last === undefined ? range : { lo: last.lo, hi: range.hi })
  }
  return { ...about, ...state, attributes, ranges }
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
export async function inodeAt(view: MomentView, oid: Oid): Promise<Inode | undefined> {
  const inode = await view.inode(oid)
  return inode?.object.has('nlink') === true ? inode : undefined
}

function entriesOf({ connection }: MomentView, inode: Inode | undefined): OOBTree | undefined {
  const ref = inode?.entries
  const tree = ref === undefined ? undefined : connection.resolve(ref)
  return tree instanceof OOBTree ? tree : undefined
}

const oidOf = (value: unknown): Oid | undefined => (value instanceof Ref ? value.oid : undefined)
