/**
 * Applies what follows from the names that an undo restores and removes. The undo restores objects one by one
 * (core/history/undo.ts), independently of each other; this compares the entries of directories before and after it.
 *
 * | what                             | is                                                                       |
 * |----------------------------------|--------------------------------------------------------------------------|
 * | an inode's link count            | the present one, and what its names grew by                              |
 * | the sums in the superblock       | the present ones, plus the inodes that appear, less those that disappear |
 * | a merged file's stored bytes     | counted                                                                  |
 * | a directory's parent             | the directory that has its name                                          |
 * | what has lost its last name      | an orphan if it is in use, otherwise dropped                             |
 *
 * Entries count only in a directory that has a name itself: a directory that an undo removes or brings back takes its content along.
 *
 * The undo conflicts with later changes if an inode's names do not change as they did before, if a directory gets a second
 * name, if anything gets a name in a removed directory, or if directories would be in each other.
 *
 * It takes some 300 bytes of memory for each inode whose names or entries the undone transactions changed.
 *
 * The table of orphans is not undone: it says which inodes are in use at present.
 */
import { Blocks } from '../../big-file/blocks.ts'
import { storedBytes } from '../../big-file/apply.ts'
import { chunkUp } from '../../big-file/chunks.ts'
import type { ObjectKey } from '../../btree/kind.ts'
import { isNodeOf, type BTreeNode } from '../../btree/node.ts'
import { type LOBTree, OOBTree } from '../../btree/tree.ts'
import type { MomentView } from '../../history/moment-view.ts'
import type { ChangedObjects } from '../../history/changed-objects.ts'
import { differingEntries, type EntryPair } from '../../history/tree-difference.ts'
import type { UndoneInode } from '../../history/undo.ts'
import type { Connection } from '../../objects/connection.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { Directory } from '../../tree/directory.ts'
import { isDirectory, type Inode } from '../../tree/inode.ts'
import type { Superblock } from '../../tree/superblock.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { type Oid, oid as toOid } from '../../../store/ids.ts'
import type { Context } from '../context.ts'

/** Entries, or inodes, read together. */
const BATCH = 256

export interface UndoneNamesParts {
  readonly context: Context
  readonly superblock: Superblock
  /** The present before the undo. */
  readonly view: MomentView
  /** Of those that the undone transactions changed, all that are not quiet. */
  readonly inodes: readonly UndoneInode[]
  /** The restored objects. */
  readonly changed: ChangedObjects
  readonly orphans: ReadonlySet<Oid>
}

/** An inode before the undo. */
interface Present {
  readonly isDirectory: boolean
  readonly nlink: number
  /** Its names; 1 or 0 for a directory. */
  readonly names: number
  readonly stored: number
  readonly parent: Oid | undefined
}

interface Known {
  readonly oid: Oid
  was: Present
  /** Whether it has kept its link count without a name: it was removed on a full disk (objects/unreachable.ts). */
  isStale: boolean
  /** The change of the number of its names. */
  growth: number
  /** The change of the number of its subdirectories; all of them if it had no name. */
  subdirectories: number
  /** Of a directory: whether its entries count. */
  counts: boolean
}

export class UndoneNames {
  readonly #parts: UndoneNamesParts
  readonly #undone: ReadonlyMap<Oid, UndoneInode>
  readonly #known = new Map<Oid, Known>()
  /** Directories whose entries may have to count, or no longer. */
  readonly #waiting = new Set<Known>()
  /** Directories that have got a name, and the directory of it. */
  readonly #moved = new Map<Oid, Oid>()
  /** Directories with a new entry. */
  readonly #entered = new Set<Oid>()
  readonly #conflicts = new Set<Oid>()

  constructor(parts: UndoneNamesParts) {
    this.#parts = parts
    this.#undone = new Map(parts.inodes.map(inode => [inode.oid, inode]))
  }

