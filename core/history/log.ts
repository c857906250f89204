/**
 * Transactions, newest first, with the files that each changed.
 *
 * The history of a file is that of its inode, so it goes through renames: every change of a file changes its
 * inode, so the inode's revisions name its transactions. A directory's history is that of everything below it.
 */
import { constants } from 'node:fs'
import { CannotOpenError } from '../../store/errors.ts'
import { tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import type { Store, TransactionInfo } from '../../store/store.ts'
import { mappingsAmong } from './changed-objects.ts'
import { MomentView } from './moment-view.ts'

const { S_IFMT, S_IFDIR } = constants
const CACHE_BYTES = 4 << 20
/** The most files of one transaction that are named; the others are only counted. */
export const FILES_MAX = 1000

export interface LoggedTransaction {
  readonly info: TransactionInfo
  /** Paths of the files, directories and links that it changed: afterwards, or before where it removed them. */
  readonly files: readonly string[]
  /** The number of all, including those that are not named. */
  readonly fileCount: number
}

export interface LogOptions {
  /** Transactions `(after, upTo]`. */
  readonly after?: Tid
  readonly upTo?: Tid
  readonly limit?: number
  /** Only transactions that changed the inode with this oid, or an inode below it if it is a directory. */
  readonly of?: Oid
}

/** @throws CorruptRecordError, StoreError */
export async function* log(store: Store, options: LogOptions = {}): AsyncGenerator<LoggedTransaction> {
  const { limit = Infinity, of } = options
  const isBelow = of !== undefined && (await isDirectoryNow(store, of, options.upTo))
  let count = 0
  if (limit <= 0) return
  for await (const info of isBelow ? allTransactions(store, options) : transactionsOf(store, options)) {
    const logged = await describe(store, info, isBelow ? of : undefined)
    if (logged === undefined) continue
    yield logged
    if (++count >= limit) return
  }
}

const allTransactions = (store: Store, { after, upTo }: LogOptions): AsyncIterable<TransactionInfo> =>
  store.transactions({
    reverse: true,
    ...(after !== undefined && { after }),
    ...(upTo !== undefined && { upTo }),
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

async function describe(
  store: Store,
  info: TransactionInfo,
  below: Oid | undefined,
): Promise<LoggedTransaction | undefined> {
  const { tid } = info
  const views = [await viewAt(store, tid), await viewAt(store, toTid(tid - 1n))]
  const files: string[] = []
  /** Directories of named files: their own change, an entry, is not named. */
  const passed = new Set<Oid>()
  const directories: { readonly oid: Oid; readonly path: string }[] = []
  let fileCount = 0
  let isWithin = below === undefined
  for await (const { oids } of store.changes(toTid(tid - 1n), tid))
    for await (const oid of mappingsAmong(store, oids, tid)) {
      const chain = await chainOf(views, oid)
      if (chain === undefined) continue
      isWithin ||= oid === below || chain.some(entry => entry.oid === below)
      const path = chain.map(({ name }) => name).join('/')
      const parent = chain.at(-2)?.oid ?? rootOf(views)
      if (parent !== undefined && parent !== oid && passed.size < FILES_MAX) passed.add(parent)
      if (await isDirectoryIn(views, oid)) directories.push({ oid, path })
      else {
        fileCount++
        if (files.length < FILES_MAX) files.push(path)
      }
    }
  if (!isWithin) return undefined
  for (const { oid, path } of directories) {
    if (passed.has(oid)) continue
    fileCount++
    if (files.length < FILES_MAX) files.push(path)
  }
  return { info, files: files.sort(), fileCount }
}

type Views = readonly (MomentView | undefined)[]

const rootOf = (views: Views): Oid | undefined => views.find(view => view !== undefined)?.rootOid

async function isDirectoryIn(views: Views, oid: Oid): Promise<boolean> {
  for (const view of views) {
    const inode = await view?.inode(oid)
    if (inode !== undefined) return (inode.mode & S_IFMT) === S_IFDIR
  }
  return false
}

/** The chain of names to an inode, in the first view in which it has one. */
async function chainOf(views: Views, oid: Oid): Promise<Awaited<ReturnType<MomentView['chainOf']>>> {
  for (const view of views) {
    const inode = await view?.inode(oid)
    if (inode?.object.has('nlink') !== true) continue
    const chain = await view?.chainOf(oid)
    if (chain !== undefined) return chain
  }
  return undefined
}

/** Undefined where there was no filesystem yet, and where a pack has forgotten the moment. */
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
  return inode !== undefined && (inode.mode & S_IFMT) === S_IFDIR
}
