/**
 * What one transaction changed: the files that had or got a name, each with its kind and sizes.
 *
 * Which inodes it changed is read from its summary (core/objects/transaction-summary.ts), so the work is proportional to the files
 * that are named. The transaction's revisions are read only if its summary is missing or incomplete.
 */
import { CannotOpenError, type DamageError, isDamageError } from '../../store/errors.ts'
import { tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import type { Store, TransactionInfo } from '../../store/store.ts'
import { originIn, summaryIn, type Origin, type TransactionSummary } from '../objects/transaction-summary.ts'
import { isDirectory, type Inode } from '../tree/inode.ts'
import { mappingsAmong } from './changed-objects.ts'
import type { Difference } from './inode-difference.ts'
import { MomentView } from './moment-view.ts'

const CACHE_BYTES = 4 << 20
/** Maximum number of files named per transaction; the others are only counted. */
export const FILES_MAX = 1000
/** Inodes read together. */
const BATCH = 256

/** A file, directory or link that a transaction changed. */
export interface LoggedChange extends Omit<Difference, 'attributes' | 'ranges'> {
  readonly oid: Oid
}

export interface LoggedTransaction {
  readonly info: TransactionInfo
  /** Ordered by path. */
  readonly changes: readonly LoggedChange[]
  /** The number of all changed files, including those that are not named. */
  readonly fileCount: number
  readonly origin: Origin
  /** Why its changes cannot be read; there are none then. */
  readonly damage?: DamageError
}

/** Which changes are of interest. */
export interface ChangeFilter {
  /** Only changes in this directory count; in the whole tree if absent. */
  readonly below?: Oid | undefined
  /** Only changes of these inodes count; all if absent. */
  readonly only?: readonly Oid[] | undefined
  /** Only changes for which this returns true are named and counted; all if absent. */
  readonly isWanted?: ((change: LoggedChange) => boolean) | undefined
  /** Maximum number of files named, up to {@link FILES_MAX}. */
  readonly names: number
}

/** The attributes of an inode at a moment. */
interface Found {
  readonly size: bigint
  readonly mode: number
  readonly nlink: number
  readonly name: string | undefined
  readonly parent: Oid | undefined
  /** Undefined if it is damaged. */
  readonly ctimeNs: bigint | undefined
}

/** A changed inode, in the first view in which it has a name. */
interface Changed {
  readonly oid: Oid
  readonly isAfter: boolean
  readonly found: Found
}

/** The changes of one transaction. */
export class TransactionChanges {
  readonly #store: Store
  readonly #info: TransactionInfo
  readonly #filter: ChangeFilter
  readonly #namesMax: number
  #after: Promise<MomentView | undefined> | undefined
  #before: Promise<MomentView | undefined> | undefined
  /** Files to name, in the order found. */
  readonly #toName: Changed[] = []
  /** Directories of counted files: their own change (of an entry) does not count. */
  readonly #passed = new Set<Oid>()
  readonly #directories: Changed[] = []
  #fileCount = 0
  #isWithin: boolean

  /** @param next the changes of the next later transaction, if there is none in between. */
  constructor(store: Store, info: TransactionInfo, filter: ChangeFilter, next?: TransactionChanges) {
    this.#store = store
    this.#info = info
    this.#filter = filter
    this.#namesMax = filter.isWanted === undefined ? Math.min(filter.names, FILES_MAX) : FILES_MAX
    this.#isWithin = filter.below === undefined
    if (next !== undefined) this.#after = next.#before
  }

  /** Undefined if it changed nothing of interest. */
  async make(): Promise<LoggedTransaction | undefined> {
    const { below, only, isWanted, names } = this.#filter
    const summary = only === undefined ? summaryIn(this.#info.extension) : undefined
    const isEnough =
      summary !== undefined && ((below === undefined && isWanted === undefined) || isWhole(summary))
    const inodes = isEnough ? summary.inodes : only
    for await (const batch of inodes === undefined ? this.#mappings() : batched(inodes))
      for (const changed of await this.#named(batch)) await this.#add(changed)
    if (isEnough) this.#fileCount += unlisted(summary)
    if (!this.#isWithin) return undefined
    for (const directory of this.#directories) {
      if (this.#passed.has(directory.oid)) continue
      this.#fileCount++
      if (this.#toName.length < this.#namesMax) this.#toName.push(directory)
    }
    const described = await this.#described()
    const joined = withoutLeft(replacementsJoined(described))
    this.#fileCount -= described.length - joined.length
    const changes = this.#fileCount > joined.length ? await this.#joinedWithUnnamed(joined) : joined
    const origin = originIn(this.#info.extension)
    if ((below ?? only) !== undefined && this.#fileCount === 0) return undefined
    if (isWanted === undefined) return { info: this.#info, changes, fileCount: this.#fileCount, origin }
    const wanted = changes.filter(isWanted)
    if (wanted.length === 0) return undefined
    return { info: this.#info, changes: wanted.slice(0, names), fileCount: wanted.length, origin }
  }

  /** The state after the transaction; undefined if it is not kept. */
  after(): Promise<MomentView | undefined> {
    return (this.#after ??= viewAt(this.#store, this.#info.tid))
  }

  /** The last kept state before the transaction; undefined if there is none, or the state after it is not kept. */
  before(): Promise<MomentView | undefined> {
    return (this.#before ??= this.#openBefore())
  }

  async #openBefore(): Promise<MomentView | undefined> {
    return (await this.after()) && (await viewBefore(this.#store, this.#info.tid))
  }

  async *#mappings(): AsyncGenerator<readonly Oid[]> {
    const { tid } = this.#info
    for await (const { oids } of this.#store.changes(toTid(tid - 1n), tid)) {
      const found: Oid[] = []
      for await (const oid of mappingsAmong(this.#store, oids, tid)) found.push(oid)
      yield* batched(found)
    }
  }

  /** Each inode in the first view in which it has a name, the later one first; omits those without one. */
  async #named(oids: readonly Oid[]): Promise<readonly Changed[]> {
    const after = await foundIn(await this.after(), oids)
    const left = oids.filter(oid => !after.has(oid))
    const before = left.length === 0 ? undefined : await foundIn(await this.before(), left)
    return oids.flatMap(oid => {
      const now = after.get(oid)
      if (now !== undefined) return { oid, isAfter: true, found: now }
      const was = before?.get(oid)
      return was === undefined ? [] : { oid, isAfter: false, found: was }
    })
  }

  async #add(changed: Changed): Promise<void> {
    const { oid, isAfter, found } = changed
    const view = await (isAfter ? this.after() : this.before())
    if (view === undefined) return
    const isBranch = isDirectory(found)
    const isToBeNamed = !isBranch && this.#toName.length < this.#namesMax
    // Before it takes the place of a file that was changed: of many files that are counted only some are named.
    if (isToBeNamed && isAfter && (await this.#wasOnlyRead(oid, found))) return
    const { below } = this.#filter
    let { parent } = found
    if (isToBeNamed || below !== undefined) {
      const place = await view.placeOf(oid)
      if (place === undefined && oid !== view.rootOid) return
      parent = place?.parent
      if (below !== undefined && !(await view.isWithin(oid, below))) return
      this.#isWithin = true
      if (isToBeNamed) this.#toName.push(changed)
    }
    if (parent !== undefined && parent !== oid && this.#passed.size < FILES_MAX) this.#passed.add(parent)
    if (isBranch) this.#directories.push(changed)
    else this.#fileCount++
  }

  async #wasOnlyRead(oid: Oid, found: Found): Promise<boolean> {
    const was = (await foundIn(await this.before(), [oid])).get(oid)
    return was !== undefined && isOnlyRead(was, found)
  }

  /** The files to be named, each compared with its state before the transaction. */
  async #described(): Promise<readonly LoggedChange[]> {
    const [after, before] = [await this.after(), await this.before()]
    const lookedUp = this.#toName.filter(({ isAfter }) => isAfter).map(({ oid }) => oid)
    const earlier = await foundIn(before, lookedUp)
    const changes: LoggedChange[] = []
    for (const { oid, isAfter, found } of this.#toName) {
      const path = (await (isAfter ? after : before)?.pathOf(oid))?.text
      if (path === undefined) continue
      const { mode, size } = found
      const was = isAfter ? earlier.get(oid) : found
      if (!isAfter) changes.push({ kind: 'removed', path, mode, sizeBefore: size, oid })
      else if (was === undefined) changes.push({ kind: 'added', path, mode, sizeAfter: size, oid })
      else if (isOnlyRead(was, found)) this.#fileCount--
      else {
        const sizes = { sizeBefore: was.size, sizeAfter: size }
        const from = isRenamed(was, found) ? (await before?.pathOf(oid))?.text : undefined
        if (from === undefined || from === path) changes.push({ kind: 'changed', path, mode, ...sizes, oid })
        else changes.push({ kind: 'renamed', path, from, mode, ...sizes, oid })
      }
    }
    return changes.sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  /** As {@link replacementsJoined}, for files whose counterpart is counted and not named. */
  async #joinedWithUnnamed(changes: readonly LoggedChange[]): Promise<readonly LoggedChange[]> {
    const joined: LoggedChange[] = []
    for (const change of changes) {
      const other = isDirectory(change) ? undefined : await this.#counterpartOf(change)
      if (other === undefined) joined.push(change)
      else if (change.kind === 'added') joined.push({ ...change, kind: 'changed', sizeBefore: other.size })
      else
        joined.push({ ...change, kind: 'changed', oid: other.oid, mode: other.mode, sizeAfter: other.size })
      if (other !== undefined) this.#fileCount--
    }
    return joined
  }

  /** The file that a new one has replaced, or that has replaced a removed one, if it counts. */
  async #counterpartOf({ kind, path }: LoggedChange): Promise<(Found & { readonly oid: Oid }) | undefined> {
    if (kind !== 'added' && kind !== 'removed') return undefined
    const views = [await this.before(), await this.after()] as const
    const [here, there] = kind === 'added' ? views : ([views[1], views[0]] as const)
    const inode = await here?.find(path)
    if (inode === undefined || isDirectory(inode)) return undefined
    const found = { oid: inode.oid, ...snapshot(inode) }
    const counts = this.#filter.only?.includes(found.oid) ?? true
    return counts && (await foundIn(there, [found.oid])).size === 0 ? found : undefined
  }
}

/** The inodes that have a name, or are the root, in a view. */
async function foundIn(view: MomentView | undefined, oids: readonly Oid[]): Promise<Map<Oid, Found>> {
  const found = new Map<Oid, Found>()
  if (view === undefined || oids.length === 0) return found
  for (const inode of await view.inodes(oids))
    if (inode.object.has('nlink') && (inode.nlink > 0 || inode.oid === view.rootOid))
      found.set(inode.oid, snapshot(inode))
  return found
}

function snapshot(inode: Inode): Found {
  const { size, mode, nlink, name, parent } = inode
  return { size, mode, nlink, name, parent: parent?.oid, ctimeNs: ctimeOf(inode) }
}

function ctimeOf(inode: Inode): bigint | undefined {
  try {
    return inode.time('ctime')
  } catch (error) {
    if (isDamageError(error)) return undefined
    throw error
  }
}

/** Whether only the access time of an inode is another: it was read, and the transaction stored that with changes of other inodes. */
const isOnlyRead = (was: Found, is: Found): boolean =>
  is.ctimeNs !== undefined && is.ctimeNs === was.ctimeNs && is.size === was.size && is.nlink === was.nlink

/** Whether an inode has another name. An additional or removed hard link is not a rename. */
function isRenamed(was: Found, is: Found): boolean {
  if (!isDirectory(is) && was.nlink !== is.nlink) return false
  return was.name !== is.name || was.parent !== is.parent
}

/** A file that took the name of a removed one (many programs save so) has changed it. */
function replacementsJoined(changes: readonly LoggedChange[]): readonly LoggedChange[] {
  const removed = new Map(changes.filter(({ kind }) => kind === 'removed').map(each => [each.path, each]))
  if (removed.size === 0) return changes
  const replaced = new Set<LoggedChange>()
  const joined = changes.map((change): LoggedChange => {
    const old = change.kind === 'added' ? removed.get(change.path) : undefined
    if (old?.sizeBefore === undefined || isDirectory(old) !== isDirectory(change)) return change
    replaced.add(old)
    return { ...change, kind: 'changed', sizeBefore: old.sizeBefore }
  })
  return joined.filter(change => !replaced.has(change))
}

/** Directories that only lost a renamed file do not count. */
function withoutLeft(changes: readonly LoggedChange[]): readonly LoggedChange[] {
  const left = new Set(changes.flatMap(({ from }) => (from === undefined ? [] : parentOf(from))))
  if (left.size === 0) return changes
  return changes.filter(change => change.kind !== 'changed' || !isDirectory(change) || !left.has(change.path))
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')))

/** Whether a summary names every changed inode. */
const isWhole = ({ files, directories, inodes }: TransactionSummary): boolean =>
  files + directories === inodes.length

/** The number of changed files that a summary does not name. */
const unlisted = ({ files, inodes }: TransactionSummary): number => Math.max(0, files - inodes.length)

function* batched(oids: readonly Oid[]): Generator<readonly Oid[]> {
  for (let first = 0; first < oids.length; first += BATCH) yield oids.slice(first, first + BATCH)
}

/** Undefined if there was no filesystem yet, or a pack has forgotten the moment. */
export async function viewAt(store: Store, at: Tid): Promise<MomentView | undefined> {
  if ((await store.isKept?.(at)) === false) return undefined
  try {
    return await MomentView.open(store, at, CACHE_BYTES)
  } catch (error) {
    if (error instanceof CannotOpenError) return undefined
    throw error
  }
}

/** The last kept state before a transaction; undefined if there is none. */
export async function viewBefore(store: Store, tid: Tid): Promise<MomentView | undefined> {
  const at = toTid(tid - 1n)
  const kept = store.keptUpTo === undefined ? at : await store.keptUpTo(at)
  return kept === undefined ? undefined : await viewAt(store, kept)
}