  /** Resolves to the inodes with conflicting later changes; if there are any, the undo must be rolled back. */
  async apply(): Promise<ReadonlySet<Oid>> {
    const { inodes } = this.#parts
    const restored: Known[] = []
    for (const known of await this.#findAll(inodes.map(({ oid }) => oid)))
      if (known.was.isDirectory) restored.push(known)
    for (const known of restored)
      if (known.counts)
        for await (const entry of this.#differing(known.oid)) await this.#compare(known, entry)
    await this.#follow()
    for (const known of restored)
      if (!known.counts && known.was.names === 0)
        for await (const _ of this.#differing(known.oid)) this.#conflicts.add(known.oid)
    for (const known of this.#known.values())
      if (!isPlausible(known, this.#undone.get(known.oid))) this.#conflicts.add(known.oid)
    if (this.#conflicts.size > 0) return this.#conflicts
    for (const batch of batches([...this.#known.values()])) {
      await this.#live.loadMany(batch.map(({ oid }) => this.#parts.context.live.inodeAt(oid).object))
      for (const known of batch) await this.#record(known, this.#undone.get(known.oid)?.isMerged === true)
    }
    for (const oid of this.#entered) await this.#climb(oid)
    return this.#conflicts
  }

  get #live(): Connection {
    return this.#parts.context.live.connection
  }

  async #findAll(oids: readonly Oid[]): Promise<readonly Known[]> {
    const found: Known[] = []
    for (const batch of batches(oids)) {
      await this.#parts.view.inodes(batch)
      for (const oid of batch) {
        const known = await this.#find(oid)
        if (known !== undefined) found.push(known)
      }
    }
    return found
  }

  async #find(oid: Oid): Promise<Known | undefined> {
    const existing = this.#known.get(oid)
    if (existing !== undefined) return existing
    const inode = await this.#parts.view.inode(oid)
    if (inode === undefined || !inode.object.has('mode')) return undefined
    const [is, { nlink, stored }] = [isDirectory(inode), inode]
    const names = is ? Math.min(nlink, 1) : nlink
    const was = { isDirectory: is, nlink, names, stored, parent: inode.parent?.oid }
    const known = { oid, was, isStale: false, growth: 0, subdirectories: 0, counts: is && was.names > 0 }
    this.#known.set(oid, known)
    return known
  }

  /** The entries of a directory that the undo has changed. */
  async *#differing(oid: Oid): AsyncGenerator<EntryPair<ObjectKey>> {
    const { view, context } = this.#parts
    const [before, after] = [
      await entriesOf(view.connection, await view.inode(oid)),
      await entriesOf(this.#live, await activated(context.live.inodeAt(oid))),
    ]
    yield* differingEntries({ before, after, changes: this.#parts.changed })
  }

  async #compare(directory: Known, { before, after }: EntryPair<ObjectKey>): Promise<void> {
    if (before instanceof Ref) await this.#count(directory, before.oid, -1)
    if (after instanceof Ref) await this.#count(directory, after.oid, 1)
  }

  /** Counts an entry that a directory has got or lost. */
  async #count(directory: Known, oid: Oid, by: 1 | -1): Promise<void> {
    const entry = await this.#find(oid)
    if (entry === undefined) return
    if (by > 0 && entry.growth === 0) await this.#findStale(entry)
    entry.growth += by
    if (by > 0) this.#entered.add(directory.oid)
    if (!entry.was.isDirectory) return
    directory.subdirectories += by
    if (by > 0) this.#moved.set(oid, directory.oid)
    this.#waiting.add(entry)
  }

  /** An inode whose link count did not change when it lost its name has no place in the present. */
  async #findStale(entry: Known): Promise<void> {
    const { oid, was } = entry
    const undone = this.#undone.get(oid)
    if (was.names === 0 || (undone !== undefined && undone.linksBefore !== undone.linksAfter)) return
    if ((await this.#parts.view.placeOf(oid)) !== undefined) return
    entry.isStale = true
    entry.was = { ...was, names: 0 }
    entry.counts = false
  }

  /** Counts the entries of directories that have a name now and had none, or the reverse. */
  async #follow(): Promise<void> {
    for (const directory of this.#waiting) {
      this.#waiting.delete(directory)
      const counts = directory.was.names + directory.growth > 0
      if (counts === directory.counts) continue
      directory.counts = counts
      const inode = await activated(this.#parts.context.live.inodeAt(directory.oid))
      for (let after: string | undefined; ;) {
        const entries = await Directory.of(this.#live, await activated(inode)).after(after, BATCH)
        if (entries.length === 0) break
        await this.#findAll(entries.map(({ oid }) => oid))
        for (const { name, oid } of entries) {
          after = name
          await this.#count(directory, oid, counts ? 1 : -1)
        }
      }
    }
  }

  /** Sets an inode's counts, and adds what it changes to the sums. */
  async #record({ oid, was, growth, subdirectories }: Known, isMerged: boolean): Promise<void> {
    const { context, superblock, orphans } = this.#parts
    const { bookkeeping, live } = context
    const inode = await activated(live.inodeAt(oid))
    const names = was.names + growth
    const nlink = was.isDirectory ? directoryLinks(was, names, subdirectories) : names
    if (inode.nlink !== nlink) inode.nlink = nlink
    const parent = was.isDirectory && names > 0 ? (this.#moved.get(oid) ?? was.parent) : undefined
    if (parent !== undefined && inode.parent?.oid !== parent) inode.parent = live.inodeAt(parent).ref
    if (isMerged && !was.isDirectory) await this.#countStored(inode)
    await inode.activate()
    const { stored } = inode
    const node = live.known(oid)
    const wasCounted = was.names > 0 || orphans.has(oid)
    if (names > 0) {
      if (wasCounted) bookkeeping.added(stored - was.stored, 0)
      else bookkeeping.added(stored, 1)
      if (orphans.has(oid) && node === undefined) await (await superblock.orphans()).delete(oid)
    } else if (wasCounted && was.names > 0 && node === undefined) bookkeeping.added(-was.stored, -1)
    else if (wasCounted) {
      // It is subtracted once it is no longer used.
      bookkeeping.added(stored - was.stored, 0)
      if (node !== undefined && !node.isOrphan) bookkeeping.orphaned(node)
    }
  }

  async #countStored(inode: Inode): Promise<void> {
    await inode.activate()
    const { data, inlineData } = inode
    let stored = chunkUp(inlineData?.length ?? 0)
    const file = data === undefined ? undefined : this.#live.resolve(data)
    if (file instanceof ZBigFile) {
      await file.activate()
      const blocks = new Blocks(this.#live, file)
      for await (const [blk] of file.blktab.range()) stored += await storedBytes(blocks, blk)
    }
    await inode.activate()
    if (inode.stored !== stored) inode.stored = stored
  }

  /** Searches for a path from a directory to the root. */
  async #climb(from: Oid): Promise<void> {
    const { live } = this.#parts.context
    const met = new Set<Oid>()
    for (let at = from; at !== live.rootOid;) {
      const { nlink, parent } = await activated(live.inodeAt(at))
      if (nlink === 0 || parent === undefined || met.has(at)) {
        for (const oid of met.add(at)) this.#conflicts.add(oid)
        return
      }
      met.add(at)
      at = parent.oid
    }
  }
}

/** Whether an inode's names change as the undone transactions changed them, or the change was already taken back. */
function isPlausible({ was, growth, isStale }: Known, undone: UndoneInode | undefined): boolean {
  const { names, isDirectory } = was
  const present = names + growth
  if (present < 0 || (isDirectory && present > 1)) return false
  if (isStale) return true
  if (undone === undefined) return growth === 0
  const namesOf = (links: number): number => (isDirectory ? Math.min(links, 1) : links)
  const [before, after] = [namesOf(undone.linksBefore), namesOf(undone.linksAfter)]
  if (growth !== 0) return growth === before - after && (present > 0 || before === 0)
  return before === after || names !== after
}

const directoryLinks = ({ names, nlink }: Present, namesNow: number, subdirectories: number): number =>
  namesNow === 0 ? 0 : (names > 0 ? nlink : 2) + subdirectories

function* batches<T>(of: readonly T[]): Generator<readonly T[]> {
  for (let first = 0; first < of.length; first += BATCH) yield of.slice(first, first + BATCH)
}

async function activated(inode: Inode): Promise<Inode> {
  await inode.activate()
  return inode
}

async function entriesOf(connection: Connection, inode: Inode | undefined): Promise<OOBTree | undefined> {
  if (inode === undefined) return undefined
  await inode.activate()
  const { entries } = inode
  const tree = entries === undefined ? undefined : connection.resolve(entries)
  return tree instanceof OOBTree ? tree : undefined
}

/** The objects of the table of orphans, and the inodes in it. */
export async function partsOfOrphans(
  tree: LOBTree,
): Promise<{ readonly parts: ReadonlySet<Oid>; readonly keys: ReadonlySet<Oid> }> {
  const parts = new Set<Oid>()
  await collect(tree, parts)
  const keys = new Set<Oid>()
  for await (const [key] of tree.range()) if (key >= 0) keys.add(toOid(key))
  return { parts, keys }
}

async function collect(node: BTreeNode<number>, parts: Set<Oid>): Promise<void> {
  parts.add(node.oid)
  await node.activate()
  for (const ref of node.content.children) {
    if (parts.has(ref.oid)) continue
    parts.add(ref.oid)
    const child = node.jar.resolve(ref)
    if (isNodeOf(child, node.kind)) await collect(child, parts)
  }
}
