/**
 * Transactions, newest first, with what each changed (transaction-changes.ts).
 *
 * A file's history is its inode's history, so it spans renames: every change of a file changes its inode, so the inode's
 * revisions are its transactions. Where the inode took the place of another file (many programs save so), that file's history
 * follows. A directory's history includes everything below it.
 *
 * A path that no longer exists is found by the transaction that removed or renamed it, which the summaries of the transactions tell.
 */
import { tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import { isDamageError } from '../../store/errors.ts'
import type { Store, TransactionInfo } from '../../store/store.ts'
import { originIn, summaryIn } from '../objects/transaction-summary.ts'
import { isDirectory, isRegular } from '../tree/inode.ts'
import {
  FILES_MAX,
  TransactionChanges,
  viewAt,
  viewBefore,
  type ChangeFilter,
  type LoggedChange,
  type LoggedTransaction,
} from './transaction-changes.ts'

export { FILES_MAX, type LoggedChange, type LoggedTransaction } from './transaction-changes.ts'

export interface LogOptions {
  /** Transactions `(after, upTo]`. */
  readonly after?: Tid
  readonly upTo?: Tid
  readonly limit?: number
  /** Only transactions that changed the inode with this oid, or an inode below it if it is a directory. */
  readonly of?: Oid
  /** Only transactions that changed a file at such a path, and only these files. Paths are stored ones. */
  readonly isNamed?: (path: string) => boolean
  /** Only transactions that removed files, and only these files. */
  readonly removed?: boolean
  /** Only transactions with such a description. */
  readonly isDescribed?: (description: string) => boolean
  /** Only transactions that changed how often a file has these bytes, and only these files. */
  readonly contains?: Uint8Array
  /** Maximum number of files named per transaction, up to {@link FILES_MAX}. */
  readonly names?: number
  /** Whether a transaction whose changes cannot be read is listed, with {@link LoggedTransaction.damage}, whatever the filters. */
  readonly listsDamaged?: boolean
  /** Ends the search with its reason. */
  readonly signal?: AbortSignal
}

/** @throws DamageError without {@link LogOptions.listsDamaged}; StoreError */
export async function* log(store: Store, options: LogOptions = {}): AsyncGenerator<LoggedTransaction> {
  const { limit = Infinity, of, names = FILES_MAX, removed = false, isDescribed, contains, signal } = options
  const isBelow = of !== undefined && (await isDirectoryNow(store, of, options.upTo))
  const filter: ChangeFilter = { below: isBelow ? of : undefined, isWanted: wantedBy(options), names }
  const isConsecutive = of === undefined || isBelow
  let next: TransactionChanges | undefined
  let count = 0
  if (limit <= 0) return
  for await (const { info, only } of isConsecutive
    ? allTransactions(store, options)
    : transactionsOf(store, of, options)) {
    signal?.throwIfAborted()
    const isSkipped =
      isDescribed?.(info.description) === false ||
      (removed && summaryIn(info.extension)?.removed?.length === 0)
    if (isSkipped) {
      next = undefined
      continue
    }
    const changes: TransactionChanges = new TransactionChanges(store, info, { ...filter, only }, next)
    const logged = await unlessDamaged(info, options, async () => {
      const found = await changes.make()
      return found && contains ? await withBytes(store, changes, found, contains) : found
    })
    next = isConsecutive && logged?.damage === undefined ? changes : undefined
    if (logged === undefined) continue
    yield logged
    if (++count >= limit) return
  }
}

async function unlessDamaged(
  info: TransactionInfo,
  { listsDamaged = false }: LogOptions,
  make: () => Promise<LoggedTransaction | undefined>,
): Promise<LoggedTransaction | undefined> {
  try {
    return await make()
  } catch (damage) {
    if (!listsDamaged || !isDamageError(damage)) throw damage
    return { info, changes: [], fileCount: 0, origin: originIn(info.extension), damage }
  }
}

/** A file that once had a path, and the transaction that removed it if that is why the path is gone. */
export interface Former {
  readonly oid: Oid
  readonly removedBy: Tid | undefined
}

/** The last inode that had a path before a removal or rename in `(after, upTo]`; undefined if there was none. */
export async function formerAt(
  store: Store,
  path: string,
  range: Pick<LogOptions, 'after' | 'upTo'>,
): Promise<Former | undefined> {
  const left = (change: LoggedChange): boolean =>
    (change.kind === 'removed' && change.path === path) || change.from === path
  const filter: ChangeFilter = { isWanted: left, names: 1 }
  let next: TransactionChanges | undefined
  for await (const { info } of allTransactions(store, range)) {
    next = new TransactionChanges(store, info, filter, next)
    const [change] = (await next.make())?.changes ?? []
    if (change !== undefined)
      return { oid: change.oid, removedBy: change.kind === 'removed' ? info.tid : undefined }
  }
  return undefined
}

/** Undefined if every change is wanted. */
function wantedBy({ isNamed, removed = false, contains }: LogOptions): ChangeFilter['isWanted'] {
  if (isNamed === undefined && !removed && contains === undefined) return undefined
  return ({ kind, path, from, mode }) =>
    (isNamed === undefined || isNamed(path) || (from !== undefined && isNamed(from))) &&
    (!removed || kind === 'removed') &&
    (contains === undefined || isRegular({ mode }))
}

/** The changes of a transaction that changed how often a file has these bytes; undefined if there are none. */
async function withBytes(
  store: Store,
  changes: TransactionChanges,
  logged: LoggedTransaction,
  bytes: Uint8Array,
): Promise<LoggedTransaction | undefined> {
  // Few logs search for bytes.
  const { changesCount } = await import('./byte-search.ts')
  const [before, after] = [await changes.before(), await changes.after()]
  const found: LoggedChange[] = []
  for (const change of logged.changes)
    if (await changesCount(store, before, after, change, bytes)) found.push(change)
  return found.length === 0 ? undefined : { ...logged, changes: found, fileCount: found.length }
}

/** A transaction, and the inodes whose changes count if not all do. */
interface Listed {
  readonly info: TransactionInfo
  readonly only?: readonly Oid[]
}

async function* allTransactions(
  store: Store,
  { after, upTo, ...options }: LogOptions,
): AsyncGenerator<Listed> {
  const range = { ...(after !== undefined && { after }), ...(upTo !== undefined && { upTo }) }
  for await (const info of store.transactions({ reverse: true, ...range, ...boundOf(options) }))
    yield { info }
}

/** The limit of the store's transactions, where every one is listed. */
const boundOf = ({ limit, of, isDescribed, ...options }: LogOptions): { readonly limit?: number } =>
  of === undefined &&
  isDescribed === undefined &&
  wantedBy(options) === undefined &&
  limit !== undefined &&
  limit !== Infinity
    ? { limit }
    : {}

/** The transactions that changed a file, or the files that it replaced. */
async function* transactionsOf(
  store: Store,
  of: Oid,
  { after, upTo }: Pick<LogOptions, 'after' | 'upTo'>,
): AsyncGenerator<Listed> {
  const range = { ...(after !== undefined && { after }), ...(upTo !== undefined && { upTo }) }
  const tids = await store.revisions(of, range)
  const first = tids.at(-1)
  const replaced = first === undefined ? undefined : await replacedBy(store, of, first)
  for (const tid of tids) {
    const only = tid === first && replaced !== undefined ? [of, replaced] : [of]
    for await (const info of transactionAt(store, tid)) yield { info, only }
  }
  if (first !== undefined && replaced !== undefined)
    yield* transactionsOf(store, replaced, { ...range, upTo: toTid(first - 1n) })
}

/** The file that had the name of a new inode before the transaction that made it. */
async function replacedBy(store: Store, oid: Oid, tid: Tid): Promise<Oid | undefined> {
  const [is, was] = [await viewAt(store, tid), await viewBefore(store, tid)]
  if (is === undefined || was === undefined || (await was.inode(oid)) !== undefined) return undefined
  const path = await is.pathOf(oid)
  const replaced = path && (await was.find(path.text))
  return replaced !== undefined && isRegular(replaced) ? replaced.oid : undefined
}

/** One transaction, if it is kept. */
export async function* transactionAt(store: Store, at: Tid): AsyncGenerator<TransactionInfo> {
  yield* store.transactions({ after: toTid(at - 1n), upTo: at })
}

async function isDirectoryNow(store: Store, oid: Oid, upTo: Tid | undefined): Promise<boolean> {
  const inode = await (await viewAt(store, upTo ?? (await store.lastTid())))?.inode(oid)
  return inode !== undefined && isDirectory(inode)
}
