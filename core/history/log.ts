/**
 * Transactions, newest first, with the files that each changed.
 *
 * A file's history is its inode's history, so it spans renames: every change of a file changes its inode, so the inode's
 * revisions are its transactions. A directory's history includes everything below it.
 *
 * Which inodes a transaction changed is read from its summary (core/objects/transaction-summary.ts): the work is
 * proportional to what is listed, not to what the transactions changed. A transaction's revisions are read only if its
 * summary is missing or incomplete.
 */
import { CannotOpenError } from '../../store/errors.ts'
import { tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import type { Store, TransactionInfo } from '../../store/store.ts'
import { summaryIn, type TransactionSummary } from '../objects/transaction-summary.ts'
import { isDirectory } from '../tree/inode.ts'
import { mappingsAmong } from './changed-objects.ts'
import { MomentView } from './moment-view.ts'

const CACHE_BYTES = 4 << 20
/** Maximum number of files named per transaction; the others are only counted. */
export const FILES_MAX = 1000
/** Inodes read together. */
const BATCH = 256

export interface LoggedTransaction {
  readonly info: TransactionInfo
  /**
   * Paths of the files, directories and links that it changed: afterwards, or before where it removed them. Long ones are
   * shortened (core/tree/shown-path.ts).
   */
  readonly files: readonly string[]
  /** The number of all changed files, including those that are not named. */
  readonly fileCount: number
}

export interface LogOptions {
  /** Transactions `(after, upTo]`. */
  readonly after?: Tid
  readonly upTo?: Tid
  readonly limit?: number
  /** Only transactions that changed the inode with this oid, or an inode below it if it is a directory. */
  readonly of?: Oid
  /** Maximum number of files named per transaction, up to {@link FILES_MAX}. */
  readonly names?: number
}

/** @throws CorruptRecordError, StoreError */
export async function* log(store: Store, options: LogOptions = {}): AsyncGenerator<LoggedTransaction> {
  const { limit = Infinity, of, names = FILES_MAX } = options
  const isBelow = of !== undefined && (await isDirectoryNow(store, of, options.upTo))
  let count = 0
  if (limit <= 0) return
  for await (const info of isBelow ? allTransactions(store, options) : transactionsOf(store, options)) {
    const logged = await new Description(store, info, isBelow ? of : undefined, names).make()
    if (logged === undefined) continue
    yield logged
    if (++count >= limit) return
  }
}

const allTransactions = (
  store: Store,
  { after, upTo, of, limit }: LogOptions,
): AsyncIterable<TransactionInfo> =>
  store.transactions({
    reverse: true,
    ...(after !== undefined && { after }),
    ...(upTo !== undefined && { upTo }),
    ...(of === undefined && limit !== undefined && limit !== Infinity && { limit }),
  })

async function* transactionsOf(store: Store, options: LogOptions): AsyncGenerator<TransactionInfo> {
  const { of, after, upTo } = options
  if (of === undefined) {
    yield* allTransactions(store, options)
    return
  }
  const range = { ...(after !== undefined && { after }), ...(upTo !== undefined && { upTo }) }
  for (const tid of await store.revisions(of, range)) yield* transactionAt(store, tid)
}

/** One transaction, if it is kept. */
export async function* transactionAt(store: Store, at: Tid): AsyncGenerator<TransactionInfo> {
  yield* store.transactions({ after: toTid(at - 1n), upTo: at })
}

/** A changed inode, in the first view in which it has a name. */
interface Changed {
  readonly oid: Oid
  readonly view: MomentView
  readonly isDirectory: boolean
  /** As recorded by the inode. */
  readonly parent: Oid | undefined
}

/** The changes of one transaction. */
class Description {
  readonly #store: Store
  readonly #info: TransactionInfo
  readonly #below: Oid | undefined
  readonly #namesMax: number
  readonly #views: (MomentView | undefined)[] = []
  readonly #files: string[] = []
  /** Directories of counted files: their own change (of an entry) does not count. */
  readonly #passed = new Set<Oid>()
  readonly #directories: Changed[] = []
  #fileCount = 0
  #isWithin: boolean

  /** @param below only changes in this directory count. */
  constructor(store: Store, info: TransactionInfo, below: Oid | undefined, namesMax: number) {
    this.#store = store
    this.#info = info
    this.#below = below
    this.#namesMax = Math.min(namesMax, FILES_MAX)
    this.#isWithin = below === undefined
  }

  /** Undefined if it changed nothing in the directory. */
  async make(): Promise<LoggedTransaction | undefined> {
    const summary = summaryIn(this.#info.extension)
    const isEnough = summary !== undefined && (this.#below === undefined || isWhole(summary))
    for await (const batch of isEnough ? batched(summary.inodes) : this.#mappings())
      for (const changed of await this.#named(batch)) await this.#add(changed)
    if (isEnough) this.#fileCount += unlisted(summary)
    if (!this.#isWithin) return undefined
    for (const directory of this.#directories) {
      if (this.#passed.has(directory.oid)) continue
      this.#fileCount++
      if (this.#files.length < this.#namesMax) await this.#enter(directory)
    }
    return { info: this.#info, files: this.#files.sort(), fileCount: this.#fileCount }
  }

  async *#mappings(): AsyncGenerator<readonly Oid[]> {
    const { tid } = this.#info
    for await (const { oids } of this.#store.changes(toTid(tid - 1n), tid)) {
      const found: Oid[] = []
      for await (const oid of mappingsAmong(this.#store, oids, tid)) found.push(oid)
      yield* batched(found)
    }
  }

  /** The state after the transaction, then the one before it. */
  async *#moments(): AsyncGenerator<MomentView> {
    const { tid } = this.#info
    for (const [index, at] of [tid, toTid(tid - 1n)].entries()) {
      if (this.#views.length === index) this.#views.push(await viewAt(this.#store, at))
      const view = this.#views[index]
      if (view !== undefined) yield view
    }
  }

  /** Each inode in the first view in which it has a name; omits those without one. */
  async #named(oids: readonly Oid[]): Promise<readonly Changed[]> {
    const found = new Map<Oid, Changed>()
    let left = oids
    for await (const view of this.#moments()) {
      for (const inode of await view.inodes(left)) {
        const { oid, object, parent } = inode
        if (object.has('nlink') && (inode.nlink > 0 || oid === view.rootOid))
          found.set(oid, { oid, view, isDirectory: isDirectory(inode), parent: parent?.oid })
      }
      left = left.filter(oid => !found.has(oid))
      if (left.length === 0) break
    }
    return oids.flatMap(oid => found.get(oid) ?? [])
  }

  async #add(changed: Changed): Promise<void> {
    const { oid, view, isDirectory } = changed
    const isToBeNamed = !isDirectory && this.#files.length < this.#namesMax
    let { parent } = changed
    if (isToBeNamed || this.#below !== undefined) {
      const place = await view.placeOf(oid)
      if (place === undefined && oid !== view.rootOid) return
      parent = place?.parent
      this.#isWithin ||= this.#below !== undefined && (await view.isWithin(oid, this.#below))
      if (isToBeNamed) await this.#enter(changed)
    }
    if (parent !== undefined && parent !== oid && this.#passed.size < FILES_MAX) this.#passed.add(parent)
    if (isDirectory) this.#directories.push(changed)
    else this.#fileCount++
  }

  async #enter({ view, oid }: Changed): Promise<void> {
    const path = await view.pathOf(oid)
    if (path !== undefined) this.#files.push(path.text)
  }
}

/** Whether a summary names every changed inode. */
const isWhole = ({ files, directories, inodes }: TransactionSummary): boolean =>
  files + directories === inodes.length

/** The number of changed files that a summary does not name. */
const unlisted = ({ files, inodes }: TransactionSummary): number => Math.max(0, files - inodes.length)

function* batched(oids: readonly Oid[]): Generator<readonly Oid[]> {
  for (let first = 0; first < oids.length; first += BATCH) yield oids.slice(first, first + BATCH)
}

/** Undefined if there was no filesystem yet, or a pack has forgotten the moment. */
async function viewAt(store: Store, at: Tid): Promise<MomentView | undefined> {
  if ((await store.isKept?.(at)) === false) return undefined
  try {
    return await MomentView.open(store, at, CACHE_BYTES)
  } catch (error) {
    if (error instanceof CannotOpenError) return undefined
    throw error
  }
}

async function isDirectoryNow(store: Store, oid: Oid, upTo: Tid | undefined): Promise<boolean> {
  const inode = await (await viewAt(store, upTo ?? (await store.lastTid())))?.inode(oid)
  return inode !== undefined && isDirectory(inode)
}
